"""Sweeps: many runs over agents, tasks, normalizers, settings and seeds."""
