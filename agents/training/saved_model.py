"""Models saved by runs, and environments to play in with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from agents.learner.network import make_network
from envs import Environment, make
from wnrl.checkpoints.tensor_files import read_model
from wnrl.normalizers.folding import fold


class SavedModel(NamedTuple):
    """A folded network and its description."""

    network: nn.Module
    description: dict[str, Any]
    name: str  # of its file

    def make_environment(self, num_envs: int, **options: Any) -> Environment:
        """Environments of the task that the model was trained on, for whole games; `options` go to `envs.make`."""
        about = self.description
        return make(game=about["game"], env=about["env"], num_envs=num_envs, **about["emulator"], **options)


def read_saved_model(run_dir: Path, model: str, device: torch.device) -> SavedModel:
    """Read a run's model.

    Args:
        run_dir: folder of the run.
        model: `best`, `last`, or `auto`: the best where there is one, else the last.
        device: of the network.

    Raises:
        ValueError: the run has no such model yet, or its file is damaged.
    """
    name = find_model(run_dir, model)
    tensors, description = read_model(run_dir / name)
    network = fold(make_network(description["network"]))
    network.load_state_dict(tensors)
    return SavedModel(network.to(device).eval(), description, name)


def find_model(run_dir: Path, model: str) -> str:
    """Name of the files of a run's model: `best` or `model`.

    Args:
        run_dir: folder of the run.
        model: `best`, `last`, or `auto`: the best where there is one, else the last.

    Raises:
        ValueError: the run has no such model yet.
    """
    names = {"best": ["best"], "last": ["model"], "auto": ["best", "model"]}[model]
    found = [name for name in names if (run_dir / f"{name}.json").is_file()]
    if not found:
        raise ValueError(f"{run_dir} has no {' or '.join(names)}.safetensors yet: train it longer")
    return found[0]
