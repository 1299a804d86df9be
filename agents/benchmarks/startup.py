"""Time from starting a process to its first update."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from functools import partial
from typing import Any

from agents.benchmarks.timing import in_turn, medians

PHASES = ("import", "build", "first update")


def start_times(task: dict[str, Any], *, rounds: int, learning_starts: int) -> dict[str, Any]:
    """Seconds until a new process has imported, built a DQN and made its first update, by phase and side.

    Args:
        task: the fields of an `agents.benchmarks.races.RaceTask`.
        rounds: processes per side; the sides take turns.
        learning_starts: steps of random play before the first update, on every side.
    """
    sides = {"stable-baselines3": "", "wnrl none": "none", "wnrl weight": "weight"}
    job = {"task": task, "learning_starts": learning_starts}
    work = {name: partial(_in_a_process, {**job, "norm": norm}) for name, norm in sides.items()}
    moments = in_turn(work, rounds)
    phases = {phase: {name: [ends[i] for ends in moments[name]] for name in sides} for i, phase in enumerate(PHASES)}
    phases["wnrl train dqn --help"] = {"wnrl": [_help_seconds() for _ in range(rounds)]}
    return {"seconds": phases, "summary": {phase: medians(rows) for phase, rows in phases.items()}}


def _in_a_process(job: dict[str, Any]) -> list[float]:
    """Seconds from the start of a process to the end of each phase."""
    start = time.time()
    command = [sys.executable, "-m", "agents.benchmarks.startup", json.dumps(job)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(f"the process failed: {done.stderr.strip().splitlines()[-1]}")
    return [moment - start for moment in json.loads(done.stdout.splitlines()[-1])]


def _help_seconds() -> float:
    command = [sys.executable, "-c", "from agents.commands.entry import main; main()", "train", "dqn", "--help"]
    start = time.time()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.time() - start


def our_moments(task: dict[str, Any], learning_starts: int, norm: str) -> list[float]:
    """Times at which this process has imported and built our DQN, and made its first update."""
    from agents.benchmarks.races import RACES, RaceTask, our_trainer

    moments = [time.time()]
    trainer = our_trainer(RACES["dqn"], RaceTask(**task), norm, learning_starts=learning_starts)
    moments.append(time.time())
    while not trainer.agent.learner.num_updates:
        trainer.run(trainer.steps + 1)
    return [*moments, time.time()]


def sb3_moments(task: dict[str, Any], learning_starts: int) -> list[float]:
    """The same for the DQN of stable-baselines3."""
    import stable_baselines3  # noqa: F401

    from agents.benchmarks.races import RACES, RaceTask, sb3_model

    moments = [time.time()]
    model = sb3_model(RACES["dqn"], RaceTask(**task))
    model.learning_starts = learning_starts
    moments.append(time.time())
    model.learn(learning_starts + model.n_envs)
    assert model._n_updates
    return [*moments, time.time()]


def start_table(figures: dict[str, Any]) -> str:
    """Table of the seconds since the start, and ratios."""
    lines = []
    for phase, rows in figures["summary"].items():
        lines += ["", f"{phase + ' (s)':24}{'median':>10}{'ratio':>8}"]
        lines += [f"{name:24}{row['median']:10.2f}{row['ratio']:8.2f}" for name, row in rows.items()]
    return "\n".join(lines[1:])


if __name__ == "__main__":
    job = json.loads(sys.argv[1])
    print(json.dumps(our_moments(**job) if job["norm"] else sb3_moments(job["task"], job["learning_starts"])))
