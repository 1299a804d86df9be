"""Parts of on-policy agents, from their settings and environment."""

from __future__ import annotations

import torch

from agents.learner.build import obs_dtype
from agents.on_policy.rollout import RolloutStorage
from envs import Environment


def build_rollout_storage(length: int, environment: Environment, device: torch.device) -> RolloutStorage:
    """Room for the rows of a rollout.

    Args:
        length: T, steps of each environment.
        environment: whose rows are stored.
        device: where they are.
    """
    return RolloutStorage(
        length,
        environment.num_envs,
        environment.obs_shape,
        obs_dtype(environment),
        action_size=environment.action_size,
        device=device,
    )


def check_minibatches(minibatches: int, most: int, unit: str = "steps") -> None:
    """Raise ValueError where a rollout of `most` units has fewer of them than minibatches."""
    if minibatches > most:
        raise ValueError(f"minibatches must be at most {most}, the {unit} of a rollout, got {minibatches}")
