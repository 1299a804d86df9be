"""Policies for CrossQ: those of `sb3_contrib.crossq`, normalized (see `wnrl.sb3.policies.NormalizedPolicy`)."""

from wnrl.sb3.contrib import crossq as host
from wnrl.sb3.policies import NormalizedPolicy


class CrossQPolicy(NormalizedPolicy, host.MlpPolicy):
    """`sb3_contrib.crossq.MlpPolicy`, normalized."""


MlpPolicy = CrossQPolicy
