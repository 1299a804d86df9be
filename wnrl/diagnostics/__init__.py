"""Metrics of normalized layers during training, and of what a network has learned to tell apart."""

from wnrl.diagnostics.features import (
    action_gap,
    dormant_ratio,
    effective_rank,
    overestimation,
    policy_churn,
    relative_change,
    stable_rank,
)
from wnrl.diagnostics.norms import NormDiagnostics

__all__ = [
    "NormDiagnostics",
    "action_gap",
    "dormant_ratio",
    "effective_rank",
    "overestimation",
    "policy_churn",
    "relative_change",
    "stable_rank",
]

NormDiagnostics.__module__ = "wnrl"  # pickles name it by its module: by the one that stays
