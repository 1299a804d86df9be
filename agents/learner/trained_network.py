"""The network of a finished run, as the initial one of another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from agents.learner.saved_network import read_network
from wnrl.normalizers.folding import unfold

NORMALIZER = ("norm", "norm_layers", "units", "normalize_output")
"""Parts of a network's description that may differ: a model is saved folded."""


def take_over(network: nn.Module, description: Mapping[str, Any], run_dir: Path, own_torso: Any = None) -> None:
    """Give a network, in place, the function of the last model of a run.

    Args:
        network: normalized or plain.
        description: of it.
        run_dir: folder of the run.
        own_torso: the module that both descriptions name, or what makes it.

    Raises:
        ValueError: there is no such model, or its network is another one (the message names the difference).
    """
    if not (run_dir / "model.json").is_file():
        raise ValueError(f"init_from: {run_dir} has no model.safetensors to begin with")

    def accept(about: dict[str, Any]) -> None:
        if others := list(differences(about["network"], description)):
            raise ValueError(f"init_from: the network of {run_dir} is another one: {'; '.join(others)}")

    folded, about = read_network(run_dir / "model", own_torso, trust=True, accept=accept)  # as large as the own one
    saved = about["network"]
    try:
        unfold(network, folded)
    except ValueError as error:
        norms = f"norm {saved['norm']} cannot become norm {description['norm']}"
        raise ValueError(f"init_from: the network of {run_dir} keeps layers of its normalizer: {norms}") from error


def differences(saved: Mapping[str, Any], own: Mapping[str, Any]) -> Iterator[str]:
    """In words, what two descriptions of networks say differently, but for the normalizer."""
    for name in (name for name in own if name in saved and name not in NORMALIZER):
        if isinstance(own[name], Mapping):
            yield from differences(saved[name], own[name])
        elif saved[name] != own[name]:
            yield f"{name} {_plain(saved[name])}, here {_plain(own[name])}"


def _plain(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
