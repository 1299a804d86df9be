"""Policies for TQC: those of `sb3_contrib.tqc`, normalized (see `wnrl.sb3.policies.NormalizedPolicy`)."""

from wnrl.sb3.contrib import tqc as host
from wnrl.sb3.policies import NormalizedPolicy


class TQCPolicy(NormalizedPolicy, host.MlpPolicy):
    """`sb3_contrib.tqc.MlpPolicy`, normalized."""


class CnnPolicy(TQCPolicy, host.CnnPolicy):
    """`sb3_contrib.tqc.CnnPolicy`, normalized."""


class MultiInputPolicy(TQCPolicy, host.MultiInputPolicy):
    """`sb3_contrib.tqc.MultiInputPolicy`, normalized."""


MlpPolicy = TQCPolicy
