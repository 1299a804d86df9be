"""A training run: its loop, callbacks, folder, evaluation and saved models."""
