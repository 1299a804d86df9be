"""Metrics that show what a normalizer does during training, by TensorBoard tag, as 0-dim tensors.

LAYER in a tag is the layer's name by `wnrl.diagnostics.layers.named_layers`, such as `conv1` or `fc`, the same under
every normalizer; each matrix of a recurrent layer has its own metrics (`lstm.weight_ih_l0`). The effective weight w is
that of the folded layer: of a plain layer its weight, and under layer norm the weight before the normalization. A row
holds the weights of one unit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wnrl.diagnostics.activations import watch
from wnrl.diagnostics.layers import matrices, named_layers
from wnrl.normalizers.batch_norm import BatchNorm, BatchNormalized, MeanOnlyBatchNorm
from wnrl.normalizers.batch_statistics import batch_norms
from wnrl.normalizers.folding import deep_copy
from wnrl.normalizers.projection import ProjectedLayer
from wnrl.uncompiled import uncompiled
from wnrl.weight_norm.normalized_layer import NormalizedLayer
from wnrl.weight_norm.rows import row_norms, rows
from wnrl.weight_norm.weight_norm_layer import WeightNormLayer

Forward = Callable[[nn.Module, Tensor], Tensor]  # a network and observations [B, ...], to outputs [B, ...]

GROUP = "weights"
"""What all tags begin with: a group that TensorBoard shows after those of the training."""
NOISE = f"{GROUP}/minibatch_noise"
SPLITS = 4  # random splits from which the minibatch noise is estimated
ROUNDING = 1e-6  # differences below this share of the outputs' root mean square count as rounding errors


def call_network(network: nn.Module, obs: Tensor) -> Tensor:
    """`network(obs)`, for networks whose output is a tensor `[B, ...]`."""
    return network(obs)


class NormDiagnostics:
    """All metrics of a learner's normalizer, to be read at the log interval.

    Learning stays the same to the bit: the network is not changed, and random numbers are only drawn from the reading's
    generator. A reading costs some forward passes of copies of the network. Between readings only the first update has
    a cost: the directions of the rows, one copy of the weights, are kept during it.

    Args:
        network: the learner.
        forward: from a copy of the network and observations `[B, ...]` to the outputs `[B, ...]` whose noise is read.
        parameters: those that are learned together; only their layers are measured. None: all layers.
    """

    def __init__(
        self, network: nn.Module, forward: Forward = call_network, parameters: Collection[Tensor] | None = None
    ) -> None:
        self._network, self._forward = network, forward
        self._parameters = None if parameters is None else {id(parameter) for parameter in parameters}
        self._angles: dict[str, Tensor] = {}

    @property
    def due(self) -> bool:
        """Whether the next update is measured, as the first one since the last reading is."""
        return not self._angles

    def around_update(self) -> AbstractContextManager[None]:
        """A context for one update of the network; measures the first one since the last reading."""
        return self._measured() if self.due else nullcontext()

    def read(
        self, learning_rate: float, obs: Tensor | None = None, generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """The current metrics; does not synchronize with the device.

        Args:
            learning_rate: of the optimizer.
            obs: `[B, ...]`, observations that the network learns from, twice as many as in a minibatch; None: without
                the metrics that need them.
            generator: for the splits in `minibatch_noise`; None: the global one.

        Returns:
            `norm_metrics`, `dead_unit_metrics`, `weights/LAYER/angle`, and `weights/minibatch_noise` where there can be
            some (see `depends_on_minibatch`). The angle in degrees is that by which one update, the first since the
            last reading, turned a row of the effective weight, mean over rows. There is none if there was no update; it
            is 0 for rows that are zero; rounding errors stay below 1e-4 degrees.

        Raises:
            ValueError: fewer than two observations.
        """
        angles, self._angles = self._angles, {}
        metrics = {**norm_metrics(self._network, learning_rate, self._parameters), **angles}
        if obs is not None:
            metrics |= dead_unit_metrics(self._network, obs, self._forward)
            if len(obs) >= 4 and depends_on_minibatch(self._network):  # two minibatches that have a variance
                metrics[NOISE] = minibatch_noise(self._network, obs, self._forward, generator)
        return metrics

    def get_state(self) -> dict[str, Any]:
        """The angles for the next reading; empty if the next update is to be measured."""
        return {"angles": dict(self._angles)}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Restore a state of `get_state`; the angles of a version with other tags are measured again."""
        device = next(self._network.parameters()).device
        angles = state["angles"].items()
        self._angles = {tag: angle.to(device) for tag, angle in angles if tag.startswith(GROUP)}

    @contextmanager
    def _measured(self) -> Iterator[None]:
        before = _directions(self._network, self._parameters)
        yield
        after = _directions(self._network, self._parameters)
        self._angles = {f"{GROUP}/{name}/angle": _mean_angle(old, after[name]) for name, old in before.items()}


@torch.no_grad()
def norm_metrics(
    network: nn.Module, learning_rate: float, parameters: Collection[int] | None = None
) -> dict[str, Tensor]:
    """Means over the rows of each layer.

    Args:
        network: any network.
        learning_rate: the optimizer's.
        parameters: identities (`id`) of parameters; only their layers are measured. None: all layers.

    Returns:
        `weights/LAYER/w_norm` of each layer: ‖w‖, the norm of a row of the effective weight; under weight normalization
        this is g in the paper's units. It is left out where it is 1 by projection. For weight-normalized layers
        also `weights/LAYER/v_norm` (‖v‖) and `weights/LAYER/effective_lr` (learning rate × ‖w‖/‖v‖, the factor by which
        a step on v moves w; 0 for zero rows; Salimans & Kingma 2016, section 2.1).
    """
    metrics: dict[str, Tensor] = {}
    for name, layer, weight, v in _weights(network, parameters):
        w_norm = row_norms(layer, weight)
        if not isinstance(layer, ProjectedLayer) or isinstance(layer, BatchNormalized):
            metrics[f"{GROUP}/{name}/w_norm"] = w_norm.mean()
        if v is not None:
            v_norm = row_norms(layer, v)
            metrics[f"{GROUP}/{name}/v_norm"] = v_norm.mean()
            metrics[f"{GROUP}/{name}/effective_lr"] = learning_rate * (w_norm / v_norm).nan_to_num(0.0).mean()
    return metrics


@torch.no_grad()
def dead_unit_metrics(network: nn.Module, obs: Tensor, forward: Forward = call_network) -> dict[str, Tensor]:
    """The share of dead units at each `nn.ReLU`: those whose output is 0 for every example and position.

    In training mode, on a copy of the network. A ReLU belongs to the layer that ran last before it; in a layer that is
    called several times, a unit is dead if it is dead in every call.

    Args:
        network: any network; nonlinearities that are not modules are not counted.
        obs: `[B, ...]`.
        forward: calls the network.

    Returns:
        `weights/LAYER/dead`, between 0 and 1.
    """
    trial, active = _trial(network), dict[tuple[str, int], Tensor]()  # [units] bool

    def seen(name: str, output: Tensor) -> None:
        key, ever = (name, output.shape[1]), (output > 0).any(0)
        active[key] = active[key] | ever if key in active else ever

    watch(trial, seen, kinds=(nn.ReLU,))
    run_uncompiled(trial, obs, forward)
    return {f"{GROUP}/{name}/dead": (~ever).float().mean() for (name, _), ever in active.items()}


def depends_on_minibatch(network: nn.Module) -> bool:
    """Whether the outputs for a state can depend on its minibatch: batch statistics, unless they are held, or dropout.

    Batch normalizations that are not ours are known by their class's name.
    """
    names = {
        type(module).__name__ for module in network.modules() if not isinstance(module, BatchNorm | MeanOnlyBatchNorm)
    }
    foreign = any(name.startswith(("BatchNorm", "SyncBatchNorm", "BatchRenorm", "Dropout")) for name in names)
    return foreign or any(not norm.held for norm in batch_norms(network))


@torch.no_grad()
def minibatch_noise(
    network: nn.Module, obs: Tensor, forward: Forward = call_network, generator: torch.Generator | None = None
) -> Tensor:
    """How much the output for a state depends on the other states of its minibatch, in training mode.

    The observations are split at random into two minibatches, several times, so that each state is in as many different
    minibatches; copies of the network process them, all starting from the same buffers. The noise is √(a/b): a is the
    variance of an output over the splits, corrected to independently drawn minibatches (halves of the same B, n = ⌊B/2⌋
    in each, vary (B − n)/(B − 1) times as much), and b the variance across states of its mean, both averaged over
    states and outputs. For a layer of mean-only batch norm it is about 1/√n.

    Args:
        network: any network with floating-point parameters.
        obs: `[B, ...]`, twice as many as in a minibatch; if B is odd, the last is left out.
        forward: calls the network; dropout counts as noise.
        generator: for the splits; None: the global one.

    Returns:
        0-dim, unitless; exactly 0 if the differences are within rounding, 10⁻⁶ of the outputs' root mean square.

    Raises:
        ValueError: fewer than two observations.
    """
    if len(obs) < 2:
        raise ValueError(f"minibatch_noise splits two observations or more, got {len(obs)}")
    half = len(obs) // 2
    outputs = torch.stack([_in_halves(network, obs[: 2 * half], forward, generator) for _ in range(SPLITS)])
    noise = outputs.var(0).mean() * (2 * half - 1) / half  # outputs: [splits, B, numbers]
    spread = outputs.mean(0).var(0).mean()
    least = ROUNDING**2 * outputs.square().mean()
    return torch.where(noise <= least, 0.0, noise / spread.clamp(min=least)).sqrt()


class _Weight(NamedTuple):
    name: str  # in its tags
    layer: nn.Module  # which determines its rows
    effective: Tensor
    v: Tensor | None  # of a weight-normalized layer


def _weights(network: nn.Module, parameters: Collection[int] | None) -> Iterator[_Weight]:
    for name, layer in named_layers(network):
        if parameters is not None and not any(id(parameter) in parameters for parameter in layer.parameters()):
            continue
        own = dict(layer.folded() if isinstance(layer, NormalizedLayer) else layer.named_parameters(recurse=False))
        if isinstance(layer, WeightNormLayer) and not layer.can_be_folded:
            own = {part: layer.effective_weight(part) for part in layer.weight_names}
        for part, weight in matrices(own.items()).items():
            v: Tensor | None = None
            if isinstance(layer, WeightNormLayer) and part in layer.weight_names:
                v = layer.pair(part)[0]
            yield _Weight(name if part == "weight" else f"{name}.{part}", layer, weight, v)


@torch.no_grad()
def _directions(network: nn.Module, parameters: Collection[int] | None) -> dict[str, Tensor]:
    """The rows of each effective weight scaled to unit norm, `[out, n]`; zero rows stay zero."""
    weights = {name: rows(layer, weight).flatten(1) for name, layer, weight, _ in _weights(network, parameters)}
    return {name: F.normalize(w.to(torch.promote_types(w.dtype, torch.float32)), dim=1) for name, w in weights.items()}


@torch.no_grad()
def _mean_angle(before: Tensor, after: Tensor) -> Tensor:
    """Mean angle in degrees between rows of unit norm; accurate for small angles, where an arc cosine is not."""
    angle = 2 * torch.atan2((after - before).norm(dim=1), (after + before).norm(dim=1))
    turned = before.any(dim=1) & after.any(dim=1)
    return torch.where(turned, angle, 0.0).mean() * (180 / math.pi)


def _trial(network: nn.Module) -> nn.Module:
    """A temporary copy in training mode."""
    return deep_copy(network).train()


def run_uncompiled(network: nn.Module, obs: Tensor, forward: Forward) -> Tensor:
    """Outputs `[B, ...]`; without torch.compile, which would skip hooks; keeps the state of the global generators."""
    devices = [obs.device] if obs.is_cuda else []
    with torch.random.fork_rng(devices=devices), uncompiled():
        return forward(network, obs)


def _in_halves(network: nn.Module, obs: Tensor, forward: Forward, generator: torch.Generator | None) -> Tensor:
    """Outputs `[B, numbers]` when the observations `[B, ...]` are batched in two halves at random."""
    device = obs.device if generator is None else generator.device
    order = torch.randperm(len(obs), generator=generator, device=device).to(obs.device)
    parts = [run_uncompiled(_trial(network), obs[part], forward) for part in order.chunk(2)]
    return torch.cat(parts).reshape(len(obs), -1)[order.argsort()].float()
