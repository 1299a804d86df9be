"""Policies for RecurrentPPO: those of `sb3_contrib.ppo_recurrent`, normalized (see `NormalizedPolicy`)."""

from wnrl.sb3.contrib import ppo_recurrent as host
from wnrl.sb3.policies import NormalizedPolicy


class MlpLstmPolicy(NormalizedPolicy, host.MlpLstmPolicy):
    """`sb3_contrib.ppo_recurrent.MlpLstmPolicy`, normalized."""


class CnnLstmPolicy(NormalizedPolicy, host.CnnLstmPolicy):
    """`sb3_contrib.ppo_recurrent.CnnLstmPolicy`, normalized."""


class MultiInputLstmPolicy(NormalizedPolicy, host.MultiInputLstmPolicy):
    """`sb3_contrib.ppo_recurrent.MultiInputLstmPolicy`, normalized."""
