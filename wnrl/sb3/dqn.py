"""Policies for DQN: those of `stable_baselines3.dqn`, normalized (see `wnrl.sb3.policies.NormalizedPolicy`)."""

from stable_baselines3 import dqn as host

from wnrl.sb3.policies import NormalizedPolicy


class MlpPolicy(NormalizedPolicy, host.MlpPolicy):
    """`stable_baselines3.dqn.MlpPolicy`, normalized."""


class CnnPolicy(NormalizedPolicy, host.CnnPolicy):
    """`stable_baselines3.dqn.CnnPolicy`, normalized."""


class MultiInputPolicy(NormalizedPolicy, host.MultiInputPolicy):
    """`stable_baselines3.dqn.MultiInputPolicy`, normalized."""
