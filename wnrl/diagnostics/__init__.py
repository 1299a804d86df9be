"""Metrics of normalized layers during training."""
