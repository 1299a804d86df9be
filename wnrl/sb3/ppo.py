"""Policies for PPO: those of `stable_baselines3.ppo`, normalized (see `wnrl.sb3.policies.NormalizedPolicy`)."""

from stable_baselines3 import ppo as host

from wnrl.sb3.acting_ratios import ComparedPolicy


class ActorCriticPolicy(ComparedPolicy, host.MlpPolicy):
    """`stable_baselines3.ppo.MlpPolicy`, normalized."""


class ActorCriticCnnPolicy(ActorCriticPolicy, host.CnnPolicy):
    """`stable_baselines3.ppo.CnnPolicy`, normalized."""


class MultiInputActorCriticPolicy(ActorCriticPolicy, host.MultiInputPolicy):
    """`stable_baselines3.ppo.MultiInputPolicy`, normalized."""


MlpPolicy = ActorCriticPolicy
CnnPolicy = ActorCriticCnnPolicy
MultiInputPolicy = MultiInputActorCriticPolicy
