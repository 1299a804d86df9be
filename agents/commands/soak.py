"""The command that watches a long run for what grows."""

from __future__ import annotations

import sys

from agents.benchmarks.soak import Soak, complaint, summary
from agents.commands.parser import fail, read
from agents.runtime.signals import StopSignal


def main(description: str) -> int:
    """Watch a run and print one line, as `scripts/soak.py` does; the exit code is 1 where something grew.

    A signal that stops it ends the run too, and what was seen until then is judged.
    """
    stop = StopSignal()
    try:
        soak = read(Soak, description)
        with stop:
            samples = soak.samples(stop)
    except ValueError as error:
        fail(error, stop.exit_code or 2)
    if grown := complaint(samples, soak.bounds):
        print(f"{grown}: {soak.out / 'soak.csv'}", file=sys.stderr)
        return 1
    print(f"{summary(samples)}: {soak.out / 'soak.csv'}")
    return stop.exit_code
