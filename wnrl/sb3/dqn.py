"""Policies for DQN: those of `stable_baselines3.dqn`, normalized (see `wnrl.sb3.policies.NormalizedPolicy`)."""

from stable_baselines3 import dqn as host

from wnrl.sb3.policies import NormalizedPolicy


class DQNPolicy(NormalizedPolicy, host.MlpPolicy):
    """`stable_baselines3.dqn.MlpPolicy`, normalized."""


class CnnPolicy(DQNPolicy, host.CnnPolicy):
    """`stable_baselines3.dqn.CnnPolicy`, normalized."""


class MultiInputPolicy(DQNPolicy, host.MultiInputPolicy):
    """`stable_baselines3.dqn.MultiInputPolicy`, normalized."""


MlpPolicy = DQNPolicy
