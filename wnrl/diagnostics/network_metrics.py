"""Metrics of what a learner's network has become since they were last read, by TensorBoard tag.

They are of the network as it acts: in evaluation mode, with the running statistics of batch normalization.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from wnrl.diagnostics.activations import watch
from wnrl.diagnostics.features import (
    action_gap,
    dormant_ratio,
    gram_matrix,
    policy_churn,
    ranks_of_gram,
    relative_change,
)
from wnrl.diagnostics.norms import Forward, call_network, run_uncompiled
from wnrl.networks.policy_heads import GaussianPolicyHead
from wnrl.networks.q_network import QNetwork
from wnrl.normalizers.folding import FoldedCopy, fold

GROUP = "diagnostics"
OBSERVATIONS = 128
"""Of a reading, at most; ranks are at most that."""


class NetworkReading(NamedTuple):
    """What was read, on the network's device."""

    metrics: dict[str, Tensor]  # 0-dim, by tag
    gram: Tensor | None  # [n, n] float64, of the features; for `rank_metrics` on the host


class NetworkDiagnostics:
    """Reads the metrics of a learner's network at the log interval.

    Learning stays the same to the bit: the network is not changed, and random numbers are only drawn from the reading's
    generator. A reading costs two forward passes of folded copies, of which one is kept until the next reading, to
    compare with.

    Args:
        network: the learner.
        forward: from a copy of the network and observations `[B, ...]` to Q values or logits `[B, A]`, or the means of
            continuous actions.
    """

    def __init__(self, network: nn.Module, forward: Forward = call_network) -> None:
        self._network, self._forward = network, forward
        self._before: _Copy | None = None  # at the last reading
        self._spare: _Copy | None = None
        self._chooses = not any(isinstance(module, GaussianPolicyHead) for module in network.modules())

    @torch.no_grad()
    def read(self, obs: Tensor, generator: torch.Generator | None = None) -> NetworkReading:
        """The metrics of now; does not synchronize with the device, except where the copies are made, in the first two.

        Args:
            obs: `[B, ...]`, observations that the network learns from.
            generator: draws `OBSERVATIONS` of them where there are more; None: the global one.

        Returns:
            - `diagnostics/dormant_ratio`, the share of all units that are τ-dormant in their layer, see
              `wnrl.diagnostics.dormant_ratio`; none where no nonlinearity is a module;
            - the Gram matrix of the last features: the inputs of the output layers, those of the policy where there is
              one, side by side; where they have quantile levels, their mean over these, in which Q is linear;
            - `diagnostics/action_gap` of a Q network;
            - since the last reading: `diagnostics/weight_change`, of all effective weights together (see
              `wnrl.diagnostics.relative_change`), and `diagnostics/policy_churn`, of the greedy actions of Q values or
              of the logits of a policy.

            Shares are NaN where what they are of is not finite.
        """
        if len(obs) > OBSERVATIONS:
            obs = obs[torch.randperm(len(obs), generator=generator, device=obs.device)[:OBSERVATIONS]]
        now, before = self._spare or _Copy(self._network), self._before
        outputs, seen = now.read(obs, self._forward), now.seen
        metrics: dict[str, Tensor] = {}
        if seen.dormant:
            metrics[f"{GROUP}/dormant_ratio"] = torch.stack(seen.dormant).sum() / seen.units
        if isinstance(now.network, QNetwork) and outputs.shape[-1] > 1:
            metrics[f"{GROUP}/action_gap"] = action_gap(outputs)
        if before is not None:
            metrics[f"{GROUP}/weight_change"] = relative_change(before.weights, now.weights)
            if self._chooses:
                metrics[f"{GROUP}/policy_churn"] = policy_churn(before.again(obs, self._forward), outputs)
                before.seen.clear()
        self._before, self._spare = now, before
        sides = [values.reshape(len(obs), -1, values.shape[-1]).float().mean(1) for values in seen.features.values()]
        seen.clear()
        return NetworkReading(metrics, gram_matrix(torch.cat(sides, 1)) if sides else None)

    def get_state(self) -> dict[str, Any]:
        """The folded network at the last reading; nothing before the first."""
        return {"before": {} if self._before is None else self._before.network.state_dict()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continue from a state of `get_state`."""
        self._before = None
        if state["before"]:
            self._before = _Copy(self._network)
            self._before.network.load_state_dict(state["before"])


class _Seen:
    """What is kept of a forward pass through a network, to which hooks are attached.

    Nothing of it changes with what the pass does in place to a tensor afterwards.
    """

    def __init__(self, network: nn.Module) -> None:
        self.units = 0  # of all layers
        self.dormant: list[Tensor] = []  # number of dormant units of each layer
        self.features: dict[nn.Module, Tensor] = {}  # by output layer, its inputs [..., F]
        watch(network, self._count)
        for layer in getattr(getattr(network, "policy", network), "output_layers", ()):
            layer.register_forward_pre_hook(self._keep)

    def _count(self, name: str, activations: Tensor) -> None:  # [examples, units]
        self.units += activations.shape[1]
        self.dormant.append(activations.shape[1] * dormant_ratio(activations))

    def _keep(self, layer: nn.Module, inputs: Any) -> None:
        self.features[layer] = inputs[0].clone()

    def clear(self) -> None:
        self.units = 0
        self.dormant.clear()
        self.features.clear()


class _Copy:
    """A folded copy of the learner.

    Args:
        learner: the network.

    Attributes:
        network: the copy, in evaluation mode.
        weights: its weight matrices, the effective ones.
        seen: of its last forward pass.
    """

    def __init__(self, learner: nn.Module) -> None:
        self.network = fold(learner).eval()
        self._fold = FoldedCopy(self.network, learner)
        self.weights = [parameter.detach() for parameter in self.network.parameters() if parameter.ndim > 1]
        self.seen = _Seen(self.network)

    def read(self, obs: Tensor, forward: Forward) -> Tensor:
        """The outputs `[B, A]` of the learner of now for observations `[B, ...]`."""
        self._fold.refresh()
        return self.again(obs, forward)

    def again(self, obs: Tensor, forward: Forward) -> Tensor:
        """The outputs of the learner as it was at the last `read`."""
        self.seen.clear()
        return run_uncompiled(self.network, obs, forward)


def rank_metrics(gram: Tensor | None) -> dict[str, float]:
    """`diagnostics/effective_rank` and `diagnostics/stable_rank` of features, from a Gram matrix on the host.

    Nothing where there is none or it is not finite; see `wnrl.diagnostics.effective_rank` and `stable_rank`.
    """
    if gram is None or not gram.isfinite().all():
        return {}
    effective, stable = ranks_of_gram(gram)
    return {f"{GROUP}/effective_rank": effective, f"{GROUP}/stable_rank": stable}
