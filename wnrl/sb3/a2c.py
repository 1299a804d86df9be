"""Policies for A2C: those of `stable_baselines3.a2c`, normalized (see `wnrl.sb3.policies.NormalizedPolicy`)."""

from stable_baselines3 import a2c as host

from wnrl.sb3.policies import NormalizedPolicy


class ActorCriticPolicy(NormalizedPolicy, host.MlpPolicy):
    """`stable_baselines3.a2c.MlpPolicy`, normalized."""


class ActorCriticCnnPolicy(ActorCriticPolicy, host.CnnPolicy):
    """`stable_baselines3.a2c.CnnPolicy`, normalized."""


class MultiInputActorCriticPolicy(ActorCriticPolicy, host.MultiInputPolicy):
    """`stable_baselines3.a2c.MultiInputPolicy`, normalized."""


MlpPolicy = ActorCriticPolicy
CnnPolicy = ActorCriticCnnPolicy
MultiInputPolicy = MultiInputActorCriticPolicy
