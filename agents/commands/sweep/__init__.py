"""The command that trains many runs."""
