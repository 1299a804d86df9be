"""Policies for DDPG: those of `stable_baselines3.ddpg`, normalized (see `wnrl.sb3.policies.NormalizedPolicy`)."""

from stable_baselines3 import ddpg as host

from wnrl.sb3.policies import NormalizedPolicy


class MlpPolicy(NormalizedPolicy, host.MlpPolicy):
    """`stable_baselines3.ddpg.MlpPolicy`, normalized."""


class CnnPolicy(NormalizedPolicy, host.CnnPolicy):
    """`stable_baselines3.ddpg.CnnPolicy`, normalized."""


class MultiInputPolicy(NormalizedPolicy, host.MultiInputPolicy):
    """`stable_baselines3.ddpg.MultiInputPolicy`, normalized."""
