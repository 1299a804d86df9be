"""Policies for acting without learning."""
