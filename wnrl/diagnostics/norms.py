"""Metrics that show what a normalizer does during training, by TensorBoard tag, as 0-dim tensors.

LAYER in a tag is the layer's name in `named_modules`, the same under every normalizer; each matrix of a recurrent layer
has its own metrics (`core.lstm.weight_ih_l0`). The effective weight w is that of the folded layer: of a plain layer its
weight, and under layer norm the weight before the normalization. A row holds the weights of one unit.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wnrl.weight_norm.normalized_layer import NormalizedLayer
from wnrl.weight_norm.rows import channel_dim, row_norms, rows
from wnrl.weight_norm.weight_norm_layer import WeightNormLayer

Forward = Callable[[nn.Module, Tensor], Tensor]  # a network and observations [B, ...], to outputs [B, ...]

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
    """

    def __init__(self, network: nn.Module, forward: Forward = call_network) -> None:
        self._network, self._forward = network, forward
        self._angles: dict[str, Tensor] = {}

    @property
    def due(self) -> bool:
        """Whether the next update is measured: the first one since the last reading."""
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
            `norm_metrics`, `dead_unit_metrics`, `norm/minibatch_noise` and `norm/LAYER/angle`: the angle in degrees by
            which one update, the first since the last reading, turned a row of the effective weight, mean over rows.
            No angle if there was no update; 0 for rows that are zero; rounding errors stay below 1e-4 degrees.

        Raises:
            ValueError: fewer than two observations.
        """
        angles, self._angles = self._angles, {}
        metrics = {**norm_metrics(self._network, learning_rate), **angles}
        if obs is not None:
            metrics |= dead_unit_metrics(self._network, obs, self._forward)
            metrics["norm/minibatch_noise"] = minibatch_noise(self._network, obs, self._forward, generator)
        return metrics

    def get_state(self) -> dict[str, Any]:
        """The angles for the next reading; empty if the next update is to be measured."""
        return {"angles": dict(self._angles)}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Restore a state of `get_state`."""
        device = next(self._network.parameters()).device
        self._angles = {tag: angle.to(device) for tag, angle in state["angles"].items()}

    @contextmanager
    def _measured(self) -> Iterator[None]:
        before = _directions(self._network)
        yield
        after = _directions(self._network)
        self._angles = {f"norm/{name}/angle": _mean_angle(old, after[name]) for name, old in before.items()}


@torch.no_grad()
def norm_metrics(network: nn.Module, learning_rate: float) -> dict[str, Tensor]:
    """Means over the rows of each layer.

    Args:
        network: any network.
        learning_rate: the optimizer's.

    Returns:
        `norm/LAYER/w_norm` of each layer: ‖w‖, the norm of a row of the effective weight. For weight-normalized layers
        also `norm/LAYER/g` (the same number, which is g in the paper's units), `norm/LAYER/v_norm` (‖v‖) and
        `norm/LAYER/effective_lr` (learning rate × ‖w‖/‖v‖, the factor by which a step on v moves w; 0 for zero rows;
        Salimans & Kingma 2016, section 2.1).
    """
    metrics: dict[str, Tensor] = {}
    for name, layer, weight, v in _weights(network):
        w_norm = row_norms(layer, weight)
        metrics[f"norm/{name}/w_norm"] = w_norm.mean()
        if v is not None:
            v_norm = row_norms(layer, v)
            metrics[f"norm/{name}/g"] = w_norm.mean()
            metrics[f"norm/{name}/v_norm"] = v_norm.mean()
            metrics[f"norm/{name}/effective_lr"] = learning_rate * (w_norm / v_norm).nan_to_num(0.0).mean()
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
        `norm/LAYER/dead`, between 0 and 1.
    """
    trial = _trial(network)
    watch = _ReLUWatch(trial)
    _run(trial, obs, forward)
    return {f"norm/{name}/dead": (~active).float().mean() for (name, _), active in watch.active.items()}


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


class _ReLUWatch:
    """Forward hooks that record which units are ever above 0: `active`, `[units]` bool by layer and number of units."""

    def __init__(self, network: nn.Module) -> None:
        self.active: dict[tuple[str, int], Tensor] = {}
        self._last: tuple[str, int] | None = None  # the layer that ran last, and the dimension of its units
        for name, layer in _layers(network):
            layer.register_forward_hook(partial(self._pass_layer, (name, channel_dim(layer))))
        for module in network.modules():
            if isinstance(module, nn.ReLU):
                module.register_forward_hook(self._pass_relu)

    def _pass_layer(self, layer: tuple[str, int], module: nn.Module, inputs: Any, output: Any) -> None:
        self._last = layer

    def _pass_relu(self, module: nn.Module, inputs: Any, output: Tensor) -> None:
        if self._last is None:
            return
        name, dim = self._last
        dim = dim if output.ndim > -dim else -1  # flattened since
        active = (output > 0).movedim(dim, -1).flatten(0, -2).any(0)  # [units]
        key = name, len(active)
        self.active[key] = active | self.active.get(key, torch.zeros_like(active))


def _layers(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Layers with weights, plain or normalized, without the parts of normalizers."""
    parts: set[nn.Module | None] = set()
    for name, module in network.named_modules():
        if isinstance(module, NormalizedLayer):
            parts.update(module._modules[part] for part in module.own_parts)
        if module not in parts and (
            isinstance(module, NormalizedLayer) or _matrices(module.named_parameters(recurse=False))
        ):
            yield name, module


def _matrices(parameters: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
    """The weight matrices among a layer's parameters, under the plain layer's names."""
    names = ("weight", "in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")  # the latter of attention
    return {name: parameter for name, parameter in parameters if name.startswith(names) and parameter.ndim > 1}


class _Weight(NamedTuple):
    name: str  # in its tags
    layer: nn.Module  # which determines its rows
    effective: Tensor
    v: Tensor | None  # of a weight-normalized layer


def _weights(network: nn.Module) -> Iterator[_Weight]:
    for name, layer in _layers(network):
        own = dict(layer.folded() if isinstance(layer, NormalizedLayer) else layer.named_parameters(recurse=False))
        if isinstance(layer, WeightNormLayer) and not layer.can_be_folded:
            own = {name: layer.effective_weight(name) for name in layer.weight_names}
        for part, weight in _matrices(own.items()).items():
            v: Tensor | None = None
            if isinstance(layer, WeightNormLayer) and part in layer.weight_names:
                v = layer.pair(part)[0]
            yield _Weight(name if part == "weight" else f"{name}.{part}", layer, weight, v)


@torch.no_grad()
def _directions(network: nn.Module) -> dict[str, Tensor]:
    """The rows of each effective weight scaled to unit norm, `[out, n]`; zero rows stay zero."""
    matrices = {name: rows(layer, weight).flatten(1) for name, layer, weight, _ in _weights(network)}
    return {name: F.normalize(w.to(torch.promote_types(w.dtype, torch.float32)), dim=1) for name, w in matrices.items()}


@torch.no_grad()
def _mean_angle(before: Tensor, after: Tensor) -> Tensor:
    """Mean angle in degrees between rows of unit norm; accurate for small angles, where an arc cosine is not."""
    angle = 2 * torch.atan2((after - before).norm(dim=1), (after + before).norm(dim=1))
    turned = before.any(dim=1) & after.any(dim=1)
    return torch.where(turned, angle, 0.0).mean() * (180 / math.pi)


def _trial(network: nn.Module) -> nn.Module:
    """A temporary copy in training mode."""
    return copy.deepcopy(network).train()


def _run(network: nn.Module, obs: Tensor, forward: Forward) -> Tensor:
    """Outputs `[B, ...]`; without torch.compile, which would skip hooks; keeps the state of the global generators."""
    devices = [obs.device] if obs.is_cuda else []
    with torch.random.fork_rng(devices=devices), torch.compiler.set_stance("force_eager"):
        return forward(network, obs)


def _in_halves(network: nn.Module, obs: Tensor, forward: Forward, generator: torch.Generator | None) -> Tensor:
    """Outputs `[B, numbers]` when the observations `[B, ...]` are batched in two halves at random."""
    device = obs.device if generator is None else generator.device
    order = torch.randperm(len(obs), generator=generator, device=device).to(obs.device)
    parts = [_run(_trial(network), obs[part], forward) for part in order.chunk(2)]
    return torch.cat(parts).reshape(len(obs), -1)[order.argsort()].float()
