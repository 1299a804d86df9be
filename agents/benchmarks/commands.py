"""The measurements of `scripts/benchmark.py` that are no race: a dataclass of arguments each."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import torch
import tyro

from agents.benchmarks.checkpoint_stops import checkpoint_stops, stop_table
from agents.benchmarks.emulation_rates import emulation_rates
from agents.benchmarks.growth import environment_growth, fill_growth, growth_table, rollout_growth
from agents.benchmarks.measurement import Figures, Measurement, Timing, rate_table
from agents.benchmarks.norm_costs import norm_costs, norm_table
from agents.benchmarks.races import RaceTask
from agents.benchmarks.replay_costs import replay_costs, replay_table
from agents.benchmarks.sb3_atari import learning_rates, playing_rates, score_table
from agents.benchmarks.startup import start_table, start_times
from agents.benchmarks.update_calls import calls_table, update_calls
from agents.benchmarks.update_times import update_table, update_times
from agents.runtime.devices import resolve_dtype
from wnrl import NORMALIZERS


@dataclass(frozen=True)
class Norms(Timing):
    """Cost of each normalizer on the Nature network: a training step, acting on one state, memory."""

    norms: tuple[str, ...] = tuple(NORMALIZERS)
    """Normalizers; ratios are to the first."""
    batch_size: int = 32
    """Examples per training step."""
    calls: int = 5
    """Training steps per timing (ten times as many for acting)."""

    def measure(self, device: torch.device) -> Figures:
        """Seconds and bytes of each normalizer."""
        figures = norm_costs(
            self.norms or tuple(NORMALIZERS),
            batch_size=self.batch_size,
            rounds=self.rounds,
            times=self.calls,
            device=device,
            dtype=resolve_dtype(self.precision, device, images=True),
        )
        return figures, norm_table(figures)


@dataclass(frozen=True)
class Replays(Timing):
    """Costs of replay buffers on Atari: bytes per step, time to store a step and to sample a batch."""

    num_envs: int = 8
    """Parallel environments, whose steps are stored together."""
    batch_size: int = 32
    """Transitions per batch."""
    capacity: int = 20_000
    """Steps that each replay buffer holds; it is full when it is timed."""
    calls: int = 100
    """Calls per timing."""

    def measure(self, device: torch.device) -> Figures:
        """Bytes and seconds of each replay buffer."""
        figures = replay_costs(
            num_envs=self.num_envs,
            batch_size=self.batch_size,
            capacity=self.capacity,
            rounds=self.rounds,
            times=self.calls,
            device=device,
        )
        return figures, replay_table(figures)


@dataclass(frozen=True)
class CheckpointStops(Measurement):
    """How long a run stands still for a checkpoint of a full replay buffer of Atari observations."""

    num_envs: int = 8
    """Parallel environments, whose steps are stored together, every 5 ms."""
    capacity: int = 600_000
    """Steps in the replay buffer, 7 KB each."""
    rounds: int = 3
    """Checkpoints; the file of each is as large as the buffer."""
    folder: Path | None = None
    """Where they are written, and removed; by default in that of temporary files."""

    def measure(self, device: torch.device) -> Figures:
        """Bytes and seconds of each checkpoint."""
        sizes = {"num_envs": self.num_envs, "capacity": self.capacity, "rounds": self.rounds}
        rows = checkpoint_stops(**sizes, device=device, folder=self.folder)
        return {"checkpoints": rows}, stop_table(rows)


@dataclass(frozen=True)
class Growth(Timing):
    """Speed of a run on a game as it grows: with replay fill, number of environments, length of rollouts."""

    game: str = "Breakout"
    """Atari game."""
    norm: str = "weight"
    """Normalizer."""
    fills: tuple[int, ...] = (10_000, 100_000, 1_000_000)
    """Transitions in replay buffers of 7 KB each, all made at once; none: not measured."""
    environments: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    """Environments of a DQN; none: not measured."""
    rollouts: tuple[int, ...] = (32, 128, 512)
    """Rows of the rollouts of PPO with 8 environments; none: not measured."""
    batch_size: int = 32
    """Transitions per batch from a replay buffer."""
    calls: int = 100
    """Calls per timing of a replay buffer."""
    steps: int = 1_024
    """Steps per timing of an agent; with long rollouts as many as one has."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("fills", "environments", "rollouts"):
            if min(getattr(self, name), default=1) < 1:
                raise ValueError(f"{name} must be at least 1, got {min(getattr(self, name))}")

    def measure(self, device: torch.device) -> Figures:
        """Seconds of a replay buffer's calls and steps per second of agents, by size, and ratios to the first size."""
        task, figures = RaceTask(self.game, None, self.device, self.precision), dict[str, Any]()
        sizes: dict[str, Any] = {"norm": self.norm, "steps": self.steps, "rounds": self.rounds}
        if self.fills:
            calls: dict[str, Any] = {"batch_size": self.batch_size, "rounds": self.rounds, "times": self.calls}
            figures |= fill_growth(self.fills, num_envs=8, device=device, **calls)
        if self.environments:
            figures["DQN, environments"] = environment_growth(task, self.environments, **sizes)
        if self.rollouts:
            figures["PPO, rows of a rollout"] = rollout_growth(task, self.rollouts, **sizes)
        return figures, growth_table(figures)


@dataclass(frozen=True)
class Emulation(Timing):
    """Steps per second of an Atari game: the bare emulator, its environments, a DQN that only acts; by groups."""

    game: str = "Breakout"
    """Atari game."""
    num_envs: int = 8
    """Parallel environments, stepped together."""
    groups: tuple[int, ...] = (1,)
    """Numbers of groups in which our environments step, as --env-groups of a run has them."""
    steps: int = 4_096
    """Steps per timing."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.groups or not all(1 <= number <= self.num_envs for number in self.groups):
            raise ValueError(f"groups must be from 1 to num_envs, {self.num_envs}, got {self.groups}")

    def measure(self, device: torch.device) -> Figures:
        """Steps per second, and ratios to the bare emulator."""
        task, sizes = RaceTask(self.game, None, self.device, self.precision), {"num_envs": self.num_envs}
        figures = emulation_rates(task, **sizes, groups=self.groups, steps=self.steps, rounds=self.rounds)
        return figures, rate_table(figures["summary"])


@dataclass(frozen=True)
class SB3Atari(Timing):
    """stable-baselines3 on an Atari game with its own environments and with wnrl.sb3.AtariVecEnv."""

    game: str = "Breakout"
    """Atari game."""
    algo: Literal["random", "dqn", "qrdqn", "ppo", "a2c"] = "random"
    """Algorithm, with the settings of its race, or random actions without a network."""
    num_envs: int = 8
    """Parallel environments, stepped together."""
    steps: int = 4_096
    """Steps per timing; an algorithm learns on from one timing to the next."""
    seed: int = 0
    """Of the algorithm and its environments."""

    def measure(self, device: torch.device) -> Figures:
        """Steps per second with each kind of environments, and the scores of an algorithm."""
        task = RaceTask(self.game, None, self.device, self.precision)
        sizes = {"num_envs": self.num_envs, "steps": self.steps, "rounds": self.rounds}
        if self.algo == "random":
            figures = playing_rates(task, **sizes)
            return figures, rate_table(figures["summary"])
        figures = learning_rates(task, self.algo, seed=self.seed, **sizes)
        return figures, f"{rate_table(figures['summary'])}\n\n{score_table(figures)}"


@dataclass(frozen=True)
class Start(Timing):
    """Time from starting a process to the first update of a DQN on an Atari game, and to the end of --help."""

    game: str = "Breakout"
    """Atari game."""
    learning_starts: int = 512
    """Steps of random play before the first update."""

    def measure(self, device: torch.device) -> Figures:
        """Seconds from the start to the end of each phase."""
        task = asdict(RaceTask(self.game, None, self.device, self.precision))
        figures = start_times(task, rounds=self.rounds, learning_starts=self.learning_starts)
        return figures, start_table(figures)


@dataclass(frozen=True)
class UpdateCalls(Measurement):
    """Calls of one update: how many, how deep, and jumps between files; not timed."""

    agent: Literal["dqn", "sac", "pqn", "ppo", "a2c", "reinforce"] = "dqn"
    """Agent whose update is followed."""
    env: Annotated[str, tyro.conf.arg(metavar="ID")] = "CartPole-v1"
    """Gymnasium id with vectors as observations."""
    norm: str = "weight"
    """Normalizer."""
    preset: str = "fast"
    """Source of the agent's settings."""
    device: str = "cpu"
    """cpu or cuda; on CUDA the backward pass runs in a thread that is not counted."""
    updates: int = 21
    """Updates counted; each figure is the median over these."""
    tree: bool = False
    """Also print the calls of one update, indented by depth."""

    images: ClassVar[bool] = False

    def measure(self, device: torch.device) -> Figures:
        """Depth, files, functions, jumps and calls of an update."""
        figures = update_calls(
            self.agent,
            self.env,
            norm=self.norm,
            preset=self.preset,
            device=str(device),
            precision=self.precision,
            updates=self.updates,
        )
        return figures, calls_table(figures, self.tree)


@dataclass(frozen=True)
class UpdateTimes(Timing):
    """Time of one update and, on CUDA, its kernels: agents by normalizers by batch sizes, eager and compiled."""

    agents: tuple[Literal["dqn", "double-dqn", "sac", "pqn", "ppo", "a2c"], ...] = ("dqn",)
    """Agents; those with rollouts make gradient steps on one minibatch again and again."""
    norms: tuple[str, ...] = ("none", "weight")
    """Normalizers; ratios are to the first, in the first mode."""
    batch_sizes: tuple[int, ...] = (32,)
    """Examples per update; multiples of 8."""
    modes: tuple[Literal["eager", "compiled"], ...] = ("eager", "compiled")
    """Without and with --compile."""
    game: str = "Breakout"
    """Atari game, whose images are learned from."""
    env: Annotated[str | None, tyro.conf.arg(metavar="ID")] = None
    """Any other Gymnasium id with discrete actions, instead of --game."""
    updates: int = 64
    """Updates per timing."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("agents", "norms", "batch_sizes", "modes"):
            if not getattr(self, name):
                raise ValueError(f"{name} must name one at least")
        for size in self.batch_sizes:
            if size < 8 or size % 8:
                raise ValueError(f"batch_sizes must be multiples of 8, got {size}")

    @property
    def images(self) -> bool:  # type: ignore[override]
        """Whether observations are images."""
        return self.env is None

    def measure(self, device: torch.device) -> Figures:
        """Seconds and kernels of an update."""
        task = RaceTask(None if self.env else self.game, self.env, self.device, self.precision)
        sides = self.agents, self.norms, self.batch_sizes, self.modes
        figures = update_times(task, *sides, rounds=self.rounds, updates=self.updates, device=device)
        return figures, update_table(figures)
