"""What a sweep's command line says of the sweep itself."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from agents.reports.cautions import FIRST_SEARCHED


@dataclass(frozen=True)
class SweepSettings:
    """The runs, and what each of them gets. Every flag of the agents is an axis too: --learning-rate 1e-3 3e-4."""

    file: Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="FILE.toml")] = None
    """File with these settings by name: agents = ["dqn", "ppo"].
    Settings of the runs are under [axes], and those of some runs alone under [[override]]."""
    agents: Annotated[tuple[str, ...], tyro.conf.arg(metavar="AGENT")] = ()
    """Agents, dqn or ppo for example; sb3-ppo and its like are stable-baselines3's algorithms with our policies."""
    envs: Annotated[tuple[str, ...], tyro.conf.arg(metavar="ID")] = ()
    """Ids of environments."""
    games: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME")] = ()
    """Atari games."""
    norms: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NORM")] = ("none", "weight")
    """Normalizers."""
    seeds: int = 5
    """Runs of each combination; their random streams are independent."""
    first_seed: int = 0
    """Seed of the first of them; the others follow."""
    steps: int | None = None
    """Length of each run in environment steps."""
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path("sweep")
    """Folder of the sweep. One that was stopped goes on where it was by the same command."""
    paper: bool = False
    """The deep reinforcement learning of Salimans & Kingma 2016: its four games, none and weight, preset paper."""
    atari_5: bool = False
    """The five games of Aitchison et al. 2023 under the protocol of Machado et al. 2018."""
    scale: float = 1.0
    """Factor of everything that is counted in steps, such as 0.01 to try a sweep in small."""
    overrides: Annotated[Path | None, tyro.conf.arg(metavar="FILE.toml")] = None
    """File with further [[override]] tables, such as the best.toml of a search."""
    tune: Annotated[tuple[str, ...], tyro.conf.arg(metavar="SETTING=VALUES")] = ()
    """Search for the best settings of each agent, task and normalizer, on seeds of its own.
    learning_rate=1e-4,1e-3 tries each value with --seeds runs; learning_rate=1e-4:1e-2 is a range, for --samples.
    The file best.toml in the folder --out has what was found, for --overrides."""
    samples: int | None = None
    """Runs of a search for each agent, task and normalizer.
    Optuna draws their settings, and ASHA stops those that fall behind."""
    cpus_per_trial: float | None = None
    """Cores of a run; None: 1, or beside GPUs a fair share."""
    gpus_per_trial: float | None = None
    """Share of a GPU of a run, 0.25 for four on one; None: 0.25 where there is a GPU."""
    retries: int = 3
    """How often a run that breaks off goes on from its checkpoint."""
    address: str | None = None
    """Address of a Ray cluster (auto, or HOST:PORT); None: this machine."""
    dry_run: bool = False
    """Print the runs, and how long they will take by a measured speed; train nothing."""

    def __post_init__(self) -> None:
        if self.paper and self.atari_5:
            raise ValueError("--paper and --atari-5 are two sweeps: choose one")
        if not 0 < self.scale <= 1:
            raise ValueError(f"scale must be above 0 and at most 1, got {self.scale}")
        for name in ("cpus_per_trial", "gpus_per_trial"):
            if (value := getattr(self, name)) is not None and not 0 <= value < math.inf:
                raise ValueError(f"{name} must be finite and not negative, got {value}")
        if self.first_seed < 0 or self.retries < 0:
            raise ValueError("first_seed and retries must not be negative")
        if self.samples is not None and (self.samples < 1 or not self.tune):
            raise ValueError(f"--samples is for a search by --tune and at least 1, got {self.samples}")
        if self.first_seed + self.seeds > FIRST_SEARCHED:
            raise ValueError(f"seeds from {FIRST_SEARCHED:,} are those of searches: choose another first_seed")


FLAGS = tuple(field.name for field in dataclasses.fields(SweepSettings))
"""Names of the flags that are no axes."""
