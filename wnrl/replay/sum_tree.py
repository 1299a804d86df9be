"""A sum tree on the device, for drawing leaves in proportion to their weights."""

from collections.abc import Mapping
from itertools import count
from typing import Any

import torch
from torch import Tensor

__all__ = ["SumTree", "sum_tree_bytes"]

HOST_READABLE = ("cpu",)  # types of devices whose tensors the host reads without waiting
_LEVELS = 3  # leaves included; on a CPU fewer levels have rows too wide to sum quickly, more are too many steps


def _layout(size: int) -> tuple[int, list[int]]:
    """Children of a node, and the size of each level from the top; each level consists of whole rows of children."""
    if size < 1:
        raise ValueError(f"size must be 1 or more, got {size}")
    fan_out = next(width for width in count(max(int(size ** (1 / _LEVELS)), 1)) if width**_LEVELS >= size)
    numbers = [size]
    for _ in range(_LEVELS):
        numbers.append(-(-numbers[-1] // fan_out))  # rows of the level below
    return fan_out, [rows * fan_out for rows in numbers[:0:-1]]


def sum_tree_bytes(size: int) -> int:
    """Bytes on the device that a `SumTree` of `size` leaves takes, without making it.

    Raises:
        ValueError: `size` is below 1.
    """
    return sum(_layout(size)[1]) * torch.float64.itemsize


class SumTree:
    """Weights of `size` leaves, initially 0, and the sums of their groups (Schaul et al. 2016, appendix B.2.1).

    Everything is float64 and vectorised, and no method synchronizes with the device. A sum is always recomputed from
    its children, so that rounding errors do not accumulate. The tree is shallow and wide: three levels, with ⌈∛size⌉
    children per node.

    Args:
        size: number of leaves.
        device: where the tree is.

    Raises:
        ValueError: `size` is below 1.
    """

    def __init__(self, size: int, device: torch.device | str = "cpu") -> None:
        self._fan_out, numbers = _layout(size)
        self._sums = torch.zeros(sum(numbers), dtype=torch.float64, device=device)
        self._levels = [level.view(-1, self._fan_out) for level in self._sums.split(numbers)]  # top first, leaves last
        order = torch.arange(1.0, self._fan_out + 1, device=device)
        self._last, self._first = order, 3 * self._fan_out - order  # scores of children, see `_choose`

    @property
    def nbytes(self) -> int:
        """Bytes taken by weights and sums, as `sum_tree_bytes` counts them."""
        return self._sums.nbytes

    @property
    def total(self) -> Tensor:
        """Sum of all weights, 0-dim float64."""
        return self._levels[0].sum()

    def weights(self, leaves: Tensor) -> Tensor:
        """Weights `[K]` float64 of `leaves` `[K]`."""
        return self._levels[-1].view(-1).index_select(0, leaves)

    def set(self, leaves: Tensor, weights: Tensor) -> None:
        """Set the weights of leaves; a leaf that is given more than once gets the largest of its weights.

        Args:
            leaves: `[K]` int64, each from 0 to size - 1.
            weights: `[K]`, of any float dtype, finite and none negative, which is checked on a CPU alone.

        Raises:
            ValueError: these are not two vectors of the same length, `leaves` is not int64, or a weight is negative or
                not finite.
        """
        if leaves.dtype != torch.int64 or leaves.ndim != 1 or leaves.shape != weights.shape:
            found = f"{leaves.dtype} {list(leaves.shape)} and {list(weights.shape)}"
            raise ValueError(f"leaves and weights must be int64 [K] and [K], got {found}")
        if weights.device.type in HOST_READABLE:
            _check_weights(weights)
        bottom = self._levels[-1].view(-1)  # amax does not depend on the order of writing
        bottom.index_fill_(0, leaves, 0.0).scatter_reduce_(0, leaves, weights.to(bottom.dtype), "amax")
        nodes = leaves
        for above, below in zip(self._levels[-2::-1], self._levels[:0:-1], strict=True):
            nodes = nodes // self._fan_out
            above.view(-1).scatter_(0, nodes, below.index_select(0, nodes).sum(1))

    def find(self, mass: Tensor) -> Tensor:
        """The leaves in whose intervals `mass` falls when the weights are laid end to end; never one of weight 0.

        Args:
            mass: `[B]` float64, from 0 to below `total`; outside of it, by rounding or not, the outermost leaf of
                positive weight is returned.

        Returns:
            `[B]` int64; all 0 where no leaf has a weight.
        """
        nodes, mass = torch.zeros_like(mass, dtype=torch.int64)[:, None], mass[:, None]
        for level in self._levels:
            weights = level.index_select(0, nodes.view(-1))  # [B, children]
            ends = weights.cumsum(1)
            child = self._choose(weights, ends > mass)
            mass = mass - (ends.gather(1, child) - weights.gather(1, child))
            nodes = nodes * self._fan_out + child
        return nodes.view(-1)

    def _choose(self, weights: Tensor, beyond: Tensor) -> Tensor:
        """The first child of positive weight whose interval ends beyond the mass, else the last such child, [B, 1].

        It relies neither on row sums that equal those of the level above, nor on a cumulative sum that never falls: a
        parallel one in floating point may.
        """
        scores = torch.where(beyond, self._first, self._last).mul_(weights > 0)
        return scores.argmax(1, keepdim=True)

    def get_state(self) -> dict[str, Tensor]:
        """Weights and sums, sharing this tree's memory."""
        return {"sums": self._sums}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continue from a state that `get_state` returned, bit for bit.

        Raises:
            ValueError: the state is not that of a tree of this size, or a weight is negative or not finite.
        """
        sums = state.get("sums")
        if not isinstance(sums, Tensor) or sums.shape != self._sums.shape:
            found = list(sums.shape) if isinstance(sums, Tensor) else sums
            raise ValueError(f"sums of the state must be {list(self._sums.shape)}, got {found}")
        _check_weights(sums)
        self._sums.copy_(sums)


def _check_weights(weights: Tensor) -> None:
    """Refuse weights that would spoil every sum above them; waits for the device."""
    wrong = weights[~((weights >= 0) & weights.isfinite())]
    if len(wrong):
        raise ValueError(f"weights must be finite and not negative, got {wrong[0].item()}")
