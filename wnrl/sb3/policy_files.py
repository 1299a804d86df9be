"""Trained policies of stable-baselines3 as safetensors and JSON: they act without critics, and loading runs no code."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from contextlib import nullcontext
from math import prod
from pathlib import Path
from typing import Any, cast

import torch
from gymnasium import spaces
from stable_baselines3.common import torch_layers
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy
from torch import Tensor, nn

from wnrl.checkpoints.tensor_files import CheckpointError, Shapes, read_model, write_model
from wnrl.normalizers.folding import fold
from wnrl.sb3.bounded import Bounded, TooLargeError
from wnrl.sb3.learner import copy_policy, without_compilation
from wnrl.sb3.policies import NormalizedPolicy
from wnrl.sb3.space_description import describe_space

__all__ = ["acting_part", "load_policy", "save_policy", "write_policy"]

SUFFIXES = (".safetensors", ".json", ".onnx")
_NOT_ACTING = ("critic", "lstm_critic", "value_net", "vf_features_extractor")
_OF_TRAINING = ("optimizer_class", "optimizer_kwargs", "init")  # arguments that do not change how a policy acts
_CLASSES = {"activation_fn": torch.nn, "features_extractor_class": torch_layers}  # arguments stored as names in these
_NAMES = {"layers", "outputs"}  # arguments that name layers
MOST_NUMBERS = 2**26  # of a file that is not trusted
_SLACK = 2**24  # numbers of critics beyond sixteen times those that act
_OURS = re.compile(r"(wnrl\.sb3\.\w+)\.(\w+)")


def save_policy(model: BaseAlgorithm, path: str | Path, about: Mapping[str, Any] | None = None) -> None:
    """Write the acting policy, folded, to ``PATH.safetensors``, and its description to ``PATH.json``, by `write_model`.

    The tensors have the policy's names, without critics and targets. The description has the class of the policy and
    the plain values among its arguments, from which `load_policy` builds it again; of a predicate in `layers` the names
    that it chose.

    Args:
        model: of any algorithm of stable-baselines3 or sb3-contrib with a policy network, plain or of `wnrl.sb3`.
        path: of the files; their suffixes may be left out. Folders are created, files overwritten.
        about: further entries of the description, of JSON's types.

    Raises:
        CheckpointError: a file cannot be written, or `about` is not JSON.
    """
    write_policy(acting_part(model.policy), model, path, {} if about is None else about)


def write_policy(part: BasePolicy, model: BaseAlgorithm, path: str | Path, about: Mapping[str, Any]) -> None:
    """As `save_policy`, with the `acting_part` of the model's policy at hand."""
    write_model(without_suffix(path), _tensors(part), {**_description(model), **about})


def without_suffix(path: str | Path) -> Path:
    """The common part of the paths of a policy's files, from itself or one of them."""
    path = Path(path)
    return path.with_suffix("") if path.suffix in SUFFIXES else path


def load_policy(
    path: str | Path,
    observation_space: spaces.Space,
    action_space: spaces.Space,
    device: torch.device | str = "cpu",
    policy_kwargs: Mapping[str, Any] | None = None,
    *,
    trust: bool = False,
) -> BasePolicy:
    """The policy that `save_policy` wrote: its `predict` gives the deterministic actions that the model's gave.

    Args:
        path: of the files; their suffixes may be left out.
        observation_space: as the model had it: images channel-first.
        action_space: as the model had it.
        device: of the policy.
        policy_kwargs: arguments of the policy besides the stored ones: those that are no plain values, such as a
            features extractor of your own.
        trust: whether it may be of any size, and its critics, which are built and dropped, much larger than what acts.

    Returns:
        A policy in evaluation mode, of the model's class with plain layers. It has no critics and cannot be trained.

    Raises:
        CheckpointError: the file is missing or damaged.
        ValueError: the policy is not one of `wnrl.sb3`, has other spaces, is too large, or an argument is missing or
            fits none.
    """
    numbers = 0

    def check(shapes: Shapes, _: dict[str, Any]) -> None:
        nonlocal numbers
        numbers = sum(map(prod, shapes.values()))
        if numbers > MOST_NUMBERS and not trust:
            raise CheckpointError(f"{path} has {numbers:,} numbers: add --trust (trust=True) if you know why")

    tensors, about = read_model(without_suffix(path), check=check)
    kind = _policy_class(str(about.get("policy")), path)
    try:
        _check_space("observation_space", observation_space, about, path)
        _check_space("action_space", action_space, about, path)
        arguments = {**_read_arguments(about["policy_kwargs"]), **(policy_kwargs or {})}
        if missing := sorted(set(about["not_stored"]) - arguments.keys()):
            raise ValueError(f"the policy {path} has arguments that are no plain values: give {', '.join(missing)}")
        bound = nullcontext() if trust else Bounded(16 * numbers + _SLACK)
        with torch.random.fork_rng(devices=[]), bound:  # the initial weights are replaced
            part = acting_part(kind(observation_space, action_space, _no_learning, **arguments))
    except TooLargeError as error:
        raise CheckpointError(
            f"{path} has {numbers:,} numbers and describes a policy of {error}: it is damaged, or has large critics: "
            "add --trust (trust=True) if it is your own"
        ) from error
    except ValueError:
        raise
    except Exception as error:  # whatever such a description can hold
        text = " ".join(f"{type(error).__name__} {error}".split())[:300]
        raise CheckpointError(f"{path} describes no policy of this version: {text}") from error
    _put(tensors, _tensors(part), path)
    return part.to(device)


def _check_space(name: str, space: spaces.Space, about: Mapping[str, Any], path: str | Path) -> None:
    """Refuse another space than the described one; older descriptions have its text alone."""
    text, values = about[name], about.get(f"{name}_values")
    if text != str(space) if values is None else values != describe_space(space):
        got = f"one with other bounds: {space}" if text == str(space) else space
        raise ValueError(f"the policy {path} has the {name} {text}, got {got}")


def acting_part(policy: BasePolicy) -> BasePolicy:
    """A folded copy on the CPU, in evaluation mode, without the parts that do not act."""
    part = cast(Any, copy_policy(policy))
    for name, _ in list(part.named_children()):
        if name in _NOT_ACTING or name.endswith("_target"):
            setattr(part, name, None)
    if isinstance(getattr(part, "mlp_extractor", None), torch_layers.MlpExtractor):
        part.mlp_extractor.value_net = nn.Identity()
    return cast(Any, fold(part)).cpu().eval()


def _tensors(part: BasePolicy) -> dict[str, Tensor]:
    return {**dict(part.named_parameters()), **dict(part.named_buffers())}


def _put(tensors: Mapping[str, Tensor], into: Mapping[str, Tensor], path: str | Path) -> None:
    """Copy tensors into those of the same names and shapes."""
    shapes, expected = ({name: tuple(x.shape) for name, x in those.items()} for those in (tensors, into))
    if shapes != expected:
        names = sorted(name for name in shapes.keys() | expected.keys() if shapes.get(name) != expected.get(name))
        raise ValueError(f"the tensors of {path} do not fit its description: {', '.join(names)}")
    with torch.no_grad():
        for name, tensor in tensors.items():
            into[name].copy_(tensor)


def _description(model: BaseAlgorithm) -> dict[str, Any]:
    kind = type(without_compilation(model.policy))
    arguments, missing = _plain_arguments(model)
    return {
        "algorithm": type(model).__name__,
        "policy": f"{kind.__module__}.{kind.__qualname__}",
        "policy_kwargs": arguments,
        "not_stored": missing,
        "observation_space": str(model.observation_space),
        "observation_space_values": describe_space(model.observation_space),
        "action_space": str(model.action_space),
        "action_space_values": describe_space(model.action_space),
        "num_timesteps": model.num_timesteps,
    }


def _plain_arguments(model: BaseAlgorithm) -> tuple[dict[str, Any], list[str]]:
    """The arguments of the policy that JSON holds, and the names of the others."""
    normalization = getattr(model.policy, "_normalization", {})
    arguments = {**normalization, **model.policy_kwargs}
    for name in _NAMES & normalization.keys():
        arguments[name] = _names(normalization[name])
    if getattr(model, "use_sde", False):
        arguments["use_sde"] = True
    plain: dict[str, Any] = {}
    missing = []
    for name, value in arguments.items():
        if name in _OF_TRAINING:
            continue
        if name in _CLASSES and getattr(_CLASSES[name], getattr(value, "__name__", ""), None) is value is not None:
            plain[name] = value.__name__
        elif _is_plain(value):
            plain[name] = value
        else:
            missing.append(name)
    return plain, missing


def _names(layers: Any) -> Any:
    """Names of layers as JSON holds them; None for a predicate, which the policy keeps only if it converts nothing."""
    if callable(layers):
        return None
    return layers if layers is None or isinstance(layers, str) else sorted(layers)


def _read_arguments(stored: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that `_plain_arguments` made plain."""
    arguments = dict(stored)
    for name, module in _CLASSES.items():
        if isinstance(arguments.get(name), str):
            found = getattr(module, arguments[name], None)
            if not (isinstance(found, type) and issubclass(found, nn.Module)):
                raise ValueError(f"{name} {arguments[name]!r} is no module of {module.__name__}")
            arguments[name] = found
    return arguments


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(type(key) is str and _is_plain(item) for key, item in value.items())
    if type(value) in (list, tuple):
        return all(map(_is_plain, value))
    return value is None or type(value) in (bool, int, float, str)


def _policy_class(name: str, path: str | Path) -> type[NormalizedPolicy]:
    """The class of that name in a module of `wnrl.sb3`."""
    if parts := _OURS.fullmatch(name):
        try:
            found = getattr(importlib.import_module(parts[1]), parts[2], None)
        except ModuleNotFoundError:
            found = None
        if isinstance(found, type) and issubclass(found, NormalizedPolicy):
            return found
    raise ValueError(f"{path} has no policy of wnrl.sb3 but {name}: build it and load the tensors of read_model")


def _no_learning(progress: float) -> float:
    return 0.0
