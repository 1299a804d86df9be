"""What a study of minibatch noise compares, as flags."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import tyro
from noise_study.noise_runs import NoiseRun, Plan, make_agent

from agents.settings.network import NORMS

PARTS = 5  # of a run, after each of which the noise is measured
_RATE = tyro.conf.arg(metavar="NORM=RATE")


@dataclass(frozen=True)
class NoiseSettings:
    """The compared runs: of a DQN with the defaults of `wnrl train dqn`."""

    env: str = "CartPole-v1"
    """Gymnasium id of the environment."""
    norms: tuple[str, ...] = ("none", "weight", "layer", "mean-batch", "batch")
    """Normalizers."""
    seeds: int = 5
    """Runs of each normalizer, with seeds from 0 on."""
    steps: int = 50_000
    """Length of a run in steps."""
    measure_at: tuple[int, ...] = ()
    """Steps at which the noise is measured; none: after each fifth of the run."""
    batch_sizes: tuple[int, ...] = (8, 16, 32, 64, 128, 256, 512, 1024)
    """Sizes of the minibatches that are measured. The agent learns from those of its preset: 128 on vectors."""
    states: int = 16
    """States whose values are looked at in each measurement."""
    companies: int = 32
    """Minibatches in which each of them is."""
    learning_rates: Annotated[tuple[str, ...], _RATE] = ()
    """Learning rates of normalizers that are not to have the preset's."""

    def __post_init__(self) -> None:
        for name, least in (("seeds", 1), ("steps", 1), ("states", 1), ("companies", 2)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if not self.norms or (unknown := [norm for norm in self.norms if norm not in NORMS]):
            raise ValueError(f"norms must be some of {', '.join(NORMS)}, got {unknown[0] if self.norms else 'none'!r}")
        if not self.batch_sizes or min(self.batch_sizes) < 2:
            raise ValueError(f"batch_sizes must be 2 or more, got {' '.join(map(str, self.batch_sizes)) or 'none'}")
        if wrong := [step for step in self.measure_at if not 1 <= step <= self.steps]:
            raise ValueError(f"measure_at must be from 1 to the run's {self.steps:,} steps, got {wrong[0]}")
        self._rates()

    def plans(self) -> list[Plan]:
        """Each run once, seed by seed.

        Raises:
            ValueError: there is no such environment, the agent cannot learn there, or it learns nothing before the
                noise is measured.
        """
        rates, norms = self._rates(), dict.fromkeys(self.norms)
        runs = [
            NoiseRun(self.env, norm, seed, self.steps, rates.get(norm), self.states, self.companies)
            for seed in range(self.seeds)
            for norm in norms
        ]
        steps = tuple(sorted(set(self.measure_at))) or tuple(self.steps * part // PARTS for part in range(1, PARTS + 1))
        for run in runs[: len(norms)]:
            if steps[0] <= (warm_up := make_agent(run).settings.agent.replay.learning_starts):
                raise ValueError(f"the first measurement must be after the {warm_up:,} random steps, got {steps[0]:,}")
        return [Plan(run, steps, tuple(sorted(set(self.batch_sizes)))) for run in runs]

    def _rates(self) -> dict[str, float]:
        """By normalizer, those that are given."""
        rates = {}
        for text in self.learning_rates:
            norm, _, number = text.partition("=")
            try:
                rates[norm] = float(number)
            except ValueError:
                rates[norm] = math.nan
            if norm not in self.norms or not 0 < rates[norm] < math.inf:
                raise ValueError(f"learning_rates takes NORM=RATE, of the norms that are compared, got {text!r}")
        return rates
