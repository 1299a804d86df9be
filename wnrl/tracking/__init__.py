"""Metrics of a run, written to TensorBoard and CSV."""
