"""Cost of each normalizer on the Nature network: a training step, acting on one state, memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from agents.benchmarks.timing import medians, timed_over_builds
from wnrl.networks.q_network import q_network
from wnrl.normalizers.folding import fold, normalized_layers
from wnrl.normalizers.projection import project
from wnrl.weight_norm.factors import keep_on_any_device

OBS_SHAPE, NUM_ACTIONS = (4, 84, 84), 6
WARMUP = 5  # calls before the first timing; the first compiles
BUILDS = 3  # of each side


class Batch(NamedTuple):
    """Input of a training step."""

    obs: Tensor  # [B, 4, 84, 84] uint8
    action: Tensor  # [B]
    target: Tensor  # [B]


def norm_costs(
    norms: Sequence[str],
    *,
    batch_size: int,
    rounds: int,
    times: int,
    device: torch.device,
    dtype: torch.dtype,
    compiled: Sequence[bool] = (True, False),
) -> dict[str, Any]:
    """Seconds and bytes of each normalizer, with the ratio to the first normalizer.

    Args:
        norms: names; ratios are to the first.
        batch_size: examples per training step (forward pass, Huber loss, backward pass, Adam, projection).
        rounds: timings per side and build; the sides take turns.
        times: calls per timing.
        device: of the networks.
        dtype: of the networks' products.
        compiled: whether the loss is compiled by torch.compile, for each timing of a training step.

    Returns:
        By figure (`step compiled`, `step eager`, `act`, `act unfolded`, `parameters`, `saved for backward`) and
        normalizer: `median` and `ratio`.
    """
    batch = make_batch(batch_size, device)
    figures = {}

    def steps(compile_loss: bool) -> dict[str, Callable[[], None]]:
        return {norm: training_step(norm, batch, dtype, compile_loss) for norm in norms}

    def acting(folded: bool) -> dict[str, Callable[[], None]]:
        return {norm: acting_step(norm, device, dtype, folded) for norm in norms}

    for compile_loss in compiled:
        name = f"step {'compiled' if compile_loss else 'eager'}"
        figures[name] = timed_over_builds(partial(steps, compile_loss), BUILDS, rounds, times, device, WARMUP)
    for name, folded in (("act", True), ("act unfolded", False)):
        figures[name] = timed_over_builds(partial(acting, folded), BUILDS, rounds, 10 * times, device, WARMUP)
    figures["parameters"] = medians({norm: [float(parameter_bytes(_network(norm, device)))] for norm in norms})
    figures["saved for backward"] = medians({norm: [float(saved_bytes(norm, batch, dtype))] for norm in norms})
    return figures


def make_batch(batch_size: int, device: torch.device) -> Batch:
    """Random images, actions and targets."""
    generator = torch.Generator().manual_seed(0)
    obs = torch.randint(0, 256, (batch_size, *OBS_SHAPE), dtype=torch.uint8, generator=generator)
    action = torch.randint(0, NUM_ACTIONS, (batch_size,), generator=generator)
    return Batch(*(tensor.to(device) for tensor in (obs, action, torch.randn(batch_size, generator=generator))))


def training_step(norm: str, batch: Batch, dtype: torch.dtype, compile_loss: bool) -> Callable[[], None]:
    """A function that makes one update of a network with that normalizer."""
    network = _network(norm, batch.obs.device)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4, fused=True)
    torch._dynamo.config.recompile_limit = 64  # of one function, for the networks of all normalizers
    loss = torch.compile(_loss, dynamic=False) if compile_loss else _loss

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss(network, batch, dtype).backward()
        optimizer.step()
        project(network)

    return step


def acting_step(norm: str, device: torch.device, dtype: torch.dtype, folded: bool = True) -> Callable[[], None]:
    """A function that chooses the greedy action for one state, by a folded network as agents do, or by the network."""
    network = _network(norm, device).eval()
    for layer in normalized_layers(network).values():
        keep_on_any_device(layer)  # as in a policy of stable-baselines3
    network = fold(network) if folded else network
    obs = make_batch(1, device).obs

    @torch.no_grad()
    def act() -> None:
        _q_values(network, obs, dtype).argmax(1)

    return act


def parameter_bytes(network: nn.Module) -> int:
    """Bytes of all parameters."""
    return sum(p.numel() * p.element_size() for p in network.parameters())


def saved_bytes(norm: str, batch: Batch, dtype: torch.dtype) -> int:
    """Bytes that the forward pass saves for the backward pass, without parameters and the batch."""
    network = _network(norm, batch.obs.device)
    known = {tensor.untyped_storage().data_ptr() for tensor in (*network.parameters(), *batch)}
    saved: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        saved[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = _loss(network, batch, dtype)  # held, so that no storage is freed and used twice
    del loss
    return sum(tensor.untyped_storage().nbytes() for pointer, tensor in saved.items() if pointer not in known)


def _network(norm: str, device: torch.device) -> nn.Module:
    return q_network(OBS_SHAPE, NUM_ACTIONS, norm=norm).to(device)


def _q_values(network: nn.Module, obs: Tensor, dtype: torch.dtype) -> Tensor:
    with torch.autocast(obs.device.type, dtype=torch.bfloat16, enabled=dtype is torch.bfloat16):
        return network(obs).q_values


def _loss(network: nn.Module, batch: Batch, dtype: torch.dtype) -> Tensor:
    q_values = _q_values(network, batch.obs, dtype)
    return F.smooth_l1_loss(q_values.gather(1, batch.action[:, None])[:, 0], batch.target)


def norm_table(figures: dict[str, Any]) -> str:
    """Table of milliseconds, MiB and ratios."""
    lines = []
    for figure, rows in figures.items():
        unit, factor = ("ms", 1e3) if figure.startswith(("step", "act")) else ("MiB", 2**-20)
        lines += ["", f"{figure + ' (' + unit + ')':28}{'median':>10}{'ratio':>8}"]
        lines += [f"{norm:28}{row['median'] * factor:10.3f}{row['ratio']:8.3f}" for norm, row in rows.items()]
    return "\n".join(lines[1:])
