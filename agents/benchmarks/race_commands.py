"""The races of `scripts/benchmark.py`: an agent of ours and stable-baselines3's, a dataclass of arguments each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
import tyro

from agents.benchmarks.measurement import Figures, Timing, rate_table
from agents.benchmarks.profiling import profile_run, profile_table
from agents.benchmarks.races import RACES, WARMUP, RaceTask, our_side, our_trainer, sb3_side
from agents.benchmarks.timing import in_turn, medians, rate


@dataclass(frozen=True)
class Racing(Timing):
    """Steps per second of one of our agents and of stable-baselines3's, with equal settings."""

    game: str = "Breakout"
    """Atari game."""
    env: Annotated[str | None, tyro.conf.arg(metavar="ID")] = None
    """Any other Gymnasium id with discrete actions, instead of --game."""
    steps: int = 1_024
    """Steps per timing."""
    profile: bool = False
    """Also profile our agents, over as many steps again."""

    race: ClassVar[str]

    @property
    def images(self) -> bool:  # type: ignore[override]
        """Whether observations are images."""
        return self.env is None

    def measure(self, device: torch.device) -> Figures:
        """Steps per second of stable-baselines3, and of our agent without and with weight norm."""
        race, task = RACES[self.race], RaceTask(None if self.env else self.game, self.env, self.device, self.precision)
        trainers = {name: our_trainer(race, task, **changes) for name, changes in self._ours().items()}
        sides = {"stable-baselines3": sb3_side(race, task)}
        sides |= {name: our_side(trainer) for name, trainer in trainers.items()}
        for advance in sides.values():
            advance(WARMUP)
        rates = in_turn({name: rate(advance, self.steps) for name, advance in sides.items()}, self.rounds)
        figures, table = {"steps_per_second": rates, "summary": medians(rates)}, rate_table(medians(rates))
        if not self.profile:
            return figures, table
        profiles = {name: profile_run(trainer, self.rounds * self.steps) for name, trainer in trainers.items()}
        return {**figures, "profile": profiles}, f"{table}\n\n{profile_table(profiles)}"

    def _ours(self) -> dict[str, dict[str, Any]]:
        """Our sides by name: the settings in which they differ."""
        return {f"wnrl {norm}": {"norm": norm} for norm in ("none", "weight")}


@dataclass(frozen=True)
class OnPolicyRacing(Racing):
    """A race of an agent that learns from rollouts."""

    overlap_rollouts: bool = False
    """Also our agent with weight norm and rollouts that overlap; a timing ends with a wait, so take many --steps."""

    def _ours(self) -> dict[str, dict[str, Any]]:
        overlapping = {"wnrl weight, overlap": {"norm": "weight", "overlap_rollouts": True}}
        return super()._ours() | (overlapping if self.overlap_rollouts else {})


@dataclass(frozen=True)
class RaceDQN(Racing):
    """DQN: 8 environments, one update of 32 per 4 steps."""

    race: ClassVar[str] = "dqn"


@dataclass(frozen=True)
class RaceQRDQN(Racing):
    """QR-DQN of sb3-contrib: 200 quantiles, 8 environments, one update of 32 per 4 steps."""

    race: ClassVar[str] = "qrdqn"


@dataclass(frozen=True)
class RacePPO(OnPolicyRacing):
    """PPO: 8 environments by 128 steps, 4 epochs of minibatches of 256."""

    race: ClassVar[str] = "ppo"


@dataclass(frozen=True)
class RaceRecurrentPPO(Racing):
    """RecurrentPPO of sb3-contrib: an LSTM of 256, 8 environments by 128 steps, 4 epochs of minibatches of 256."""

    race: ClassVar[str] = "ppo-recurrent"


@dataclass(frozen=True)
class RaceA2C(OnPolicyRacing):
    """A2C: 16 environments by 5 steps."""

    race: ClassVar[str] = "a2c"
