"""Policies for TD3: those of `stable_baselines3.td3`, normalized (see `wnrl.sb3.policies.NormalizedPolicy`)."""

from stable_baselines3 import td3 as host

from wnrl.sb3.policies import NormalizedPolicy


class TD3Policy(NormalizedPolicy, host.MlpPolicy):
    """`stable_baselines3.td3.MlpPolicy`, normalized."""


class CnnPolicy(TD3Policy, host.CnnPolicy):
    """`stable_baselines3.td3.CnnPolicy`, normalized."""


class MultiInputPolicy(TD3Policy, host.MultiInputPolicy):
    """`stable_baselines3.td3.MultiInputPolicy`, normalized."""


MlpPolicy = TD3Policy
