"""Metrics of normalized layers during training."""

from wnrl.diagnostics.norms import NormDiagnostics

NormDiagnostics.__module__ = "wnrl"  # pickles name it by its module: by the one that stays
