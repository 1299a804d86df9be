"""Normalizers by name, and what they put on a network."""
