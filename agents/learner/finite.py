"""Stopping at what is not finite: a loss, a gradient norm, a weight, or an average of the optimizer."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

FIGURES = ("train/loss", "train/grad_norm")
"""Metrics without which nothing is learned."""
_NAMED = 3


class NonFiniteError(RuntimeError):
    """Learning cannot go on: a loss, a gradient norm, a weight or an average of the optimizer is NaN or infinite."""


class Kept:
    """The tensors by which a learner goes on: those of its network and of its optimizer.

    Args:
        network: that learns.
        optimizer: of its parameters.
    """

    def __init__(self, network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self._network, self._optimizer = network, optimizer

    @property
    def finite(self) -> Tensor:
        """Whether every number is finite, 0-dim bool on the device; it does not wait for the device."""
        floating = [tensor for _, tensor in self._named() if tensor.is_floating_point()]
        device = floating[0].device
        return torch.stack([tensor.isfinite().all().to(device) for tensor in floating]).all()

    @property
    def non_finite(self) -> list[str]:
        """Names of the tensors that have a number that is not finite."""
        return [name for name, tensor in self._named() if not bool(tensor.isfinite().all())]

    def _named(self) -> Iterator[tuple[str, Tensor]]:
        for name, value in self._network.state_dict().items():
            if isinstance(value, Tensor):
                yield f"the weight {name}", value
        for name, parameter in self._network.named_parameters():
            for average, value in self._optimizer.state.get(parameter, {}).items():
                if isinstance(value, Tensor):
                    yield f"the optimizer's {average} of {name}", value.detach()


def check_figures(step: int, figures: Mapping[str, float]) -> None:
    """Raise NonFiniteError where the mean loss or gradient norm of the last updates is not finite.

    Args:
        step: environment step.
        figures: metrics by TensorBoard tag.
    """
    wrong = [f"{name} is {figures[name]}" for name in FIGURES if not math.isfinite(figures.get(name, 0.0))]
    if wrong:
        raise NonFiniteError(_line(step, wrong))


def check_kept(step: int, kept: Kept) -> None:
    """Raise NonFiniteError, with the names, where a tensor of a learner is not finite; waits for the device.

    Args:
        step: environment step.
        kept: the tensors.
    """
    if not bool(kept.finite):
        names = kept.non_finite
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        raise NonFiniteError(_line(step, [f"{', '.join(names[:_NAMED])}{more} not finite"]))


def _line(step: int, wrong: list[str]) -> str:
    advice = "a smaller --learning-rate, a --max-grad-norm, or smaller rewards may help"
    return f"learning broke down before step {step:,}: {', '.join(wrong)}; {advice}"


def holds_non_finite(learner: Any) -> str:
    """The first non-finite tensor in a learner's state as a checkpoint has it, by its path; empty where all are finite.

    Args:
        learner: state of `Learner.get_state`.
    """
    for part in ("network", "optimizer"):
        for path, value in _leaves(learner.get(part), part):
            if isinstance(value, Tensor) and value.is_floating_point() and not bool(value.isfinite().all()):
                return path
    return ""


def _leaves(tree: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(tree, Mapping):
        for name, value in tree.items():
            yield from _leaves(value, f"{path}/{name}")
    elif isinstance(tree, list | tuple):
        for index, value in enumerate(tree):
            yield from _leaves(value, f"{path}/{index}")
    else:
        yield path, tree
