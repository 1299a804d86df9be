"""What a network says of the actions in one observation: action values, probabilities, or the means of a policy."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from wnrl.networks.policy_heads import CategoricalPolicy, GaussianPolicy


class ActionValues(NamedTuple):
    """A number for each action, or for each component of a continuous action."""

    title: str
    """What the numbers are."""
    numbers: np.ndarray
    """`[A]` or `[D]` float32."""
    low: float = float("nan")
    """Lower end of their range; NaN where it is not known."""
    high: float = float("nan")
    """Upper end of their range; NaN where it is not known."""


def action_values(outputs: Any) -> ActionValues:
    """Those of the first row of a network's outputs.

    Args:
        outputs: with `q_values` `[B, A]`, which are means where returns have distributions; with a `policy`, whose
            probabilities or means they are; or a policy itself.

    Raises:
        TypeError: outputs of another kind.
    """
    policy = outputs if isinstance(outputs, CategoricalPolicy) else getattr(outputs, "policy", None)
    if hasattr(outputs, "q_values"):
        return ActionValues("Q values", outputs.q_values[0].float().cpu().numpy())
    if isinstance(policy, CategoricalPolicy):
        return ActionValues("probabilities", policy.logits[0].float().softmax(-1).cpu().numpy(), 0.0, 1.0)
    if isinstance(policy, GaussianPolicy):
        return ActionValues("means of the action", policy.mean[0].float().cpu().numpy())
    raise TypeError(f"outputs must have q_values or a policy, got {type(outputs).__name__}")
