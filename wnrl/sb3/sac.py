"""Policies for SAC: those of `stable_baselines3.sac`, normalized (see `wnrl.sb3.policies.NormalizedPolicy`)."""

from stable_baselines3 import sac as host

from wnrl.sb3.policies import NormalizedPolicy


class SACPolicy(NormalizedPolicy, host.MlpPolicy):
    """`stable_baselines3.sac.MlpPolicy`, normalized."""


class CnnPolicy(SACPolicy, host.CnnPolicy):
    """`stable_baselines3.sac.CnnPolicy`, normalized."""


class MultiInputPolicy(SACPolicy, host.MultiInputPolicy):
    """`stable_baselines3.sac.MultiInputPolicy`, normalized."""


MlpPolicy = SACPolicy
