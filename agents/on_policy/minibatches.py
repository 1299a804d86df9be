"""Shuffled minibatches of a rollout."""

from __future__ import annotations

from collections.abc import Iterator
from operator import itemgetter, methodcaller
from typing import TypeVar

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

Steps = TypeVar("Steps")  # a tree of tensors, as a named tuple of them


def shuffled_minibatches(steps: Steps, number: int, generator: torch.Generator) -> Iterator[Steps]:
    """Steps of all times and environments, shuffled together, in minibatches whose sizes differ by one at most.

    Args:
        steps: a tree of tensors `[T, N, ...]`.
        number: of minibatches.
        generator: of the order, on the device of the steps.

    Yields:
        The same tree of tensors `[B, ...]`, of other steps each time.
    """
    flat = tree_map(methodcaller("flatten", 0, 1), steps)
    for indices in shuffled_indices(len(tree_leaves(flat)[0]), number, generator):
        yield tree_map(itemgetter(indices), flat)


def shuffled_indices(total: int, number: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    """The numbers from 0 to `total` − 1, shuffled, in `number` parts whose sizes differ by one at most."""
    return torch.randperm(total, generator=generator, device=generator.device).tensor_split(number)
