"""Schedules and clocks: pure functions of the environment step, without state to save."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LinearSchedule:
    """A value that changes linearly from `start` to `end` over `steps` steps from step `begin` on, and then stays.

    Args:
        start: value up to step `begin`.
        end: value from step `begin + steps` on.
        steps: duration of the change; with 0 the value jumps to `end` at `begin`.
        begin: step at which the change starts.
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
    """A clock that ticks every `interval` steps after step `start`, for any number of steps at once.

    Args:
        interval: in steps; with 0 it never ticks.
        start: the first tick is at `start + interval`.
    """

    interval: int
    start: int = 0

    def ticks(self, before: int, after: int) -> int:
        """Number of ticks in the steps (before, after]."""
        return self._count(after) - self._count(before)

    def _count(self, step: int) -> int:
        return max(0, step - self.start) // self.interval if self.interval else 0
