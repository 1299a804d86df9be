"""Weight normalization: its equations, and the layers that have it."""
