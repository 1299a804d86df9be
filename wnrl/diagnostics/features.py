"""Metrics of what a network has learned to tell apart: its features, its greedy actions, its values.

Functions of tensors of any dtype, 0-dim results; nothing waits for the device, and no gradient passes. Where a tensor
holds NaN, and where nothing can be said of an infinite entry, the result is NaN.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

__all__ = [
    "action_gap",
    "dormant_ratio",
    "effective_rank",
    "gram_matrix",
    "overestimation",
    "policy_churn",
    "ranks_of_gram",
    "relative_change",
    "stable_rank",
]

DELTA = 0.01  # of `effective_rank`, as in its paper


@torch.no_grad()
def dormant_ratio(activations: Tensor, tau: float = 0.025) -> Tensor:
    """The share of a layer's units that are τ-dormant (Sokar et al. 2023, definition 3.1).

    A unit is dormant whose mean absolute activation is at most τ times the mean over the layer's units; where all are 0
    all are dormant.

    Args:
        activations: `[B, units, ...]`, of a layer for B observations; what follows the units, as positions of a
            convolution, is averaged over too.
        tau: τ, 0 or more; 0 counts units that are never active.

    Returns:
        From 0 to 1; NaN where an activation is not finite.

    Raises:
        ValueError: fewer than two dimensions, no observation or no unit, or `tau` is below 0.
    """
    if activations.ndim < 2 or not activations.numel() or not tau >= 0:
        raise ValueError(f"activations must be [B, units, ...] and tau 0 or more, got {[*activations.shape]} and {tau}")
    score = activations.to(torch.float64).abs().transpose(0, 1).flatten(1).mean(1)
    mean = score.mean()
    return torch.where(mean.isfinite(), (score <= tau * mean).double().mean(), torch.nan)


@torch.no_grad()
def effective_rank(features: Tensor, delta: float = DELTA) -> Tensor:
    """srank_δ: the fewest singular values that have 1 − δ of the sum of all (Kumar et al. 2021, section 3).

    Args:
        features: `[B, F]`, of B observations.
        delta: δ, between 0 and 1.

    Returns:
        A whole number as float64, from 1 to min(B, F); 0 for features that are all 0, NaN where one is not finite.

    Raises:
        ValueError: `features` has another number of dimensions, or `delta` is out of range.
    """
    if not 0 <= delta < 1:
        raise ValueError(f"delta must be from 0 to below 1, got {delta}")
    return _effective_rank(_singular_values(features), delta)


@torch.no_grad()
def stable_rank(features: Tensor) -> Tensor:
    """‖Φ‖²_F/‖Φ‖²₂ of features Φ `[B, F]`, from 1 to their rank; 0 where all are 0, NaN where one is not finite.

    Raises:
        ValueError: `features` has another number of dimensions.
    """
    return _stable_rank(_singular_values(features))


@torch.no_grad()
def gram_matrix(features: Tensor) -> Tensor:
    """ΦΦᵀ or ΦᵀΦ of features Φ `[B, F]`, the smaller of the two, float64.

    Its eigenvalues are the squared singular values of Φ: a device can make it without waiting, and the host finds the
    ranks from it, see `ranks_of_gram`.

    Raises:
        ValueError: `features` has another number of dimensions.
    """
    features = _checked(features).to(torch.float64)
    return features @ features.T if features.shape[0] <= features.shape[1] else features.T @ features


@torch.no_grad()
def ranks_of_gram(gram: Tensor, delta: float = DELTA) -> tuple[float, float]:
    """`effective_rank` and `stable_rank` of the features whose `gram_matrix` this is, `[n, n]` on the host.

    Singular values below 10⁻⁸ of the largest are rounding errors. Both are NaN where an entry is not finite.
    """
    if not gram.isfinite().all():
        return math.nan, math.nan
    values = torch.linalg.eigvalsh(gram).clamp(min=0).sqrt().flip(0)
    return float(_effective_rank(values, delta)), float(_stable_rank(values))


@torch.no_grad()
def action_gap(q_values: Tensor) -> Tensor:
    """Between the best and the second-best action's value `[B, A]`, mean over states (Bellemare et al. 2016).

    Raises:
        ValueError: fewer than two actions.
    """
    if q_values.shape[-1] < 2:
        raise ValueError(f"an action gap needs two actions or more, got {q_values.shape[-1]}")
    best = q_values.topk(2, -1).values.to(torch.float64)
    return (best[..., 0] - best[..., 1]).mean()


@torch.no_grad()
def policy_churn(before: Tensor, after: Tensor) -> Tensor:
    """The share of states whose greedy action differs between two sets of values `[B, A]` (Schaul et al. 2022).

    NaN where a value is NaN, or there is no state.
    """
    unknown = before.isnan().any() | after.isnan().any()
    return torch.where(unknown, torch.nan, (before.argmax(-1) != after.argmax(-1)).float().mean())


@torch.no_grad()
def relative_change(before: Iterable[Tensor], after: Iterable[Tensor]) -> Tensor:
    """‖after − before‖/‖before‖ over all entries of tensors together, as of weights; NaN where both are 0."""
    pairs = [(old.to(torch.float64), new.to(torch.float64)) for old, new in zip(before, after, strict=True)]
    moved = torch.stack([(new - old).square().sum() for old, new in pairs]).sum()
    length = torch.stack([old.square().sum() for old, _ in pairs]).sum()
    return (moved / length).sqrt().float()


@torch.no_grad()
def overestimation(values: Tensor, returns: Tensor) -> Tensor:
    """The mean of a state's value minus the return that followed it (van Hasselt et al. 2016, section 4).

    Args:
        values: `[B]`, of the actions taken.
        returns: `[B]`, discounted as the values are, of the policy that they are of.

    Returns:
        float64, whatever the arguments are; NaN where there is no state.

    Raises:
        ValueError: they have different shapes.
    """
    if values.shape != returns.shape:
        raise ValueError(f"values and returns must have one shape, got {[*values.shape]} and {[*returns.shape]}")
    return (values.to(torch.float64) - returns.to(torch.float64)).mean()


def _effective_rank(values: Tensor, delta: float) -> Tensor:
    """Of singular values, largest first."""
    total = values.sum()
    enough = values.cumsum(0) / total >= 1 - delta - 1e-12  # 0/0 where all are 0
    rank = ((~enough).sum() + 1).clamp(max=len(values)).to(values.dtype)
    return torch.where(total == 0, 0.0, torch.where(total.isnan(), torch.nan, rank))


def _stable_rank(values: Tensor) -> Tensor:
    """Of singular values, largest first."""
    return torch.where(values[0] == 0, 0.0, (values / values[0]).square().sum())


def _singular_values(features: Tensor) -> Tensor:
    """Of a matrix `[B, F]`, in float64, largest first; all NaN where an entry is not finite, which has none."""
    matrix = _checked(features).to(torch.float64)
    finite = matrix.isfinite().all()
    return torch.where(finite, torch.linalg.svdvals(torch.where(finite, matrix, 0.0)), torch.nan)


def _checked(features: Tensor) -> Tensor:
    if features.ndim != 2 or not features.numel():
        raise ValueError(f"features must be [B, F], got {[*features.shape]}")
    return features
