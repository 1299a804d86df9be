"""Agents that learn with weight-normalized networks, the loops that run them, and what they are measured by."""

import os

from wnrl.distribution import check_packages

__distribution__ = "wnrl"

check_packages("envs")

# Emulators and torch share the cores of a CPU. Between two operations torch's threads (GNU OpenMP) wait awake, by
# default for milliseconds, and keep an emulator from its core; a tenth of that is enough until the next operation.
# It is read when torch is imported.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "30000")
