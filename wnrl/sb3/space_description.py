"""Spaces of observations and actions as JSON, by which the same ones are known again."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from gymnasium import spaces

__all__ = ["describe_space"]


def describe_space(space: spaces.Space) -> dict[str, Any]:
    """What a policy has to find again in a space: kind, shapes, numbers of values and bounds, in JSON's types.

    A space's text depends on NumPy's print options and leaves out most bounds of a large one. Here bounds are hashes of
    all of them. A space of another kind than stable-baselines3 takes has its text.
    """
    if isinstance(space, spaces.Dict):
        return {"kind": "Dict", "spaces": [[name, describe_space(part)] for name, part in space.spaces.items()]}
    if isinstance(space, spaces.Tuple):
        return {"kind": "Tuple", "spaces": [describe_space(part) for part in space.spaces]}
    if isinstance(space, spaces.Box):
        bounds = {"low": _hash(space.low), "high": _hash(space.high)}
        return {"kind": "Box", "shape": list(space.shape), "dtype": str(space.dtype), **bounds}
    if isinstance(space, spaces.Discrete):
        return {"kind": "Discrete", "n": int(space.n), "start": int(space.start)}
    if isinstance(space, spaces.MultiDiscrete):
        start = getattr(space, "start", np.zeros_like(space.nvec))  # older versions of Gymnasium have none
        return {"kind": "MultiDiscrete", "nvec": space.nvec.tolist(), "start": start.tolist()}
    if isinstance(space, spaces.MultiBinary):
        return {"kind": "MultiBinary", "shape": list(space.shape)}
    return {"kind": type(space).__name__, "text": str(space)}


def _hash(bounds: np.ndarray) -> str:
    """Of the values, -0.0 as 0.0, in one order of bytes."""
    values = (bounds + 0).astype(bounds.dtype.newbyteorder("<"))
    return hashlib.sha256(values.tobytes()).hexdigest()
