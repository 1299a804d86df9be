"""Experience replay that samples transitions in proportion to their priorities."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from wnrl.device import check_memory, to_device
from wnrl.replay.sum_tree import SumTree, sum_tree_bytes
from wnrl.replay.uniform import Replay, Transition, replay_bytes

__all__ = ["Prioritized", "PrioritizedReplay", "prioritized_replay_bytes"]

_EPSILON = 1e-6  # added to errors, so that a transition without one can still be drawn


class Prioritized(NamedTuple):
    """A batch drawn by priority.

    Attributes:
        transition: the batch, each of its tensors `[B, ...]`.
        places: `[B]` int64, for `update_priorities`: the transitions' numbers since the first ever, never used twice.
        weights: `[B]` float32, importance weights in (0, 1], to multiply losses by.
    """

    transition: Transition
    places: Tensor
    weights: Tensor


def prioritized_replay_bytes(
    capacity: int, num_envs: int, obs_shape: Sequence[int], obs_dtype: torch.dtype, stack: int = 1, n_step: int = 1
) -> int:
    """Bytes on the device that `PrioritizedReplay` takes with these arguments, without making it.

    Raises:
        ValueError: as `PrioritizedReplay`.
    """
    transitions = replay_bytes(capacity, num_envs, obs_shape, obs_dtype, stack, n_step)
    return transitions + sum_tree_bytes(-(-capacity // num_envs) * num_envs + 1)


class PrioritizedReplay(Replay):
    """A `Replay` that can be sampled in proportion to priorities p (Schaul et al. 2016, section 3.3).

    A new transition has the greatest p so far (algorithm 1), 1 at first, so that it is soon seen.

    Args:
        capacity: as of `Replay`, and so are all others but `alpha`.
        alpha: exponent α of p = (|error| + 1e-6)^α, from 0 (uniform) to 1; 0.6 in the paper, 0.5 in Rainbow (its ω).

    Raises:
        ValueError: as `Replay`, and an `alpha` outside of 0 to 1.
    """

    def __init__(
        self,
        capacity: int,
        num_envs: int,
        obs_shape: Sequence[int],
        obs_dtype: torch.dtype,
        *,
        stack: int = 1,
        n_step: int = 1,
        gamma: float = 0.99,
        device: torch.device | str = "cpu",
        seed: int = 0,
        alpha: float = 0.5,
    ) -> None:
        if not 0 <= alpha <= 1:
            raise ValueError(f"alpha must lie between 0 and 1, got {alpha}")
        needed = prioritized_replay_bytes(capacity, num_envs, obs_shape, obs_dtype, stack, n_step)
        check_memory(needed, device, capacity)
        super().__init__(
            capacity, num_envs, obs_shape, obs_dtype, stack=stack, n_step=n_step, gamma=gamma, device=device, seed=seed
        )
        self._alpha = alpha
        self._config["alpha"] = alpha
        self._tree = SumTree(self._store.starts + 1, device)  # the last is for what is gone, and keeps the weight 0
        self._greatest = torch.ones((), dtype=torch.float64, device=device)

    @property
    def nbytes(self) -> int:
        """Bytes taken on the device, as `prioritized_replay_bytes` counts them."""
        return super().nbytes + self._tree.nbytes

    def sample_by_priority(
        self, batch_size: int, beta: float | Tensor, generator: torch.Generator | None = None
    ) -> Prioritized:
        """Draw `batch_size` transitions, with replacement, without waiting for the device.

        The draws are stratified: one from each of B equal segments of the total priority (Schaul et al. 2016, appendix
        B.2.1). Their weights are (N · P(i))^-β over the greatest of them in the batch (section 3.4), N transitions of
        which the i-th is drawn with probability P(i).

        Args:
            batch_size: B.
            beta: β, how much of the bias of drawing by priority is undone, from 0 (none) to 1 (all); as a 0-dim
                tensor on the device it is not checked.
            generator: of this draw, on the replay's device; without it the replay's own.

        Raises:
            ValueError: there is no transition yet, `batch_size` is below 1, or `beta` outside of 0 to 1.
        """
        if not isinstance(beta, Tensor) and not 0 <= beta <= 1:
            raise ValueError(f"beta must lie between 0 and 1, got {beta}")
        within = self._uniform(batch_size, generator)
        segments = torch.arange(batch_size, device=within.device)
        leaves = self._tree.find((segments + within) * (self._tree.total / batch_size))
        places = (leaves - self._live_oldest) % self._store.starts + self._live_oldest
        return Prioritized(self._store.gather(leaves), places, self._importance(leaves, beta))

    def update_priorities(self, places: Tensor, errors: Tensor) -> None:
        """Give transitions that were sampled the priorities of their errors, without waiting for the device.

        A place whose transition has been dropped since is passed over: neither does it come back, nor does the newer
        one that lies there now get its error. Of a place given more than once the greatest error counts.

        Args:
            places: `[B]`, of a `Prioritized`.
            errors: `[B]` TD errors, of any sign.

        Raises:
            ValueError: these are no two vectors of one length, of 1 or more.
        """
        if places.ndim != 1 or places.shape != errors.shape or not len(places):
            raise ValueError(f"places and errors must be [B] both, got {list(places.shape)} and {list(errors.shape)}")
        held = (places >= self._live_oldest) & (places < self._live_oldest + self._live_size)
        leaves = torch.where(held, places % self._store.starts, self._store.starts)
        priorities = (errors.detach().double().abs() + _EPSILON).pow(self._alpha).where(held, 0.0)
        self._tree.set(leaves, priorities)
        torch.maximum(self._greatest, priorities.max(), out=self._greatest)

    def get_state(self) -> dict[str, Any]:
        """As `Replay.get_state`, with all priorities."""
        return super().get_state() | {"tree": self._tree.get_state(), "greatest": self._greatest}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """As `Replay.set_state`."""
        self._check_state(state)
        self._tree.set_state(state["tree"])
        self._greatest.copy_(state["greatest"])
        super().set_state(state)

    def _release(self) -> None:
        """Give the row's new starts the greatest priority, and those that it drops none."""
        oldest, newest = self._oldest, self._released
        super()._release()
        gone, new = self._oldest - oldest, self._released - newest
        numbers = np.concatenate((np.arange(oldest, oldest + gone), np.arange(newest, newest + new)))
        parts = numbers % self._store.starts, np.arange(gone + new) >= gone
        leaves, fresh = (to_device(part, self._store.device) for part in parts)
        self._tree.set(leaves, fresh * self._greatest)  # a place given up and taken again gets the greater, the new one

    def _importance(self, leaves: Tensor, beta: float | Tensor) -> Tensor:
        """(N · P)^-β over the greatest in the batch, [B] float32: N and the total priority in P cancel."""
        priorities = self._tree.weights(leaves)
        return (priorities.min() / priorities).pow(beta).float()
