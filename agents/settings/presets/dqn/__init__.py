"""Presets of the DQN family, one file per paper."""
