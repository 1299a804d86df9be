"""A run of an algorithm of stable-baselines3: every flag of scripts/train_sb3.py."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from agents.settings.checks import check_at_least, check_seed, check_shares, check_used
from agents.settings.learner import Init
from agents.settings.network import Norm, Units, check_norm
from agents.settings.task import TaskSettings

Algorithm = Literal[
    "a2c", "crossq", "ddpg", "dqn", "ppo", "ppo_mask", "ppo_recurrent", "qrdqn", "sac", "td3", "tqc", "trpo"
]


@dataclass(frozen=True)
class SB3Settings:
    """The algorithm and its hyperparameters, the normalizer, and the run."""

    algo: Algorithm = "ppo"
    """Algorithm of stable-baselines3, or of sb3-contrib (crossq, ppo_mask, ppo_recurrent, qrdqn, tqc, trpo)."""
    norm: Norm = "weight"
    init: Init = "preserve"
    """Initialization: the policy's own (preserve), by shapes (analytic), He-uniform (he), or from first observations.
    The latter are the paper's (data), Mishkin & Matas's 2016 (lsuv) and Krähenbühl et al.'s 2016 (within-layer)."""
    normalize_output: Annotated[bool | None, tyro.conf.arg(metavar="", aliases=["--no-normalize-output"])] = None
    """Normalize output layers too; None: as in its paper, but not policy layers under weight and mean-batch."""
    units: Units = "auto"
    """Weight norm: a row of n weights has length g (paper), √n g (sqrt) or exp(g) (log); auto: sqrt, for SGD paper."""
    hyperparams: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME:VALUE")] = ()
    """Arguments of the algorithm, each a Python literal such as n_steps:256, or learning_rate:lin_2.5e-4 (linear to 0).
    By default the library's own, for a --game those of RL Zoo."""
    steps: int = 100_000
    """Length of the run in environment steps, summed over environments (one step is 4 frames on Atari)."""
    num_envs: int = 1
    """Parallel environments, stepped together."""
    seed: int = 0
    """Random seed of everything."""
    device: str = "auto"
    """cpu, cuda, cuda:1, or auto (CUDA where available)."""
    run_dir: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Folder of this run; by default runs/GAME-ALGO-NORM-sSEED-TIME."""
    log_interval: int = 10_000
    """Steps between two rows of metrics."""
    eval_interval: int = 10_000
    """Steps between two evaluations while it trains; 0: none."""
    eval_episodes: int = 20
    """Whole games per evaluation, played with the most probable actions, and of the one at the end; 0: none at all."""
    eval_epsilon: float = 0.0
    """Probability of a random action in evaluation, where actions are discrete."""
    task: TaskSettings = TaskSettings()

    def __post_init__(self) -> None:
        check_norm(self.norm)
        check_used(self.task, self.task.env is None, "--game", "frame_skip", "stack")
        check_used(self.task, False, "an agent of train_dqn.py and its like", "resize", "grey", "vectorization")
        check_at_least(self, 1, "steps", "num_envs", "log_interval")
        check_shares(self, "eval_epsilon")
        check_seed(self)
        check_at_least(self, 0, "eval_interval", "eval_episodes")
