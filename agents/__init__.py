"""Agents that learn with weight-normalized networks, the loops that run them, and what they are measured by."""
