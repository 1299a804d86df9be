"""Settings of runs and agents; nothing here imports torch, so that a command line answers at once."""
