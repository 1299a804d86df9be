"""Policies for DDPG: those of `stable_baselines3.ddpg`, normalized (see `wnrl.sb3.policies.NormalizedPolicy`)."""

from stable_baselines3 import ddpg as host

from wnrl.sb3.policies import NormalizedPolicy


class TD3Policy(NormalizedPolicy, host.MlpPolicy):
    """`stable_baselines3.ddpg.MlpPolicy`, normalized."""


class CnnPolicy(TD3Policy, host.CnnPolicy):
    """`stable_baselines3.ddpg.CnnPolicy`, normalized."""


class MultiInputPolicy(TD3Policy, host.MultiInputPolicy):
    """`stable_baselines3.ddpg.MultiInputPolicy`, normalized."""


MlpPolicy = TD3Policy
