"""Distributions of returns as atoms or quantiles: their targets and losses, pure functions of batched tensors."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from agents.losses.shapes import check_shapes
from agents.losses.value import huber


def categorical_targets(
    reward: Tensor,
    discount: Tensor,
    atoms: Tensor,
    probabilities: Tensor,
    policy: Tensor,
    penalty: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Distribution of reward + discount × (Z(a) − penalty(a)) with a drawn from the policy, yet to be projected.

    With a greedy policy it is the target of C51 (Bellemare et al. 2017, algorithm 1).

    Args:
        reward: `[B]`, n-step return without the bootstrap.
        discount: `[B]`, 0 at termination, γⁿ otherwise.
        atoms: `[K]`, values that Z can take.
        probabilities: `[B, A, K]` of the atoms in the next observation by the target network.
        policy: `[B, A]`, probabilities of the actions there.
        penalty: `[B, A]`, τ log π; None is 0.

    Returns:
        Values and probabilities, `[B, M]` each: M = K without a penalty (all actions share the atoms), else A K.

    Raises:
        ValueError: a rank or a size differs from these.
    """
    shapes = "[B], [B], [K], [B, A, K], [B, A]"
    check_shapes("categorical_targets", shapes, reward, discount, atoms, probabilities, policy)
    mixture = policy.unsqueeze(2) * probabilities  # [B, A, K]
    if penalty is None:
        return reward.unsqueeze(1) + discount.unsqueeze(1) * atoms, mixture.sum(1)
    check_shapes("the penalty of categorical_targets", "[B, A], [B, A]", penalty, policy)
    shifted = (atoms - penalty.unsqueeze(2)).flatten(1)
    return reward.unsqueeze(1) + discount.unsqueeze(1) * shifted, mixture.flatten(1)


def categorical_projection(values: Tensor, probabilities: Tensor, atoms: Tensor) -> Tensor:
    """Project a distribution on evenly spaced atoms (Bellemare et al. 2017, equation 7).

    The probability of a value is shared between its two neighbours so that its mean is kept; values beyond the ends go
    to the ends. A value on an atom stays there whole.

    Args:
        values: `[B, M]`.
        probabilities: `[B, M]`.
        atoms: `[K]`, increasing, evenly spaced, two at least.

    Returns:
        `[B, K]`, of the same total probability.

    Raises:
        ValueError: a rank or a size differs from these.
    """
    check_shapes("categorical_projection", "[B, M], [B, M], [K]", values, probabilities, atoms)
    last = len(atoms) - 1
    if last < 1:
        raise ValueError(f"categorical_projection takes two atoms at least, got {len(atoms)}")
    position = ((values - atoms[0]) * (last / (atoms[-1] - atoms[0]))).clamp(0, last)  # [B, M], in atoms
    index = torch.arange(last + 1, dtype=position.dtype, device=position.device)
    share = (1 - (position.unsqueeze(1) - index.unsqueeze(1)).abs()).clamp(min=0)  # [B, K, M]
    # Not a matrix product: under autocast or TF32 its rounding would lose mass.
    return (share * probabilities.unsqueeze(1)).sum(2)


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Cross entropy from a target distribution (Bellemare et al. 2017, algorithm 1); no gradient enters the target.

    Args:
        logits: `[B, K]` of the learner.
        target: `[B, K]`, probabilities.

    Returns:
        `[B]`, −Σ target × log softmax(logits).

    Raises:
        ValueError: a rank or a size differs from these.
    """
    check_shapes("cross_entropy", "[B, K], [B, K]", logits, target)
    return -(target.detach() * F.log_softmax(logits, 1)).sum(1)


def quantile_targets(
    reward: Tensor, discount: Tensor, quantiles: Tensor, policy: Tensor, penalty: Tensor | None = None
) -> Tensor:
    """Quantiles of the target: reward + discount × Σ_a π(a) (z_j(a) − penalty(a)).

    With a greedy policy it is the target of QR-DQN (Dabney et al. 2018a, algorithm 1) and of IQN (Dabney et al. 2018b,
    equation 2), with penalty τ log π that of Munchausen IQN (Vieillard et al. 2020, appendix B).

    Args:
        reward: `[B]`, n-step return without the bootstrap.
        discount: `[B]`, 0 at termination, γⁿ otherwise.
        quantiles: `[B, A, M]` of the next observation by the target network.
        policy: `[B, A]`, probabilities of the actions there.
        penalty: `[B, A]`, τ log π; None is 0.

    Returns:
        `[B, M]`.

    Raises:
        ValueError: a rank or a size differs from these.
    """
    check_shapes("quantile_targets", "[B], [B], [B, A, M], [B, A]", reward, discount, quantiles, policy)
    if penalty is not None:
        check_shapes("the penalty of quantile_targets", "[B, A], [B, A]", penalty, policy)
        quantiles = quantiles - penalty.unsqueeze(2)
    return reward.unsqueeze(1) + discount.unsqueeze(1) * (policy.unsqueeze(2) * quantiles).sum(1)


def quantile_huber(quantiles: Tensor, levels: Tensor, targets: Tensor, delta: float = 1.0) -> Tensor:
    """Quantile Huber loss (Dabney et al. 2018a, equation 10; 2018b, equation 3); no gradient enters the targets.

    The loss of an error u at level τ is |τ − [u < 0]| huber(u, delta) / delta, as in 2018b; 2018a does not divide.

    Args:
        quantiles: `[B, K]` of the learner.
        levels: `[K]` or `[B, K]`, the τ in 0 … 1 that these are quantiles at.
        targets: `[B, M]`, samples or quantiles of the target, equally probable.
        delta: where the slope stops growing; 0 gives the loss of plain quantile regression, its limit.

    Returns:
        `[B]`, summed over K and averaged over M.

    Raises:
        ValueError: a rank or a size differs from these, or delta is below 0.
    """
    shapes = "[B, K], [K], [B, M]" if levels.ndim == 1 else "[B, K], [B, K], [B, M]"
    check_shapes("quantile_huber", shapes, quantiles, levels, targets)
    if delta < 0:
        raise ValueError(f"delta must be at least 0, got {delta}")
    error = targets.detach().unsqueeze(1) - quantiles.unsqueeze(2)  # [B, K, M]
    loss = huber(error, delta) / delta if delta > 0 else error.abs()
    weight = (levels.unsqueeze(-1) - (error < 0).to(levels.dtype)).abs()
    return (weight * loss).sum(1).mean(1)
