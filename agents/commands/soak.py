"""The command that watches a long run for what grows."""

from __future__ import annotations

import sys

from agents.benchmarks.soak import Soak, complaint, summary
from agents.commands.parser import fail, read


def main(description: str) -> int:
    """Watch a run and print one line, as `scripts/soak.py` does; the exit code is 1 where something grew."""
    try:
        soak = read(Soak, description)
        samples = soak.samples()
    except ValueError as error:
        fail(error)
    if grown := complaint(samples, soak.bounds):
        print(f"{grown}: {soak.out / 'soak.csv'}", file=sys.stderr)
        return 1
    print(f"{summary(samples)}: {soak.out / 'soak.csv'}")
    return 0
