"""Checkpoints and models that load without running code."""
