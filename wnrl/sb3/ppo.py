"""Policies for PPO: those of `stable_baselines3.ppo`, normalized (see `wnrl.sb3.policies.NormalizedPolicy`)."""

from stable_baselines3 import ppo as host

from wnrl.sb3.policies import NormalizedPolicy


class MlpPolicy(NormalizedPolicy, host.MlpPolicy):
    """`stable_baselines3.ppo.MlpPolicy`, normalized."""


class CnnPolicy(NormalizedPolicy, host.CnnPolicy):
    """`stable_baselines3.ppo.CnnPolicy`, normalized."""


class MultiInputPolicy(NormalizedPolicy, host.MultiInputPolicy):
    """`stable_baselines3.ppo.MultiInputPolicy`, normalized."""
