"""Statistics over the rollouts of all processes of a run, as one process has them of the joint rollout."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from agents.runtime.distributed import Ranks
from wnrl.networks.observation_norm import RunningNorm

Tree = TypeVar("Tree")


def joint_rollout(rollout: Tree, ranks: Ranks) -> Tree:
    """The rollouts `[T, N, ...]` of all processes beside each other: `[T, W · N, ...]`."""
    if ranks.world_size == 1:
        return rollout

    def joint(part: Tensor) -> Tensor:
        gathered = ranks.gather(part.to(torch.uint8) if part.dtype is torch.bool else part.contiguous())
        return torch.cat(gathered.to(part.dtype).unbind(), dim=1)

    return tree_map(joint, rollout)


def jointly_normalized(advantage: Tensor, valid: Tensor, ranks: Ranks) -> Tensor:
    """As `normalize_advantages`, with the mean and the standard deviation of all processes' valid entries."""
    count = ranks.gather(valid.sum()).sum()
    total = ranks.gather(torch.where(valid, advantage, 0.0).sum()).sum()
    centred = torch.where(valid, advantage - total / count.clamp(min=1), 0.0)
    variance = ranks.gather(centred.square().sum()).sum() / (count - 1).clamp(min=1)
    return centred / (variance.sqrt() + 1e-8)


def update_jointly(norm: Any, obs: Tensor, ranks: Ranks) -> None:
    """Add the observations `[T, N, *obs_shape]` of all processes, equally many each, to running statistics."""
    if ranks.world_size == 1 or not isinstance(norm, RunningNorm):
        norm.update(obs)
        return
    count = obs.shape[0] * obs.shape[1]
    var, mean = torch.var_mean(obs.to(torch.float64).flatten(0, 1), dim=0, correction=0)
    means, variances = ranks.gather(torch.stack((mean, var))).unbind(1)  # [W, *obs_shape] each
    joint = means.mean(0)
    norm.merge(count * ranks.world_size, joint, (variances + (means - joint).square()).mean(0))
