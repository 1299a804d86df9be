"""Settings of runs and agents; imports no torch."""
