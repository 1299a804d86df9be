"""What a run is about to do, in a few lines: task, network, normalizer, device, length."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from agents.settings.flat import PYTHON
from agents.settings.run import TrainSettings
from agents.training.protocols import Agent
from envs import Environment, rom_id

SHORT_RUN = 200_000
"""Steps after which docs/results.md, "Breakout with DQN", has the scores below."""
SCORES = {"weight": 24.6, "none": 17.1}
"""Scores in Breakout by normalizer; random play gets 1.7."""


def summary(
    name: str, settings: TrainSettings[Any], agent: Agent, environment: Environment, total_steps: int
) -> list[str]:
    """The lines.

    Args:
        name: of the agent.
        settings: of its run.
        agent: that will learn.
        environment: that it will learn in.
        total_steps: length of the run.

    Returns:
        Five lines, and one of advice for a long run on a CPU, where there is some.
    """
    run, learner = settings.run, agent.learner
    lines = {
        "task": f"{run.task.name}, {counted(run.num_envs, 'environment')}, {spaces(environment)}",
        "network": f"{parts(learner.network, learner.description)}, {parameters(learner.network):,} parameters",
        "normalizer": f"{run.network.norm}, initialization {settings.agent.learner.init}",
        "device": machine(learner.device, learner.dtype),
        "preset": f"{run.preset} for {name}, seed {run.seed}: {total_steps:,} steps{frames(environment, total_steps)}",
    }
    if learner.device.type == "cpu" and run.task.game is not None and total_steps > SHORT_RUN:
        lines |= advice(name, run.preset, run.network.norm, run.task.game)
    return [f"{what:<11}{text}" for what, text in lines.items()]


def spaces(environment: Environment) -> str:
    """What is observed and done: `images of 4 x 84 x 84, 4 actions`."""
    shape = " x ".join(map(str, environment.obs_shape))
    observed = f"images of {shape}" if len(environment.obs_shape) == 3 else f"observations of {shape or 1}"
    if environment.num_actions:
        return f"{observed}, {environment.num_actions} actions"
    return f"{observed}, continuous actions"


def parts(network: nn.Module, description: Mapping[str, Any]) -> str:
    """Class of the torso, widths of the fully connected layers, and what else a network is made of."""
    torsos = (module for name, module in network.named_modules() if name.rpartition(".")[2] == "torso")
    torso = next((type(module).__name__ for module in torsos), type(network).__name__)
    architecture = description.get("architecture", {})
    made_of = [torso, "-".join(map(str, description.get("hidden", ())))]
    if "own_torso" in description:
        made_of = [f"{description['own_torso'].removeprefix(PYTHON)} of your own"]
    made_of += [name for name in ("dueling", "noisy") if architecture.get(name)]
    if architecture.get("distribution", "none") != "none":
        made_of.append(architecture["distribution"])
    if description.get("lstm"):
        made_of.append(f"LSTM {description['lstm']}")
    return " ".join(filter(None, made_of))


def parameters(network: nn.Module) -> int:
    """How many numbers are learned; under weight normalization those of g and v."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)


def machine(device: torch.device, dtype: torch.dtype) -> str:
    """The device, and what its matrix products are computed in."""
    if device.type == "cpu":
        name = f"cpu, {counted(torch.get_num_threads(), 'thread')}"
    else:
        name = f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)
    return f"{name}, matrix products in {str(dtype).removeprefix('torch.')}"


def counted(number: int, noun: str) -> str:
    """`1 thread`, `2 threads`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def frames(environment: Environment, steps: int) -> str:
    """The steps in frames, where a step is more than one."""
    return f" ({steps * environment.frame_skip:,} frames)" if environment.frame_skip > 1 else ""


def advice(name: str, preset: str, norm: str, game: str) -> dict[str, str]:
    """A length that a CPU reaches sooner and that shows learning; empty where none was measured."""
    if (name, preset) != ("dqn", "fast") or norm not in SCORES:
        return {}
    where = "" if rom_id(game) == "breakout" else " in Breakout"
    return {"on a CPU": f"--steps {SHORT_RUN} scored {SCORES[norm]}{where} in one run (random: 1.7)"}
