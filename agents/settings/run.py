"""A training run, whatever its agent: the task, the network, the length, and what is written on the way."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Generic, Literal, TypeVar

import tyro

from agents.settings.checks import check_at_least, check_finite, check_seed
from agents.settings.flat import to_flat
from agents.settings.network import NetworkSettings
from agents.settings.task import TaskSettings

Precision = Literal["auto", "float32", "bfloat16"]
AgentSettings = TypeVar("AgentSettings")
AUTO = Path("auto")
"""As `resume`: continue where there is a checkpoint, and begin where there is none."""


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
    env_groups: int | None = None
    """Groups of environments, of which some step while others are acted on (not those of --env without --vectorization
    async); the actions are the same. None: games in 2 from 8 cores and 32 environments, in 4 from twice as many."""
    seed: int = 0
    """Random seed of everything: networks, environments, exploration, sampling. Any two give unrelated runs."""
    device: str = "auto"
    """cpu, cuda, cuda:1, or auto (CUDA where available)."""
    precision: Precision = "auto"
    """Precision of the torso's products; auto: bfloat16 for images where the hardware has it. The rest is float32."""
    compile: bool | None = None
    """Compile the updates as a whole (torch.compile), up to minutes at the start; None does so on CUDA."""
    run_dir: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Folder of this run; by default runs/GAME-AGENT-NORM-sSEED-TIME."""
    resume: Annotated[Path | None, tyro.conf.arg(metavar="RUN_DIR|auto")] = None
    """Folder of a run to continue, whose settings become the defaults; auto: --run-dir, where it has a checkpoint."""
    config: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """config.json of a run whose settings become the defaults of this, another run."""
    init_from: Annotated[Path | None, tyro.conf.arg(metavar="RUN_DIR")] = None
    """Folder of a run whose trained network this one begins with; only the normalizer may differ."""
    trust: bool = False
    """Import the module that a file of --resume or --config names in its environment's id (my_module:Maze-v0), and read
    models of any size; an id on the command line is trusted."""
    log_interval: int = 10_000
    """Steps between two rows of metrics."""
    eval_interval: int = 250_000
    """Steps between two evaluations; 0 never evaluates."""
    eval_episodes: int = 10
    """Whole games per evaluation."""
    eval_steps: int = 0
    """Length of an evaluation in steps, instead of --eval-episodes; 0 counts games."""
    eval_wait: bool | None = None
    """Training waits while an evaluation is played; None: only where there is no GPU and less than 4 cores, and for
    environments other than Atari's."""
    checkpoint_interval: int = 500_000
    """Steps between two checkpoints; one is due every 10 minutes in any case. 0 writes one at the end only."""
    wandb: bool = False
    """Send the metrics to Weights & Biases too (python -m pip install wandb)."""
    task: TaskSettings = TaskSettings()
    network: NetworkSettings = NetworkSettings()

    def __post_init__(self) -> None:
        check_at_least(self, 1, "steps", "num_envs", "eval_episodes", "log_interval")
        if self.schedule_steps is not None:
            check_at_least(self, 1, "schedule_steps")
        check_seed(self)
        check_at_least(self, 0, "eval_interval", "eval_steps", "checkpoint_interval")
        self._check_groups()

    def _check_groups(self) -> None:
        if self.env_groups is None:
            return
        check_at_least(self, 1, "env_groups")
        if self.env_groups > self.num_envs:
            raise ValueError(
                f"env_groups must be at most num_envs, {self.num_envs} in a process, got {self.env_groups}"
            )
        if self.env_groups > 1 and self.task.env is not None and self.task.vectorization != "async":
            raise ValueError(
                f"env_groups {self.env_groups} has no effect on environments that step one after the other: add "
                "--vectorization async, or --env-groups None"
            )

    @property
    def resumes(self) -> bool:
        """Whether the run continues from a checkpoint, which `--resume auto` does not where there is none."""
        return self.resume not in (None, AUTO)

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
