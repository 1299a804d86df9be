"""Seeds of environments, independent of each other and of those that any other seed gives."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

BITS = 31
"""Bits of an environment's seed: ale-py takes no more, and no Gymnasium environment is known to take fewer."""


def environment_seeds(seed: int | np.random.SeedSequence | np.ndarray | Sequence[int], num_envs: int) -> np.ndarray:
    """The seeds of N environments: ``[N]`` int64 in ``0 … 2³¹ - 1``.

    An integer is hashed, so that two integers, consecutive ones too, give unrelated seeds. Environment ``i`` gets the
    same one for any N, and no two environments get the same.

    Args:
        seed: what they are drawn from, not negative; or the seeds themselves, ``[N]`` integer.
        num_envs: N.

    Raises:
        ValueError: a negative integer, no integer, or an array of another shape or dtype or with numbers out of range.
    """
    if isinstance(seed, np.ndarray | list | tuple) and np.ndim(seed):
        return _checked(np.asarray(seed), num_envs)
    if not isinstance(seed, np.random.SeedSequence):
        seed = _integer(seed)
    sequence = seed if isinstance(seed, np.random.SeedSequence) else np.random.SeedSequence(seed)
    words = sequence.generate_state(2 * num_envs + 8) >> (32 - BITS)  # more than N, to leave out what comes twice
    _, first = np.unique(words, return_index=True)
    return words[np.sort(first)[:num_envs]].astype(np.int64)


def _integer(seed: Any) -> int:
    try:
        return operator.index(seed)
    except TypeError:
        raise ValueError(f"seed must be an integer or the seeds of each environment, got {seed!r}") from None


def _checked(seeds: np.ndarray, num_envs: int) -> np.ndarray:
    if seeds.shape != (num_envs,) or seeds.dtype.kind not in "iu":
        raise ValueError(f"seeds must be [{num_envs}] integer, got {list(seeds.shape)} {seeds.dtype}")
    if seeds.min() < 0 or seeds.max() >= 2**BITS:
        raise ValueError(f"seeds must be in 0 … {2**BITS - 1}, got {seeds.tolist()}")
    return seeds.astype(np.int64)
