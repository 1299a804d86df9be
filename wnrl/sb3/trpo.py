"""Policies for TRPO: those of `sb3_contrib.trpo`, normalized (see `wnrl.sb3.policies.NormalizedPolicy`)."""

from wnrl.sb3.contrib import trpo as host
from wnrl.sb3.policies import NormalizedPolicy


class MlpPolicy(NormalizedPolicy, host.MlpPolicy):
    """`sb3_contrib.trpo.MlpPolicy`, normalized."""


class CnnPolicy(NormalizedPolicy, host.CnnPolicy):
    """`sb3_contrib.trpo.CnnPolicy`, normalized."""


class MultiInputPolicy(NormalizedPolicy, host.MultiInputPolicy):
    """`sb3_contrib.trpo.MultiInputPolicy`, normalized."""
