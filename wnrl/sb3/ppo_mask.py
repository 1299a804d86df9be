"""Policies for MaskablePPO: those of `sb3_contrib.ppo_mask`, normalized (see `wnrl.sb3.policies.NormalizedPolicy`)."""

from wnrl.sb3.acting_ratios import ComparedPolicy
from wnrl.sb3.contrib import ppo_mask as host


class MaskableActorCriticPolicy(ComparedPolicy, host.MlpPolicy):
    """`sb3_contrib.ppo_mask.MlpPolicy`, normalized."""


class MaskableActorCriticCnnPolicy(MaskableActorCriticPolicy, host.CnnPolicy):
    """`sb3_contrib.ppo_mask.CnnPolicy`, normalized."""


class MaskableMultiInputActorCriticPolicy(MaskableActorCriticPolicy, host.MultiInputPolicy):
    """`sb3_contrib.ppo_mask.MultiInputPolicy`, normalized."""


MlpPolicy = MaskableActorCriticPolicy
CnnPolicy = MaskableActorCriticCnnPolicy
MultiInputPolicy = MaskableMultiInputActorCriticPolicy
