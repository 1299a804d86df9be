"""Policies for TD3: those of `stable_baselines3.td3`, normalized (see `wnrl.sb3.policies.NormalizedPolicy`)."""

from stable_baselines3 import td3 as host

from wnrl.sb3.policies import NormalizedPolicy


class MlpPolicy(NormalizedPolicy, host.MlpPolicy):
    """`stable_baselines3.td3.MlpPolicy`, normalized."""


class CnnPolicy(NormalizedPolicy, host.CnnPolicy):
    """`stable_baselines3.td3.CnnPolicy`, normalized."""


class MultiInputPolicy(NormalizedPolicy, host.MultiInputPolicy):
    """`stable_baselines3.td3.MultiInputPolicy`, normalized."""
