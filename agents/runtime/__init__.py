"""Devices, CUDA graphs and processes."""
