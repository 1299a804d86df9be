"""Replay buffers on the learner's device."""
