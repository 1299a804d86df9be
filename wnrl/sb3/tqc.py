"""Policies for TQC: those of `sb3_contrib.tqc`, normalized (see `wnrl.sb3.policies.NormalizedPolicy`)."""

from wnrl.sb3.contrib import tqc as host
from wnrl.sb3.policies import NormalizedPolicy


class MlpPolicy(NormalizedPolicy, host.MlpPolicy):
    """`sb3_contrib.tqc.MlpPolicy`, normalized."""


class CnnPolicy(NormalizedPolicy, host.CnnPolicy):
    """`sb3_contrib.tqc.CnnPolicy`, normalized."""


class MultiInputPolicy(NormalizedPolicy, host.MultiInputPolicy):
    """`sb3_contrib.tqc.MultiInputPolicy`, normalized."""
