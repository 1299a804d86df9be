"""Policies for TRPO: those of `sb3_contrib.trpo`, normalized (see `wnrl.sb3.policies.NormalizedPolicy`)."""

from wnrl.sb3.contrib import trpo as host
from wnrl.sb3.policies import NormalizedPolicy


class ActorCriticPolicy(NormalizedPolicy, host.MlpPolicy):
    """`sb3_contrib.trpo.MlpPolicy`, normalized."""


class ActorCriticCnnPolicy(ActorCriticPolicy, host.CnnPolicy):
    """`sb3_contrib.trpo.CnnPolicy`, normalized."""


class MultiInputActorCriticPolicy(ActorCriticPolicy, host.MultiInputPolicy):
    """`sb3_contrib.trpo.MultiInputPolicy`, normalized."""


MlpPolicy = ActorCriticPolicy
CnnPolicy = ActorCriticCnnPolicy
MultiInputPolicy = MultiInputActorCriticPolicy
