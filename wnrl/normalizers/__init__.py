"""Normalizers by name, the layers that they put into a network, and folding these back into plain ones."""
