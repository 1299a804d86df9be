"""How far a reader has to go to follow one update: calls, depth and jumps between files, counted while it runs."""

from __future__ import annotations

import os
import statistics
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NamedTuple

from agents.registry import AGENTS
from agents.settings.flat import flat_defaults, from_flat
from agents.settings.run import Precision, TrainSettings
from agents.training.task import Task
from agents.training.trainer import Trainer

FOLDERS = tuple(f"{Path(__file__).parents[2] / package}{os.sep}" for package in ("wnrl", "agents", "envs"))
INLINED = {"<listcomp>", "<dictcomp>", "<setcomp>"}  # functions of their own before Python 3.12


class Call(NamedTuple):
    """A call of a function in the watched folders, or a generator that is resumed."""

    code: CodeType  # of the function
    depth: int  # frames of watched functions on the stack, this one included
    caller: str | None  # file of the watched function below it on the stack

    @property
    def jump(self) -> bool:
        """Whether the caller is in another file."""
        return self.caller not in (None, self.code.co_filename)


def record_calls(work: Callable[[], Any], folders: Sequence[str] = FOLDERS) -> list[Call]:
    """Run `work` and return the calls in this thread into functions whose files are in `folders`, in order."""
    calls: list[Call] = []
    stack: list[str] = []  # the file of each watched frame

    def profile(frame: FrameType, event: str, argument: Any) -> None:
        code = frame.f_code
        if not code.co_filename.startswith(tuple(folders)) or code.co_name in INLINED:
            return
        if event == "call":
            calls.append(Call(code, len(stack) + 1, stack[-1] if stack else None))
            stack.append(code.co_filename)
        elif event == "return" and stack:
            stack.pop()

    previous = sys.getprofile()
    sys.setprofile(profile)
    try:
        work()
    finally:
        sys.setprofile(previous)
    return calls


def sizes(calls: Sequence[Call]) -> dict[str, int]:
    """The deepest chain of frames, and how many files, functions, jumps between files and calls there are."""
    return {
        "depth": max(call.depth for call in calls),
        "files": len({call.code.co_filename for call in calls}),
        "functions": len({call.code for call in calls}),
        "jumps": sum(call.jump for call in calls),
        "calls": len(calls),
    }


def update_calls(
    agent: str, env: str, *, norm: str, preset: str, device: str, precision: Precision, updates: int
) -> dict[str, Any]:
    """Sizes of the calls that `learn` of an agent makes when it makes one update.

    Args:
        agent: a name in `AGENTS`; a rollout is one minibatch for one epoch.
        env: a Gymnasium id.
        norm: the normalizer.
        preset: source of the settings.
        device: of the network; on CUDA the backward pass runs in a thread that is not counted.
        precision: of the network's products.
        updates: number of updates counted.

    Returns:
        `median`: of each of `sizes`; `updates`: the sizes of each; `calls`: those of the update with the median number
        of jumps, a line each.

    Raises:
        ValueError: the settings do not fit the environment or the machine.
    """
    spec = AGENTS[agent]
    kind = TrainSettings[spec.settings]  # type: ignore[name-defined]
    one_update = {"overlap": False, "epochs": 1, "minibatches": 1}
    settings: Any = from_flat(
        kind,
        spec.preset(preset, images=False, norm=norm, flags={}),
        **{"env": env, "norm": norm, "device": device, "precision": precision},
        **{name: value for name, value in one_update.items() if name in flat_defaults(kind)},
    )
    environment = Task(settings.run.task).training(settings.run.num_envs)
    trainer = Trainer(spec.build(settings.run, settings.agent, environment), environment, seed=0)
    learner, learn = trainer.agent.learner, trainer.agent.learn
    found: list[list[Call]] = []

    def counted(*arguments: Any) -> None:
        before = learner.num_updates
        calls = record_calls(partial(learn, *arguments))
        if learner.num_updates == before + 1:
            found.append(calls)

    trainer.agent.learn = counted  # type: ignore[assignment]
    try:
        while len(found) < updates:
            trainer.run(trainer.steps + 1)
    finally:
        environment.close()
    rows = [sizes(calls) for calls in found]
    middle = sorted(found, key=lambda calls: sizes(calls)["jumps"])[len(found) // 2]
    return {
        "median": {name: statistics.median(row[name] for row in rows) for name in rows[0]},
        "updates": rows,
        "calls": [call_line(call) for call in middle],
    }


def call_line(call: Call) -> str:
    """File, line and name of a call, indented by its depth."""
    folder = next(folder for folder in FOLDERS if call.code.co_filename.startswith(folder))
    file = Path(call.code.co_filename).relative_to(Path(folder).parent)
    return f"{'  ' * (call.depth - 1)}{file}:{call.code.co_firstlineno} {call.code.co_name}"


def calls_table(figures: dict[str, Any], tree: bool) -> str:
    """Table of the medians, after the calls themselves if `tree`."""
    names = {"depth": "deepest chain", "jumps": "jumps between files"}
    lines = [f"{names.get(name, name):24}{value:10.0f}" for name, value in figures["median"].items()]
    return "\n".join([*(figures["calls"] if tree else []), f"{'of one update':24}{'median':>10}", *lines])
