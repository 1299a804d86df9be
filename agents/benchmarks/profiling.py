"""Time spent in each part of a run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from typing import Any

from agents.benchmarks.timing import wait
from agents.off_policy.replay_agent import ReplayAgent
from agents.settings.run import RunSettings
from agents.training.trainer import Trainer
from envs import Groups


class Profile:
    """Seconds spent in parts of a run; a part that is entered within another counts alone.

    Args:
        wait: called at each change of part; waits for the device.
        clock: seconds.

    Attributes:
        seconds: by part.
    """

    def __init__(self, wait: Callable[[], None], clock: Callable[[], float] = time.perf_counter) -> None:
        self.seconds: dict[str, float] = {}
        self._wait, self._clock = wait, clock
        self._parts: list[str] = []  # entered, the innermost last
        self._since = 0.0

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """A context whose time counts for `name`."""
        self._turn()
        self._parts.append(name)
        try:
            yield
        finally:
            self._turn()
            self._parts.pop()

    def _turn(self) -> None:
        self._wait()
        now = self._clock()
        if self._parts:
            self.seconds[self._parts[-1]] = self.seconds.get(self._parts[-1], 0.0) + now - self._since
        self._since = now

    @contextmanager
    def watching(self, parts: Mapping[tuple[Any, str], str]) -> Iterator[None]:
        """A context in which each call of a method (object, name) counts for its part."""
        for (owner, method), part in parts.items():
            setattr(owner, method, self._watched(getattr(owner, method), part))
        try:
            yield
        finally:
            for owner, method in parts:
                delattr(owner, method)

    def _watched(self, method: Callable[..., Any], part: str) -> Callable[..., Any]:
        @wraps(method)
        def call(*arguments: Any, **keywords: Any) -> Any:
            with self.part(part):
                return method(*arguments, **keywords)

        return call


def profile_run(trainer: Trainer, steps: int) -> dict[str, float]:
    """Seconds per step of each part of a run, over `steps` more steps; on a GPU the run is slower than without.

    Args:
        trainer: of the run.
        steps: how far it goes.
    """
    agent, device = trainer.agent, trainer.agent.learner.device
    profile = Profile(lambda: wait(device))
    parts: dict[tuple[Any, str], str] = {
        (agent, "act"): "acting",
        (trainer.environment, "send"): "emulation",
        (trainer.environment, "recv"): "emulation",
        (agent, "observe"): "storing",
        (agent, "learn"): "update",
    }
    if isinstance(trainer.environment, Groups):
        parts |= {(agent, name): "acting" for name in ("draw_row", "act_on")}
        parts |= {(trainer.environment, name): "emulation" for name in ("send_to", "recv_from")}
    if isinstance(agent, ReplayAgent) and not agent.captures:  # a captured update has no parts
        parts |= {(agent.sampler, "sample"): "sampling", (agent.sampler, "update_priorities"): "sampling"}
    if hasattr(agent, "storage"):
        parts |= {(agent.storage, name): "storing" for name in ("follow", "read")}
    before = trainer.steps
    with profile.watching(parts), profile.part("loop"):
        trainer.run(before + steps)
    with profile.part("logging"):
        agent.metrics(trainer.steps)
    made = trainer.steps - before
    profile.seconds["logging"] *= made / RunSettings.log_interval
    return {part: seconds / made for part, seconds in profile.seconds.items()}


def profile_table(profiles: Mapping[str, Mapping[str, float]]) -> str:
    """Table of microseconds per step and share of each part, by agent."""
    lines = []
    for name, seconds in profiles.items():
        total = sum(seconds.values())
        lines += ["", f"{name:20}{'µs/step':>10}{'share':>8}"]
        lines += [f"{part:20}{value * 1e6:10.0f}{value / total:8.2f}" for part, value in sorted(seconds.items())]
    return "\n".join(lines[1:])
