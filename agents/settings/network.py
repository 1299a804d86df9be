"""What a network is made of and how it is normalized, whatever its agent."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import Annotated, Any, Literal

import tyro

from agents.settings.checks import check_at_least

# As in wnrl, which imports torch; tests hold them equal.
NORMS = (
    *("none", "weight", "mean-batch", "batch", "layer", "layer-channels", "projected", "layer+projected"),
    *("batch+projected", "spectral", "weight-clip"),
)
Units = Literal["auto", "paper", "sqrt", "log"]  # auto is not of wnrl
TorsoName = Literal["auto", "nature", "impala", "minatar", "mlp"]
NormLayers = Literal["auto", "residual"]
Activation = Literal["relu", "tanh"]
Norm = Annotated[str, tyro.conf.arg(help=f"Normalizer: {', '.join(NORMS[:-1])} or {NORMS[-1]}.")]


@dataclass(frozen=True)
class NetworkSettings:
    """The network and its normalizer."""

    norm: Norm = "weight"
    units: Units = "auto"
    """Weight norm: a row of n weights has length g (paper), √n g (sqrt) or exp(g) (log); auto: sqrt, for sgd paper."""
    normalize_output: bool | None = None
    """Normalize output layers too; None: as in its paper, but under weight and mean-batch not the policy layers of PPO,
    A2C and REINFORCE."""
    norm_layers: NormLayers = "auto"
    """Layers that --norm takes: those of its paper (auto), or the convolutions of residual blocks alone (residual)."""
    torso: TorsoName = "auto"
    """Feature extractor: nature, impala or minatar (images), mlp, or auto: nature for images, minatar for those with a
    side below 36, mlp for anything else."""
    impala_width: int = 1
    """Channel multiplier of --torso impala."""
    impala_blocks: int = 2
    """Residual blocks per stage of --torso impala."""
    impala_pool: int = 0
    """Adaptive max-pooling to this height and width after the last stage of --torso impala; 0: none."""
    activation: Activation = "relu"
    """Activation function of an mlp torso."""
    hidden: tuple[int, ...] = (512,)
    """Widths of the fully connected layers (exactly one for images)."""
    own_torso: tyro.conf.Suppress[tyro.conf.Fixed[Any]] = None
    """A module of one's own, or what makes it, instead of --torso: given in Python alone; its name in config.json."""

    def __post_init__(self) -> None:
        if not self.hidden or min(self.hidden) < 1:
            raise ValueError(f"hidden takes widths of at least 1, got {self.hidden}")
        check_at_least(self, 0, "impala_pool")
        check_norm(self.norm)


def check_norm(norm: str) -> None:
    """Raise ValueError where there is no normalizer of that name."""
    if norm not in NORMS:
        near = "".join(f" (nearest: {name})" for name in get_close_matches(norm, NORMS, n=1))
        raise ValueError(f"unknown norm {norm!r}{near}; known: {', '.join(NORMS)}")
