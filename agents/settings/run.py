"""A training run, whatever its agent: the task, the network, the length, and what is written on the way."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

import tyro

from agents.settings.checks import check_at_least, check_finite, check_seed, check_shares
from agents.settings.flat import to_flat
from agents.settings.network import NetworkSettings

Precision = Literal["auto", "float32", "bfloat16"]
Protocol = Literal["none", "machado", "nature"]
AgentSettings = TypeVar("AgentSettings")


@dataclass(frozen=True)
class TaskSettings:
    """The task. Options marked Atari are for --game alone."""

    game: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """Atari game as Gymnasium names it (Breakout), its ROM id (breakout), or an id (ALE/Breakout-v5)."""
    env: Annotated[str | None, tyro.conf.arg(metavar="ID")] = None
    """Any other Gymnasium id (CartPole-v1), instead of --game."""
    protocol: Protocol = "none"
    """Atari: defaults of the settings below and of --eval-epsilon: those of Machado et al. 2018, of Mnih et al. 2015
    (nature), or of the preset (none)."""
    life_loss: bool = True
    """Atari: a lost life ends the return in training (reported scores are always of whole games)."""
    noop_max: int = 30
    """Atari: a game begins with up to this many no-op frames."""
    fire_reset: bool = True
    """Atari: press FIRE when a game begins, if the game has that action."""
    sticky_actions: float = 0.0
    """Atari: probability that a frame repeats the previous action."""
    full_action_set: bool = False
    """Atari: use all actions (18; 9 in Skiing and LostLuggage) instead of the game's minimal set."""
    max_frames: int = 108_000
    """Atari: a game is truncated after this many frames (30 minutes)."""

    def __post_init__(self) -> None:
        if self.game is not None and self.env is not None:
            raise ValueError(NAME_THE_TASK)
        if self.protocol != "none" and self.env is not None:
            raise ValueError(f"protocol {self.protocol} is one of Atari games: use it with --game")
        check_at_least(self, 0, "noop_max")
        check_shares(self, "sticky_actions")

    @property
    def name(self) -> str:
        """The game or environment, as it was given.

        Raises:
            ValueError: neither was.
        """
        if self.game is None and self.env is None:
            raise ValueError(NAME_THE_TASK)
        return self.game or self.env or ""

    @property
    def emulator_options(self) -> dict[str, Any]:
        """Options of `envs.Atari` in training and evaluation alike (see `agents.training.task`); else none."""
        if self.game is None:
            return {}
        others = ("game", "env", "protocol", "life_loss")
        return {name: value for name, value in vars(self).items() if name not in others}


NAME_THE_TASK = "name the task: --game Breakout for Atari or --env CartPole-v1, one of the two"


@dataclass(frozen=True)
class RunSettings:
    """Length, seed and device of the run, and what it writes."""

    preset: str = "fast"
    """Set of defaults: fast; train_dqn.py also has rainbow, and for games those of other papers: nature, paper (weight
    normalization), double, dueling, prioritized, c51, qr-dqn, iqn, munchausen, m-iqn, btr."""
    steps: int = 10_000_000
    """Length of the run in environment steps, summed over environments (one step is 4 frames on Atari)."""
    schedule_steps: int | None = None
    """Step at which schedules end; None: at the --steps of the run's first command, however long it goes on."""
    num_envs: int = 8
    """Parallel environments, stepped together."""
    seed: int = 0
    """Random seed of everything: networks, environments, exploration, sampling. Any two give unrelated runs."""
    device: str = "auto"
    """cpu, cuda, cuda:1, or auto (CUDA where available)."""
    precision: Precision = "auto"
    """Precision of the torso's products; auto: bfloat16 for images where the hardware has it. The rest is float32."""
    compile: bool = False
    """Compile the learner's network (torch.compile); takes seconds at the start, and gains little on 2 cores."""
    run_dir: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Folder of this run; by default runs/GAME-AGENT-NORM-sSEED-TIME."""
    resume: Annotated[Path | None, tyro.conf.arg(metavar="RUN_DIR")] = None
    """Folder of a run to continue; its settings become the defaults."""
    log_interval: int = 10_000
    """Steps between two rows of metrics."""
    eval_interval: int = 250_000
    """Steps between two evaluations; 0 never evaluates."""
    eval_episodes: int = 10
    """Whole games per evaluation."""
    eval_steps: int = 0
    """Length of an evaluation in steps, instead of --eval-episodes; 0 counts games."""
    checkpoint_interval: int = 500_000
    """Steps between two checkpoints; 0 writes one at the end only."""
    task: TaskSettings = TaskSettings()
    network: NetworkSettings = NetworkSettings()

    def __post_init__(self) -> None:
        check_at_least(self, 1, "steps", "num_envs", "eval_episodes", "log_interval")
        if self.schedule_steps is not None:
            check_at_least(self, 1, "schedule_steps")
        check_seed(self)
        check_at_least(self, 0, "eval_interval", "eval_steps", "checkpoint_interval")

    @property
    def schedule_end(self) -> int:
        """The step at which schedules end."""
        return self.steps if self.schedule_steps is None else self.schedule_steps


@dataclass(frozen=True)
class TrainSettings(Generic[AgentSettings]):
    """Everything that a training run is configured by."""

    run: RunSettings
    agent: AgentSettings

    def __post_init__(self) -> None:
        check_finite(to_flat(self))
