"""Weight normalization: its equations, and the weight-normalized layers."""
