"""How a network learns, whatever its agent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from agents.settings.checks import check_above_zero, check_at_least, check_shares

OptimizerName = Literal["adam", "adamax", "radam", "rmsprop", "rmsprop-a2c", "sgd"]
Init = Literal["preserve", "data", "lsuv", "within-layer", "analytic", "he"]


@dataclass(frozen=True)
class LearnerSettings:
    """Optimizer, initialization and rewards."""

    learning_rate: float = 1e-4
    """Learning rate of the optimizer; the initial one where it is annealed."""
    learning_rate_schedule: Literal["auto", "constant", "linear"] = "auto"
    """linear anneals it to 0 by --schedule-steps; auto is linear for norms that end in projected, else constant."""
    optimizer: OptimizerName = "adam"
    """Optimizer; rmsprop is centred (Mnih et al. 2015), rmsprop-a2c is not (code of A2C); sgd has no momentum."""
    beta1: float = 0.9
    """Decay rate of the first moment (Adam, Adamax, RAdam)."""
    optimizer_eps: float = 1e-8
    """ε of the optimizer (all but sgd), added to the denominator, or under its root (both of rmsprop)."""
    max_grad_norm: float = 10.0
    """Maximum norm of the gradient of all parameters; 0 does not clip."""
    gamma: float = 0.99
    """Discount factor per step."""
    reward_clip: float = 1.0
    """Rewards are clipped to ± this for learning (reported scores are not); 0 does not clip."""
    init: Init = "preserve"
    """Initialization: the agent's own (preserve); from first observations: the paper's (data), Mishkin & Matas's 2016
    (lsuv), Krähenbühl et al.'s 2016 (within-layer); by shapes (analytic); He-uniform (he)."""
    graphs: bool | None = None
    """Capture acting and gradient steps in CUDA graphs; None does so on CUDA."""

    def __post_init__(self) -> None:
        check_above_zero(self, "learning_rate", "optimizer_eps")  # without ε, 0/0 where a gradient has always been 0
        check_shares(self, "gamma", "beta1")
        check_at_least(self, 0, "max_grad_norm", "reward_clip")
