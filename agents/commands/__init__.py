"""Command lines: what prints, parses, exits and catches signals."""
