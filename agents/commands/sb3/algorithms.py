"""The algorithms of stable-baselines3 and sb3-contrib by name, with their hyperparameters and our policies."""

from __future__ import annotations

import ast
import difflib
import importlib
import inspect
from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common import torch_layers
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.sb2_compat import rmsprop_tf_like
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import VecEnv

import wnrl.sb3
from agents.runtime.seeds import Purpose, integer
from agents.settings.presets.sb3 import game_hyperparams
from agents.settings.sb3 import SB3Settings
from wnrl.device import free_memory
from wnrl.initialization.initialize import FROM_DATA

CONTRIB = {  # of sb3-contrib, by module
    "crossq": "CrossQ",
    "ppo_mask": "MaskablePPO",
    "ppo_recurrent": "RecurrentPPO",
    "qrdqn": "QRDQN",
    "tqc": "TQC",
    "trpo": "TRPO",
}
_FLAGS = {"policy", "env", "seed", "device", "tensorboard_log", "verbose", "_init_setup_model"}  # no hyperparameters
_SCHEDULES = ("learning_rate", "clip_range", "clip_range_vf")
_CLASSES = {  # hyperparameters that are classes, and the modules that have them
    "replay_buffer_class": (wnrl.sb3,),
    "optimizer_class": (torch.optim, rmsprop_tf_like),
    "activation_fn": (torch.nn,),
    "features_extractor_class": (torch_layers,),
}
_STEP_BYTES = 7_200  # of a step in a FrameReplayBuffer of 84×84 pixels


def hyperparams(settings: SB3Settings, device: torch.device) -> dict[str, Any]:
    """The algorithm's hyperparameters as plain values: those that are given, and for a game those of its preset.

    The preset's replay buffer is made smaller where it would take more than half of the free memory.

    Args:
        settings: of the run.
        device: of the model.

    Raises:
        ValueError: one is not of the form NAME:VALUE.
    """
    given = dict(parse_hyperparam(text) for text in settings.hyperparams)
    values = {} if settings.task.game is None else game_hyperparams(settings.algo, settings.steps)
    if "buffer_size" in values:
        values["buffer_size"] = min(values["buffer_size"], free_memory(device) // 2 // _STEP_BYTES)
    merged = {**values, **given}
    if "policy_kwargs" in values:
        merged["policy_kwargs"] = {**values["policy_kwargs"], **given.get("policy_kwargs", {})}
    if merged.get("replay_buffer_class") and merged.get("n_steps", 1) > 1:  # a buffer of one's own is given them itself
        transitions = {"n_steps": merged.pop("n_steps"), "gamma": merged.get("gamma", 0.99)}
        merged["replay_buffer_kwargs"] = {**transitions, **merged.get("replay_buffer_kwargs", {})}
    return merged


def parse_hyperparam(text: str) -> tuple[str, Any]:
    """Name and value of `NAME:VALUE`, where the value is a Python literal or a schedule, `lin_2.5e-4`.

    Raises:
        ValueError: it is not of that form.
    """
    name, _, value = text.partition(":")
    if value.startswith("lin_"):  # a shell takes quotes away
        return name, value
    try:
        return name, ast.literal_eval(value)
    except (SyntaxError, ValueError) as error:
        quotes = f" (words need quotes inside quotes: \"{name}:'{value}'\")" if value.isidentifier() else ""
        raise ValueError(f"--hyperparams takes NAME:VALUE such as n_steps:256, got {text!r}{quotes}") from error


def make_model(
    settings: SB3Settings, environment: VecEnv, values: Mapping[str, Any], device: torch.device
) -> BaseAlgorithm:
    """The algorithm with a normalized policy, ready to learn.

    Args:
        settings: of the run.
        environment: to learn in.
        values: of `hyperparams`.
        device: of the model.

    Raises:
        ImportError: sb3-contrib is not installed.
        ValueError, TypeError, AssertionError: a hyperparameter or the environment does not fit, as the library reports.
    """
    policies = importlib.import_module(f"wnrl.sb3.{settings.algo}")
    algorithm = _algorithm(settings.algo)
    check_taken(settings.algo, values)
    arguments = _resolved(values)
    normalization = {
        "norm": settings.norm,
        "normalize_output": settings.normalize_output,
        "units": None if settings.units == "auto" else settings.units,
        "init": "preserve" if settings.init in FROM_DATA else settings.init,
    }
    policy_kwargs = _resolved(arguments.get("policy_kwargs", {}))
    _check_no_flags(policy_kwargs, normalization)
    return algorithm(
        getattr(policies, policy_name(policies, environment.observation_space)),
        environment,
        seed=integer(settings.seed, Purpose.MODEL, bits=31),
        device=device,
        verbose=1,
        **{**arguments, "policy_kwargs": {**policy_kwargs, **normalization}},
    )


def policy_name(policies: ModuleType, space: spaces.Space[Any]) -> str:
    """Name of the policy class for an observation space.

    Raises:
        ValueError: `policies` has none.
    """
    kind = "MultiInput" if isinstance(space, spaces.Dict) else "Cnn" if is_image_space(space) else "Mlp"
    name = f"{kind}LstmPolicy" if hasattr(policies, "MlpLstmPolicy") else f"{kind}Policy"
    if not hasattr(policies, name):
        raise ValueError(f"{policies.__name__} has no {name}: choose another algorithm for these observations")
    return name


def _algorithm(algo: str) -> type[BaseAlgorithm]:
    package = importlib.import_module("sb3_contrib" if algo in CONTRIB else "stable_baselines3")
    found: type[BaseAlgorithm] = getattr(package, CONTRIB.get(algo, algo.upper()))
    return found


def check_taken(algo: str, names: Iterable[str]) -> None:
    """Check the names of hyperparameters.

    Raises:
        ImportError: sb3-contrib is not installed.
        ValueError: the algorithm takes none of that name.
    """
    taken = inspect.signature(_algorithm(algo)).parameters.keys() - _FLAGS
    for name in names:
        if name not in taken:
            near = ", ".join(difflib.get_close_matches(name, taken))
            raise ValueError(f"{algo} takes no {name}{f' (nearest: {near})' if near else ''}")


def _check_no_flags(policy_kwargs: Mapping[str, Any], flags: Mapping[str, Any]) -> None:
    for name, value in policy_kwargs.items():
        if name in flags:
            raise ValueError(f"{name} is a flag: give --{name.replace('_', '-')} {value}")


def _resolved(values: Mapping[str, Any]) -> dict[str, Any]:
    """With schedules and classes instead of their names.

    Raises:
        ValueError: an unknown name.
    """
    resolved = dict(values)
    for name, value in values.items():
        if name in _SCHEDULES and isinstance(value, str):
            resolved[name] = _schedule(name, value)
        elif name in _CLASSES and isinstance(value, str):
            found = [vars(module)[value] for module in _CLASSES[name] if isinstance(vars(module).get(value), type)]
            if not found:
                places = " or ".join(module.__name__ for module in _CLASSES[name])
                raise ValueError(f"{name} {value!r} is no class of {places}")
            resolved[name] = found[0]
    return resolved


def _schedule(name: str, text: str) -> LinearSchedule:
    try:
        return LinearSchedule(float(text.removeprefix("lin_")), 0.0, 1.0)
    except ValueError as error:
        raise ValueError(f"{name} takes a number or a schedule such as 'lin_2.5e-4', got {text!r}") from error
