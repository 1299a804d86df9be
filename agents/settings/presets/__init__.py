"""Defaults by name, with their sources."""
