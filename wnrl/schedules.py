"""Schedules and clocks, all counted in steps: pure functions of the step, so that nothing has to be saved."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Linear:
    """A value that moves from `start` to `end` over `steps` steps, beginning at step `begin`, and then stays.

    Args:
        start: value up to and at step `begin`.
        end: value from step `begin + steps` on.
        steps: length of the slope in steps; 0 jumps to `end` at `begin`.
        begin: the step at which the slope starts.
    """

    start: float
    end: float
    steps: int
    begin: int = 0

    def __call__(self, step: int) -> float:
        """The value at `step`."""
        if step >= self.begin + self.steps:
            return self.end
        if step <= self.begin:
            return self.start
        share = (step - self.begin) / self.steps
        return self.start + share * (self.end - self.start)


@dataclass(frozen=True)
class Every:
    """A clock that ticks each `interval` steps after step `start`, however many steps pass at once.

    Args:
        interval: in steps; 0 never ticks.
        start: the first tick comes at `start + interval`.
    """

    interval: int
    start: int = 0

    def ticks(self, before: int, after: int) -> int:
        """How many ticks lie in the steps (before, after]."""
        return self._count(after) - self._count(before)

    def _count(self, step: int) -> int:
        return max(0, step - self.start) // self.interval if self.interval else 0
