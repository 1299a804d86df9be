"""Models saved by runs, and environments to play in with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from agents.learner.network import make_network
from agents.training.task import check_not_of_python
from envs import Environment, make
from wnrl.checkpoints.tensor_files import read_model
from wnrl.normalizers.folding import fold
from wnrl.tracking.csv_table import read_rows


class SavedModel(NamedTuple):
    """A folded network and its description."""

    network: nn.Module
    description: dict[str, Any]
    name: str  # of its file
    evaluations: int = 0  # from which the best one was chosen

    def make_environment(self, num_envs: int, **options: Any) -> Environment:
        """Environments of the task that the model was trained on, for whole games; `options` go to `envs.make`."""
        about = self.description
        check_not_of_python(about["env"])
        return make(game=about["game"], env=about["env"], num_envs=num_envs, **about["emulator"], **options)


def read_saved_model(run_dir: Path, model: str, device: torch.device, own_torso: Any = None) -> SavedModel:
    """Read a run's model.

    Args:
        run_dir: folder of the run.
        model: `last`, or `best`: that of the best evaluation.
        device: of the network.
        own_torso: the module of a network that was made in Python, or what makes it.

    Raises:
        ValueError: the run has no such model yet, its file is damaged, or its network was made in Python.
    """
    name = find_model(run_dir, model)
    tensors, description = read_model(run_dir / name)
    network = fold(make_network(description["network"], own_torso=own_torso))
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        if own_torso is None:
            raise
        raise ValueError(
            f"the network that was given is not the one of {run_dir}: {' '.join(str(error).split())}"
        ) from error
    return SavedModel(network.to(device).eval(), description, name, count_evaluations(run_dir))


NAMES = {"last": "model", "best": "best"}
"""Names of the files of a run's models."""


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


def count_evaluations(run_dir: Path) -> int:
    """How many evaluations with a score a run's `progress.csv` has; 0 without that file."""
    table = run_dir / "progress.csv"
    if not table.is_file():
        return 0
    return sum(bool(row.get("eval/mean_reward")) for row in read_rows(table).rows)
