"""Policies for TRPO: those of `sb3_contrib.trpo`, normalized (see `wnrl.sb3.policies.NormalizedPolicy`)."""

from __future__ import annotations

from typing import Any

import torch

from wnrl.sb3.acting_ratios import ComparedPolicy, acting
from wnrl.sb3.contrib import trpo as host


class NormalizedTRPOPolicy(ComparedPolicy):
    """Mixed in before a policy class of TRPO: `NormalizedPolicy` whose actor has g in the paper's units.

    TRPO takes no step of an optimizer there, but the natural gradient, damped in the parameters. In the paper's units
    the damped step is at first that of the plain policy; in units of √n the lengths of rows are damped n times less
    than the rest, and the step leaves the region of trust. `units` is for all layers.
    """

    def get_distribution(self, obs: Any) -> Any:
        """As the host's, which asks for it before any step."""
        if not vars(self).get("_measures_ratios"):
            return super().get_distribution(obs)  # type: ignore[misc]
        devices = [self.device] if self.device.type == "cuda" else []
        with acting(self), torch.random.fork_rng(devices=devices):
            distribution = super().get_distribution(obs)  # type: ignore[misc]
            actions = distribution.sample()
            old = distribution.log_prob(actions)
        distribution = super().get_distribution(obs)  # type: ignore[misc] # the same object, for other outputs
        self._compare(distribution.log_prob(actions), old)
        return distribution

    def _in_paper_units(self, name: str) -> bool:
        """Those of the actor: the others have names by which TRPO knows them too."""
        return "value" not in name and not name.startswith("vf_features_extractor")

    def _get_constructor_parameters(self) -> dict[str, Any]:
        parameters = super()._get_constructor_parameters()
        return {**parameters, "units": None} if self._chose_units else parameters


class ActorCriticPolicy(NormalizedTRPOPolicy, host.MlpPolicy):
    """`sb3_contrib.trpo.MlpPolicy`, normalized."""


class ActorCriticCnnPolicy(ActorCriticPolicy, host.CnnPolicy):
    """`sb3_contrib.trpo.CnnPolicy`, normalized."""


class MultiInputActorCriticPolicy(ActorCriticPolicy, host.MultiInputPolicy):
    """`sb3_contrib.trpo.MultiInputPolicy`, normalized."""


MlpPolicy = ActorCriticPolicy
CnnPolicy = ActorCriticCnnPolicy
MultiInputPolicy = MultiInputActorCriticPolicy
