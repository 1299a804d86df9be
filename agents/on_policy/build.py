"""Parts of on-policy agents, from their settings and environment."""

from __future__ import annotations

import math

import torch

from agents.learner.build import obs_dtype
from agents.on_policy.rollout import RolloutStorage
from envs import Environment
from wnrl.device import check_memory


def build_rollout_storage(length: int, environment: Environment, device: torch.device) -> RolloutStorage:
    """Room for the rows of a rollout.

    Args:
        length: T, steps of each environment.
        environment: whose rows are stored.
        device: where they are.

    Raises:
        ValueError: it does not fit in memory.
    """
    rows = length * environment.num_envs
    obs = math.prod(environment.obs_shape) * obs_dtype(environment).itemsize
    needed = rows * (obs + max(4 * environment.action_size, 8) + _OF_A_ROW)
    what = f"a rollout of {length:,} steps in {environment.num_envs} environments"
    check_memory(needed, device, length, what=what, flag="--rollout-length")
    return RolloutStorage(
        length,
        environment.num_envs,
        environment.obs_shape,
        obs_dtype(environment),
        action_size=environment.action_size,
        device=device,
    )


_OF_A_ROW = 18
"""Bytes of its log-probability, value, reward, discount and flags."""


def check_minibatches(minibatches: int, most: int, unit: str = "steps") -> None:
    """Raise ValueError where a rollout of `most` units has fewer of them than minibatches."""
    if minibatches > most:
        raise ValueError(f"minibatches must be at most {most}, the {unit} of a rollout, got {minibatches}")
