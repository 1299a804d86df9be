"""What every training run is told, whatever its agent."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from agents.devices import Precision
from wnrl.weight_norm import Units

PresetName = Literal["fast", "nature", "paper"]


@dataclass(frozen=True)
class RunSettings:
    """The task, the network, the length of a run, and what is written while it goes on."""

    game: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """Atari game as Gymnasium names it (Breakout) or its ROM id (breakout)."""
    env: Annotated[str | None, tyro.conf.arg(metavar="ID")] = None
    """Any other Gymnasium id with a discrete action space (CartPole-v1), instead of --game."""
    norm: str = "weight"
    """Normalizer of the network: none, weight, mean-batch, batch, layer, projected or spectral."""
    units: Units = "sqrt"
    """Units of g: sqrt stores it per square root of a row's inputs, paper as the paper writes it, log its logarithm."""
    normalize_output: bool | None = None
    """Normalize the output layer too; None does as the normalizer's source does."""
    hidden: tuple[int, ...] = (512,)
    """Widths of the fully connected layers (exactly one for images)."""
    preset: str = "fast"
    """Where the defaults come from: fast (the best we know), nature (Mnih et al. 2015) or paper (weight norm's own)."""
    steps: int = 10_000_000
    """Length of the run in steps, one step being one decision in one environment (4 frames on Atari)."""
    num_envs: int = 8
    """Environments played in lockstep."""
    seed: int = 0
    """Of everything that is drawn at random."""
    device: str = "auto"
    """cpu, cuda, cuda:1, or auto (CUDA where there is one)."""
    precision: Precision = "auto"
    """Type of the torso's products; auto is bfloat16 for images where the hardware has it. All else is float32."""
    run_dir: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Folder of this run; the default is runs/GAME-AGENT-NORM-sSEED-TIME."""
    resume: Annotated[Path | None, tyro.conf.arg(metavar="RUN_DIR")] = None
    """Folder of a run to go on with; its own settings are the defaults then."""
    log_interval: int = 10_000
    """Steps between two rows of figures."""
    eval_interval: int = 250_000
    """Steps between two evaluations; 0 never evaluates."""
    eval_episodes: int = 10
    """Whole games per evaluation."""
    eval_steps: int = 0
    """Evaluate for so many steps instead of a number of games; 0 counts games."""
    eval_epsilon: float = 0.05
    """Share of random actions in evaluation."""
    checkpoint_interval: int = 500_000
    """Steps between two checkpoints; 0 writes one at the end only."""
    life_loss: bool = True
    """Atari: a lost life ends the return in training (scores are of whole games always)."""
    noop_max: int = 30
    """Atari: up to so many no-op frames begin a game."""
    fire_reset: bool = True
    """Atari: press fire when a game begins, where the game has that button."""
    sticky_actions: float = 0.0
    """Atari: probability that a frame repeats the action before."""
    full_action_set: bool = False
    """Atari: all 18 actions instead of those that the game uses."""
    max_frames: int = 108_000
    """Atari: a game is cut after so many frames (30 minutes)."""

    def __post_init__(self) -> None:
        if (self.game is None) == (self.env is None):
            raise ValueError("name the task: --game Breakout for Atari or --env CartPole-v1, one of the two")
        for name in ("steps", "num_envs", "eval_episodes", "log_interval"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("seed", "eval_interval", "eval_steps", "checkpoint_interval", "noop_max"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        for name in ("eval_epsilon", "sticky_actions"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie between 0 and 1, got {getattr(self, name)}")
        if not self.hidden or min(self.hidden) < 1:
            raise ValueError(f"hidden takes widths of at least 1, got {self.hidden}")

    @property
    def task(self) -> str:
        """The game's or environment's name as it was given."""
        return self.game or self.env or ""


def emulator_options(settings: RunSettings) -> dict[str, Any]:
    """The settings that only an Atari game has, as `envs.make` takes them; empty for other environments."""
    if settings.game is None:
        return {}
    names = ("noop_max", "fire_reset", "sticky_actions", "full_action_set", "max_frames")
    return {name: getattr(settings, name) for name in names}
