"""A network and its optimizer."""
