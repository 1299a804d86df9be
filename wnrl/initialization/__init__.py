"""Initial weights, for plain and normalized networks."""
