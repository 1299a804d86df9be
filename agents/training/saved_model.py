"""Models saved by runs, and environments to play in with them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from agents.learner.saved_network import read_network
from agents.settings.keywords import checked_keywords
from agents.settings.task import TaskSettings
from agents.settings.trust import check_trusted
from agents.training.evaluation_table import count_evaluations
from agents.training.run_directory import NAMES
from agents.training.task import check_not_of_python
from envs import Environment, make
from wnrl.checkpoints.files import CheckpointError


class SavedModel(NamedTuple):
    """A folded network and its description."""

    network: nn.Module
    description: dict[str, Any]
    name: str  # of its file
    evaluations: int = 0  # from which the best one was chosen

    def make_environment(self, num_envs: int, **options: Any) -> Environment:
        """Environments of the task that the model was trained on, for whole games; `options` go to `envs.make`.

        Raises:
            ValueError: the environment cannot be made, or is another one than the network is for.
        """
        about, network = self.description, self.description.get("network")
        check_not_of_python(about["env"])
        made = make(game=about["game"], env=about["env"], num_envs=num_envs, **about["emulator"], **options)
        if network is None:
            return made
        here, there = (list(made.obs_shape), made.num_actions), (network["obs_shape"], network["num_actions"])
        if here != there:
            made.close()
            raise ValueError(
                f"{self.name} learned from observations {there[0]} and {there[1]} actions, its environment has "
                f"{here[0]} and {here[1]} now"
            )
        return made


def read_saved_model(
    run_dir: Path, model: str, device: torch.device, own_torso: Any = None, *, trust: bool = False
) -> SavedModel:
    """Read a run's model.

    Args:
        run_dir: folder of the run.
        model: `last`, or `best`: that of the best evaluation.
        device: of the network.
        own_torso: the module of a network that was made in Python, or what makes it.
        trust: whether it may be of any size, and an environment that it names may import a module.

    Raises:
        ValueError: the run has no such model yet, its file is damaged or not trusted, or its network is Python's.
    """
    name = find_model(run_dir, model)
    network, description = read_network(run_dir / name, own_torso, trust=trust)
    check_description(run_dir / name, description)
    if not trust:
        check_trusted(run_dir, description["env"], description["emulator"].get("env_kwargs", {}))
    return SavedModel(network.to(device).eval(), description, name, count_evaluations(run_dir))


def check_description(path: Path, about: dict[str, Any]) -> None:
    """Raise CheckpointError where a model's description has no task, or what no model has.

    Args:
        path: of the model.
        about: the description.
    """
    try:
        emulator = {name: value for name, value in about["emulator"].items() if name != "terminal_on_life_loss"}
        task = {"game": about["game"], "env": about["env"], "protocol": about.get("protocol", "none"), **emulator}
        settings = TaskSettings(**checked_keywords(TaskSettings, task))
        settings.name  # noqa: B018 - there is one
        for name, least, most in (("frame_skip", 1, 1_000), ("stack", 1, 1_000), ("step", 0, 10**18 - 1)):
            _check_number(name, about["step"] if name == "step" else emulator.get(name, least), int, least, most)
        for side in settings.resize:
            _check_number("resize", side, int, 1, 10_000)
        play = dict(about["play"])
        if unknown := sorted(play.keys() - {"epsilon", "sample"}):
            raise ValueError(f"play has {', '.join(unknown)}")
        _check_number("epsilon", play.get("epsilon", 0), (int, float), 0, 1)
        _check_number("mean_reward", about.get("mean_reward") or 0, (int, float), -math.inf, math.inf)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        text = " ".join(f"{type(error).__name__} {error}".split())[:300]
        raise CheckpointError(f"{path} describes no task of this version: {text}") from error


def _check_number(name: str, value: Any, kinds: Any, least: float, most: float) -> None:
    if isinstance(value, bool) or not isinstance(value, kinds) or not least <= value <= most:
        raise ValueError(f"{name} is {value!r}")


def find_model(run_dir: Path, model: str) -> str:
    """Name of the files of a run's model: `best` or `model`.

    Args:
        run_dir: folder of the run.
        model: `last`, or `best`: that of the best evaluation.

    Raises:
        ValueError: the run has no such model yet.
    """
    found = find_models(run_dir)
    if model in found:
        return NAMES[model]
    advice = "".join(f", or --model {other}" for other in found)
    raise ValueError(f"{run_dir} has no {NAMES[model]}.safetensors yet: train it longer{advice}")


def find_models(run_dir: Path) -> list[str]:
    """Which of `last` and `best` a run has."""
    return [kind for kind, name in NAMES.items() if (run_dir / f"{name}.json").is_file()]
