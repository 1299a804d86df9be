"""Time of one update, and the kernels that it launches, by agent, normalizer, batch size and mode."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from agents.benchmarks.races import RACES, Race, RaceTask, our_trainer
from agents.benchmarks.timing import timed, wait
from agents.off_policy.replay_agent import ReplayAgent
from agents.registry import AGENTS
from agents.runtime.hardware import tuned
from agents.settings.flat import flat_defaults
from agents.settings.run import TrainSettings
from agents.training.trainer import Trainer

LAUNCHED = 8  # updates of one call of an agent with a replay buffer, which a GPU gets in one launch
FILLED = 1_024  # steps in the replay buffer
WARMUP = 6  # calls before the first timing: the first compiles, graphs are captured after the third
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {"double-dqn": ("dqn", {"double": True})}
"""Agents by other names, each with the settings that it has besides."""


class Side(NamedTuple):
    """Updates of one agent on one batch size."""

    work: Callable[[], None]
    updates: int  # of one call
    network: nn.Module


def update_times(
    task: RaceTask,
    agents: Sequence[str],
    norms: Sequence[str],
    batch_sizes: Sequence[int],
    modes: Sequence[str],
    *,
    rounds: int,
    updates: int,
    device: torch.device,
) -> dict[str, Any]:
    """Seconds of an update, with the ratio to the first normalizer in the first mode, and on CUDA its kernels.

    Args:
        task: whose observations are learned from.
        agents: of dqn, double-dqn, sac, pqn, ppo and a2c.
        norms: names of normalizers.
        batch_sizes: of each update; a multiple of 8 for agents with rollouts, which are one minibatch here.
        modes: eager or compiled; everything else is as a run has it on this device, CUDA graphs included.
        rounds: timings per side; all sides of an agent and a batch size take turns.
        updates: of each timing.
        device: waited for.

    Returns:
        By "agent, batch size" and "normalizer, mode": `median`, `ratio`, and on CUDA `kernels`.
    """
    figures: dict[str, Any] = {}
    for agent in agents:
        for size in batch_sizes:
            sides = {f"{norm}, {mode}": make_side(task, agent, norm, size, mode) for norm in norms for mode in modes}
            first = next(iter(sides.values()))
            work = {name: side.work for name, side in sides.items()}
            with tuned(first.network, device):
                rows = timed(work, rounds, max(updates // first.updates, 1), device, WARMUP)
                for name, side in sides.items():
                    rows[name]["median"] /= side.updates
                    if device.type == "cuda":
                        rows[name]["kernels"] = kernels(side.work, device) / side.updates
            figures[f"{agent}, {size}"] = rows
    return figures


def make_side(task: RaceTask, agent: str, norm: str, batch_size: int, mode: str) -> Side:
    """The updates of an agent: on batches of a filled replay buffer, or again and again on its first minibatch."""
    trainer = our_trainer(race_of(agent, batch_size), task, norm, compile=mode == "compiled")
    learns: Any = trainer.agent
    try:
        with tuned(learns.network, learns.learner.device):  # from the first update on: cuDNN keeps what it has chosen
            if isinstance(learns, ReplayAgent):
                trainer.run(FILLED)
                return Side(partial(learns.update, FILLED, LAUNCHED), LAUNCHED, learns.network)
            return Side(partial(learns.gradient_step, *first_minibatch(trainer)), 1, learns.network)
    finally:
        trainer.environment.close()


def race_of(agent: str, batch_size: int) -> Race:
    """The agent with batches of that size; of a replay buffer that is filled without an update, or of a rollout."""
    rows = max(batch_size // 8, 1)
    agent, variant = VARIANTS.get(agent, (agent, {}))
    wanted = {
        **{"batch_size": batch_size, "learning_starts": FILLED, "replay_size": 10_000},
        **{"rollout_length": rows, "epochs": 1, "minibatches": 1},
    }
    spec = AGENTS[agent]
    names = flat_defaults(TrainSettings[spec.settings])  # type: ignore[name-defined]
    settings = {name: value for name, value in wanted.items() if name in names} | variant
    num_envs = 8 if "batch_size" in settings else batch_size // rows
    return Race(agent, "", num_envs, settings, {}, vector_settings=RACES["dqn"].vector_settings)


def first_minibatch(trainer: Trainer) -> Sequence[Any]:
    """The minibatch of the first gradient step on a rollout."""
    agent: Any = trainer.agent
    step, found = agent.gradient_step, []
    agent.gradient_step = lambda *minibatch: found.append(minibatch)
    while not found:
        trainer.run(trainer.steps + 1)
    agent.gradient_step = step
    return found[0]


def kernels(work: Callable[[], None], device: torch.device) -> int:
    """Kernels, copies and fills that a call launches on a CUDA device."""
    wait(device)
    with profile(activities=[ProfilerActivity.CUDA]) as recorded:
        work()
        wait(device)
    events = recorded.key_averages()
    return sum(event.count for event in events if event.device_type is torch.autograd.DeviceType.CUDA)


def update_table(figures: dict[str, Any]) -> str:
    """Table of microseconds, ratios and kernels."""
    lines = []
    for name, rows in figures.items():
        counted = "kernels" in next(iter(rows.values()))
        lines += ["", f"{name:28}{'µs':>10}{'ratio':>8}" + f"{'kernels':>10}" * counted]
        for side, row in rows.items():
            count = f"{row['kernels']:10.1f}" if counted else ""
            lines.append(f"{side:28}{row['median'] * 1e6:10.0f}{row['ratio']:8.3f}{count}")
    return "\n".join(lines[1:])
