"""The network of a saved model, whose description is compared with its tensors before memory is taken."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import nn

from agents.learner.network import make_network
from wnrl.checkpoints.checkpoints import Checkpoints
from wnrl.checkpoints.tensor_files import CheckpointError, Shapes, read_model
from wnrl.networks.own_torso import OwnModule
from wnrl.normalizers.folding import fold

MOST_NUMBERS = 2**26
"""In a model that is not trusted; those of the presets have 15 million at most."""
_LARGEST = 2**31
_SLACK = 100_000
_MOST_LAYERS = 64
_IN_CHECKPOINT = "/trainer/agent/learner/network/"


def read_network(
    path: Path,
    own_torso: OwnModule | None = None,
    *,
    trust: bool = False,
    accept: Callable[[dict[str, Any]], None] | None = None,
) -> tuple[nn.Module, dict[str, Any]]:
    """The folded network of a model, with its weights, and the model's description.

    Args:
        path: of the model's files, without suffix.
        own_torso: the module of a network that was made in Python, or what makes it.
        trust: whether a model of any size is read.
        accept: called with the description before anything else is read; it raises where that is not wanted.

    Raises:
        ValueError: there is no such model, it is damaged, it is too large, or its network is another one than it says.
    """

    def check(shapes: Shapes, about: dict[str, Any]) -> None:
        numbers = sum(map(prod, shapes.values()))
        if numbers > MOST_NUMBERS and not trust:
            raise CheckpointError(f"{path} has {numbers:,} numbers: add --trust (trust=True) if you know why")
        if not isinstance(about.get("network"), dict):
            raise CheckpointError(f"{path} describes no network: it is none of this library's agents")
        if accept is not None:
            accept(about)
        _check_numbers(path, about["network"], max(len(shapes), 8))
        if own_torso is None:
            _check_size(path, about["network"], numbers)

    tensors, about = read_model(path, check=check)
    network = fold(_made(path, about["network"], own_torso))
    try:
        network.load_state_dict(tensors)
    except (RuntimeError, AttributeError, TypeError) as error:
        given = "the network that was given" if own_torso is not None else "the network that it describes"
        raise CheckpointError(f"{given} is not the one of {path}: {_one_line(error)}") from error
    return network, about


def check_resumed(run_dir: Path, description: Mapping[str, Any], own_torso: OwnModule | None = None) -> None:
    """Raise CheckpointError where a network is larger than that in the checkpoints of its run, before it is made.

    Args:
        run_dir: folder of the run.
        description: of the network, by the run's settings.
        own_torso: as above; with it nothing is compared.
    """
    if own_torso is None:
        folder = run_dir / "checkpoints"
        shapes = {
            name: shape for name, shape in Checkpoints(folder).shapes().items() if name.startswith(_IN_CHECKPOINT)
        }
        _check_numbers(run_dir, description, max(len(shapes), 8))
        _check_size(run_dir, description, sum(map(prod, shapes.values())))


def check_untrusted(config: Path, description: Mapping[str, Any], own_torso: OwnModule | None = None) -> None:
    """Raise ValueError where the settings that a file has make a large network.

    Args:
        config: the file.
        description: of the network.
        own_torso: as above; with it nothing is counted.
    """
    if own_torso is None:
        _check_numbers(config, description, _MOST_LAYERS)
        if (made := _count(config, description)) > MOST_NUMBERS:
            raise ValueError(f"{config} makes a network of {made:,} numbers: add --trust if you know why")


def _check_size(path: Path, description: Mapping[str, Any], numbers: int) -> None:
    """Raise CheckpointError where the network has more parameters than its file has numbers."""
    made = _count(path, description)
    if made > 2 * numbers + _SLACK:  # v and g take some more than the plain weight
        raise CheckpointError(f"{path} describes a network of {made:,} numbers and has {numbers:,}: it is damaged")


def _count(path: Path, description: Mapping[str, Any]) -> int:
    """Numbers of the parameters and buffers of a network that is described."""
    with torch.device("meta"):  # takes no memory
        network = _made(path, description, None)
    return sum(tensor.numel() for tensor in network.state_dict().values())


def _check_numbers(path: Path, value: Any, longest: int) -> None:
    """Raise CheckpointError where a description has larger numbers than a network, or more layers than tensors."""
    if isinstance(value, Mapping):
        if isinstance(blocks := value.get("blocks"), int) and blocks > longest:
            raise CheckpointError(f"{path} describes {blocks:,} blocks and has {longest:,} tensors: it is damaged")
        for part in value.values():
            _check_numbers(path, part, longest)
    elif isinstance(value, list):
        if len(value) > longest:
            raise CheckpointError(f"{path} describes {len(value):,} layers and has {longest:,} tensors: it is damaged")
        for part in value:
            _check_numbers(path, part, longest)
    elif isinstance(value, int | float) and not -_LARGEST < value < _LARGEST:
        raise CheckpointError(f"{path} describes a network with {value}: it is damaged")


def _made(path: Path, description: Mapping[str, Any], own_torso: OwnModule | None) -> Any:
    try:
        return make_network(description, own_torso=own_torso)
    except ValueError:
        raise
    except Exception as error:  # whatever such a description can hold
        raise CheckpointError(f"{path} describes no network of this version: {_one_line(error)}") from error


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__} {error}".split())[:300]
