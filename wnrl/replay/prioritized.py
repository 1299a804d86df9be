"""A replay buffer that samples transitions in proportion to their priorities."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from wnrl.device import to_device
from wnrl.replay import sum_tree
from wnrl.replay.layout import ReplayLayout
from wnrl.replay.sum_tree import SumTree, sum_tree_bytes
from wnrl.replay.uniform import Replay, Transition

__all__ = ["NonFinitePriorityError", "Prioritized", "PrioritizedReplay"]

_EPSILON = 1e-6  # added to absolute errors, so that a transition of error 0 can still be drawn


class NonFinitePriorityError(ValueError):
    """An error from which a priority was to be made is NaN or infinite."""


class Prioritized(NamedTuple):
    """A batch drawn by priority.

    Attributes:
        transition: the batch, each of its tensors `[B, ...]`.
        indices: `[B]` int64, for `update_priorities`: the transitions' numbers since the start, which are never reused.
        weights: `[B]` float32, importance-sampling weights of the losses: in (0, 1], unless the buffer is split.
    """

    transition: Transition
    indices: Tensor
    weights: Tensor


class PrioritizedReplay(Replay):
    """A `Replay` that can be sampled in proportion to priorities p (Schaul et al. 2016, section 3.3).

    A new transition gets the highest p so far (algorithm 1), initially 1, so that it is soon sampled.

    Args:
        layout: as of `Replay`, and so are all others but `alpha`.
        alpha: exponent α of p = (|error| + 1e-6)^α, from 0 (uniform) to 1; 0.6 in the paper, 0.5 in Rainbow (its ω).

    Raises:
        ValueError: as `Replay`, or an `alpha` outside of 0 to 1.
    """

    def __init__(
        self,
        layout: ReplayLayout,
        *,
        gamma: float = 0.99,
        device: torch.device | str = "cpu",
        seed: int = 0,
        alpha: float = 0.5,
    ) -> None:
        if not 0 <= alpha <= 1:
            raise ValueError(f"alpha must lie between 0 and 1, got {alpha}")
        super().__init__(layout, gamma=gamma, device=device, seed=seed)
        self._alpha = alpha
        self._config["alpha"] = alpha
        self._tree = SumTree(layout.starts + 1, device)  # the last takes updates of dropped transitions, and stays at 0
        self._greatest = torch.ones((), dtype=torch.float64, device=device)
        self._bad = torch.zeros((), dtype=torch.bool, device=device)  # whether an error was not finite

    @staticmethod
    def required_bytes(layout: ReplayLayout) -> int:
        """Bytes on the device that a buffer of this layout takes, with its priorities."""
        return layout.bytes + sum_tree_bytes(layout.starts + 1)

    @property
    def nbytes(self) -> int:
        """Bytes taken on the device, as `required_bytes` counts them."""
        return super().nbytes + self._tree.nbytes

    def sample_by_priority(
        self,
        batch_size: int,
        beta: float | Tensor,
        generator: torch.Generator | None = None,
        *,
        gather: Callable[[Tensor], Tensor] | None = None,
    ) -> Prioritized:
        """Draw `batch_size` transitions by priority, with replacement, without synchronizing with the device.

        The draws are stratified: one from each of B equal segments of the total priority (Schaul et al. 2016, appendix
        B.2.1). Their weights are (N · P(i))^-β divided by the largest in the batch (section 3.4), for N transitions of
        which the i-th is drawn with probability P(i).

        Where the buffer is one of W parts, from each of which B transitions are drawn, N, P and the largest weight are
        those of all parts together, and the weights contain the factor W · (total priority of this part) / (that of
        all) too: in the mean over all parts, each transition counts as often as in draws from the whole.

        Args:
            batch_size: B.
            beta: importance-sampling exponent β, from 0 (no correction of the bias) to 1 (full correction); a 0-dim
                tensor on the device is not checked.
            generator: of this draw, on the buffer's device; None takes the buffer's own.
            gather: from numbers `[3]` float64 of this part to those of all parts `[W, 3]`; None: the buffer is whole.

        Raises:
            ValueError: there is no transition yet, `batch_size` is below 1, or `beta` outside of 0 to 1.
        """
        places, indices, weights = self.draw_by_priority(batch_size, beta, generator, gather=gather)
        return Prioritized(self.at(places), indices, weights)

    def draw_by_priority(
        self,
        batch_size: int,
        beta: float | Tensor,
        generator: torch.Generator | None = None,
        *,
        gather: Callable[[Tensor], Tensor] | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What `sample_by_priority` draws: indices for `at`, and `indices` and `weights` of a `Prioritized`."""
        if not isinstance(beta, Tensor) and not 0 <= beta <= 1:
            raise ValueError(f"beta must lie between 0 and 1, got {beta}")
        within = self._uniform(batch_size, generator)
        segments = torch.arange(batch_size, device=within.device)
        total = self._tree.total
        leaves = self._tree.find((segments + within) * (total / batch_size))
        indices = (leaves - self._live_oldest) % self._store.starts + self._live_oldest
        priorities = self._tree.weights(leaves)
        least, share = priorities.min(), torch.ones_like(total)
        if gather is not None:
            lowest, totals, greatest = gather(torch.stack((least, total, self._greatest))).unbind(1)  # [W] each
            least, share = lowest.min(), total / totals.mean()
            self._greatest.copy_(greatest.max())
        weights = (least / priorities).pow(beta) * share  # N and the total priority in P(i) cancel
        return leaves, indices, weights.float()

    def update_priorities(self, indices: Tensor, errors: Tensor) -> None:
        """Set the priorities of sampled transitions from their errors, without synchronizing with the device.

        Indices of transitions that have been dropped since are ignored. Of an index given more than once the largest
        error counts. An error that is not finite changes no priority: on a CPU it raises at once, on another device at
        the next `check`.

        Args:
            indices: `[B]`, of a `Prioritized`.
            errors: `[B]` TD errors, of any sign.

        Raises:
            ValueError: these are not two vectors of the same length of 1 or more.
            NonFinitePriorityError: an error is not finite.
        """
        if indices.ndim != 1 or indices.shape != errors.shape or not len(indices):
            raise ValueError(f"indices and errors must be [B] both, got {list(indices.shape)} and {list(errors.shape)}")
        finite = errors.detach().isfinite()
        self._bad.logical_or_(~finite.all())
        if errors.device.type in sum_tree.HOST_READABLE:
            self.check()
        held = (indices >= self._live_oldest) & (indices < self._live_oldest + self._live_size) & finite
        leaves = torch.where(held, indices % self._store.starts, self._store.starts)
        priorities = (errors.detach().double().abs() + _EPSILON).pow(self._alpha).where(held, 0.0)
        self._tree.set(leaves, priorities)
        torch.maximum(self._greatest, priorities.max(), out=self._greatest)

    def check(self) -> None:
        """Raise NonFinitePriorityError where an error was not finite since the last call; waits for the device."""
        if self._bad:
            self._bad.zero_()
            raise NonFinitePriorityError(
                "errors must be finite, got NaN or infinity: the network's outputs or the rewards are not"
            )

    def get_state(self) -> dict[str, Any]:
        """As `Replay.get_state`, with the priorities."""
        return super().get_state() | {"tree": self._tree.get_state(), "greatest": self._greatest}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """As `Replay.set_state`."""
        self._check_state(state)
        self._tree.set_state(state["tree"])
        self._greatest.copy_(state["greatest"])
        super().set_state(state)

    def _release(self) -> None:
        """Give the new transitions of a row the highest priority so far, and those that it drops priority 0."""
        oldest, newest = self._oldest, self._released
        super()._release()
        gone, new = self._oldest - oldest, self._released - newest
        numbers = np.concatenate((np.arange(oldest, oldest + gone), np.arange(newest, newest + new)))
        parts = numbers % self._store.starts, np.arange(gone + new) >= gone
        leaves, fresh = (to_device(part, self._store.device) for part in parts)
        self._tree.set(leaves, fresh * self._greatest)  # of a leaf that is dropped and taken again the larger, new one
