"""Losses and diagnostics of policy gradients: pure functions of batched tensors, one number per sample.

Shapes are compared in place, since each gradient step enters several of these formulas; `check_shapes` is called where
they do not match, for its error.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from agents.losses.shapes import check_shapes

_LARGE_LOG_RATIO = 80.0  # e^88.7 overflows in float32, and 0 · ∞ is NaN in the gradient of a clipped ratio


def policy_gradient_loss(log_prob: Tensor, advantage: Tensor) -> Tensor:
    """−log π(a|s) × advantage (Sutton et al. 2000; A2C, Mnih et al. 2016).

    Args:
        log_prob: `[B]`, log π(a|s) by the learner, of the actions taken.
        advantage: `[B]`; no gradient enters it.

    Returns:
        `[B]`.

    Raises:
        ValueError: the shapes differ.
    """
    if not log_prob.shape == advantage.shape == (log_prob.numel(),):
        check_shapes("policy_gradient_loss", "[B], [B]", log_prob, advantage)
    return -log_prob * advantage.detach()


def clipped_surrogate(log_prob: Tensor, old_log_prob: Tensor, advantage: Tensor, clip: float | Tensor) -> Tensor:
    """Policy loss of PPO (Schulman et al. 2017, equation 7, negated): −min(r A, clip(r, 1 − ε, 1 + ε) A), r = π/π_old.

    Args:
        log_prob: `[B]`, log π(a|s) by the learner, of the actions taken.
        old_log_prob: `[B]`, log π_old(a|s) by the policy that acted; no gradient enters it.
        advantage: `[B]`; no gradient enters it.
        clip: ε; a 0-dim tensor if it changes between launches of a captured graph.

    Returns:
        `[B]`.

    Raises:
        ValueError: the shapes differ.
    """
    if not log_prob.shape == old_log_prob.shape == advantage.shape == (log_prob.numel(),):
        check_shapes("clipped_surrogate", "[B], [B], [B]", log_prob, old_log_prob, advantage)
    log_ratio, advantage = log_prob - old_log_prob.detach(), advantage.detach()
    ratio = log_ratio.clamp(max=_LARGE_LOG_RATIO).exp()
    bounds: Any = 1 - clip, 1 + clip
    loss = -torch.minimum(ratio * advantage, ratio.clamp(*bounds) * advantage)
    unbounded = (log_ratio > _LARGE_LOG_RATIO) & (advantage < 0)  # −r A = exp(log r + log |A|), where r may overflow
    return torch.where(unbounded, torch.where(unbounded, log_ratio + (-advantage).log(), 0.0).exp(), loss)


def value_loss(value: Tensor, target: Tensor) -> Tensor:
    """½ (value − target)² (Schulman et al. 2017, half of L^VF in equation 9).

    Args:
        value: `[B]` by the learner.
        target: `[B]`, returns; no gradient enters them.

    Returns:
        `[B]`.

    Raises:
        ValueError: the shapes differ.
    """
    if not value.shape == target.shape == (value.numel(),):
        check_shapes("value_loss", "[B], [B]", value, target)
    return 0.5 * (value - target.detach()).square()


def clipped_value_loss(value: Tensor, old_value: Tensor, target: Tensor, clip: float) -> Tensor:
    """½ max((v − target)², (v_clipped − target)²), v_clipped the value clipped to within ±ε of the old one.

    It is in the code of PPO's authors (openai/baselines), not in the paper (Engstrom et al. 2020, section 3).

    Args:
        value: `[B]` by the learner.
        old_value: `[B]` by the network that acted; no gradient enters it.
        target: `[B]`, returns; no gradient enters them.
        clip: ε, in units of value.

    Returns:
        `[B]`.

    Raises:
        ValueError: the shapes differ.
    """
    if not value.shape == old_value.shape == target.shape == (value.numel(),):
        check_shapes("clipped_value_loss", "[B], [B], [B]", value, old_value, target)
    old_value = old_value.detach()
    clipped = old_value + (value - old_value).clamp(-clip, clip)
    return torch.maximum(value_loss(value, target), value_loss(clipped, target))


def approximate_kl(log_prob: Tensor, old_log_prob: Tensor) -> Tensor:
    """Estimate of KL(π_old ‖ π) from each action taken, (r − 1) − log r with r = π/π_old (Schulman 2020, k3).

    Args:
        log_prob: `[B]`, log π(a|s) by the learner, of the actions taken.
        old_log_prob: `[B]`, log π_old(a|s) by the policy that acted.

    Returns:
        `[B]`, none negative.

    Raises:
        ValueError: the shapes differ.
    """
    if not log_prob.shape == old_log_prob.shape == (log_prob.numel(),):
        check_shapes("approximate_kl", "[B], [B]", log_prob, old_log_prob)
    log_ratio = log_prob - old_log_prob
    return log_ratio.expm1() - log_ratio


def clip_fraction(log_prob: Tensor, old_log_prob: Tensor, clip: float | Tensor) -> Tensor:
    """1 where the ratio π/π_old is further than ε from 1, else 0.

    Args:
        log_prob: `[B]`, log π(a|s) by the learner, of the actions taken.
        old_log_prob: `[B]`, log π_old(a|s) by the policy that acted.
        clip: ε of the surrogate.

    Returns:
        `[B]` of the same dtype.

    Raises:
        ValueError: the shapes differ.
    """
    if not log_prob.shape == old_log_prob.shape == (log_prob.numel(),):
        check_shapes("clip_fraction", "[B], [B]", log_prob, old_log_prob)
    return ((log_prob - old_log_prob).expm1().abs() > clip).to(log_prob.dtype)


def soft_value(log_policy: Tensor, q_values: Tensor, temperature: Tensor | float) -> Tensor:
    """Soft value of a discrete policy (Christodoulou 2019, equation 10): Σ_a π(a) (q(a) − α log π(a)).

    Args:
        log_policy: `[B, A]`, log π, finite.
        q_values: `[B, A]`.
        temperature: α.

    Returns:
        `[B]`.

    Raises:
        ValueError: a rank or a size differs from these.
    """
    if not (log_policy.ndim == 2 and log_policy.shape == q_values.shape):
        check_shapes("soft_value", "[B, A], [B, A]", log_policy, q_values)
    return (log_policy.exp() * (q_values - temperature * log_policy)).sum(1)


def sac_policy_loss(log_policy: Tensor, q_values: Tensor, temperature: Tensor | float) -> Tensor:
    """Policy loss of discrete SAC (Christodoulou 2019, equation 12): Σ_a π(a) (α log π(a) − q(a)).

    Args:
        log_policy: `[B, A]`, log π of the learner, finite; the gradient enters this only.
        q_values: `[B, A]`.
        temperature: α.

    Returns:
        `[B]`, −soft_value.

    Raises:
        ValueError: a rank or a size differs from these.
    """
    if isinstance(temperature, Tensor):
        temperature = temperature.detach()
    return -soft_value(log_policy, q_values.detach(), temperature)


def temperature_loss(log_temperature: Tensor, log_policy: Tensor, target_entropy: float) -> Tensor:
    """Temperature loss of discrete SAC (Christodoulou 2019, equation 11): −α Σ_a π(a) (log π(a) + target entropy).

    Args:
        log_temperature: 0-dim, log α; the gradient enters this only.
        log_policy: `[B, A]`, log π, finite.
        target_entropy: in nats; below log A.

    Returns:
        `[B]`, α × (entropy − target entropy).

    Raises:
        ValueError: a rank or a size differs from these.
    """
    if log_temperature.ndim or log_policy.ndim != 2:
        check_shapes("temperature_loss", "[], [B, A]", log_temperature, log_policy)
    log_policy = log_policy.detach()
    entropy = -(log_policy.exp() * log_policy).sum(1)
    return log_temperature.exp() * (entropy - target_entropy)


def masked_mean(x: Tensor, valid: Tensor) -> Tensor:
    """Mean of the valid entries; all others are ignored, NaN too.

    Args:
        x: any shape.
        valid: the same shape, bool.

    Returns:
        0-dim; 0 where nothing is valid.

    Raises:
        ValueError: the shapes differ.
    """
    if x.shape != valid.shape:
        check_shapes("masked_mean", "[...], [...]", x, valid)
    return torch.where(valid, x, 0.0).sum() / valid.sum().clamp(min=1)


def masked_means(x: Tensor, valid: Tensor) -> Tensor:
    """As `masked_mean` of each row of `x`, in as many operations as that of one.

    Args:
        x: `[K, B]`.
        valid: `[B]`, bool.

    Returns:
        `[K]`.

    Raises:
        ValueError: the shapes differ.
    """
    if x.ndim != 2 or x.shape[1:] != valid.shape:
        check_shapes("masked_means", "[K, B], [B]", x, valid)
    return torch.where(valid, x, 0.0).sum(1) / valid.sum().clamp(min=1)


def normalize_advantages(advantage: Tensor, valid: Tensor) -> Tensor:
    """Advantages with mean 0 and standard deviation 1 (unbiased, plus 1e-8) over the valid entries.

    Args:
        advantage: any shape.
        valid: the same shape, bool.

    Returns:
        The same shape, 0 where not valid; a single valid entry becomes 0.

    Raises:
        ValueError: the shapes differ.
    """
    centred = torch.where(valid, advantage - masked_mean(advantage, valid), 0.0)
    variance = centred.square().sum() / (valid.sum() - 1).clamp(min=1)
    return centred / (variance.sqrt() + 1e-8)


def explained_variance(value: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """1 − Var[target − value] / Var[target] over the valid entries: 1 is perfect, 0 no better than a constant.

    Args:
        value: any shape.
        target: the same shape, returns.
        valid: the same shape, bool.

    Returns:
        0-dim; NaN where the targets do not vary.

    Raises:
        ValueError: the shapes differ.
    """
    check_shapes("explained_variance", "[...], [...], [...]", value, target, valid)
    total, rest = _variance(target, valid), _variance(target - value, valid)
    return torch.where(total > 0, 1 - rest / total, torch.nan)


def _variance(x: Tensor, valid: Tensor) -> Tensor:
    return masked_mean((x - masked_mean(x, valid)).square(), valid)
