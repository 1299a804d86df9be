"""Runs of a DQN during which the noise that minibatches add is measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from noise_study.companies import Noise, measure

from agents import DQN, Callback, Trainer


@dataclass(frozen=True)
class NoiseRun:
    """One run and what is measured in it: everything that its rows depend on, but for their steps and batch sizes."""

    env: str
    norm: str
    seed: int
    steps: int
    learning_rate: float | None
    """None: that of the agent's preset."""
    states: int
    companies: int


class NoiseRow(NamedTuple):
    """What was measured at a step for minibatches of one size."""

    run: NoiseRun
    step: int
    batch_size: int
    noise: Noise
    score: float
    """Mean of the last 100 games of training; NaN before the first has ended."""
    agents_batch: int
    """Size of the minibatches from which the agent learns."""


class Plan(NamedTuple):
    """A run, and when and for which minibatches to measure."""

    run: NoiseRun
    steps: tuple[int, ...]
    batch_sizes: tuple[int, ...]


def make_agent(run: NoiseRun) -> DQN:
    """The DQN of a run, with the defaults of `wnrl train dqn` but for the settings of the run.

    Raises:
        ValueError: there is no such environment or normalizer, or the agent cannot learn there.
    """
    settings: dict[str, Any] = {"norm": run.norm, "seed": run.seed, "eval_interval": 0, "device": "cpu"}
    if run.learning_rate is not None:
        settings["learning_rate"] = run.learning_rate
    return DQN(env=run.env, **settings)


def train(plan: Plan) -> list[NoiseRow]:
    """Train a DQN and measure on the way; what it learns does not depend on that."""
    measuring = Measuring(plan)
    with make_agent(plan.run) as agent:
        agent.learn(plan.run.steps, callbacks=measuring)
    return measuring.rows


class Measuring(Callback):
    """Measures at the steps of a plan, with a random generator of its own.

    Args:
        plan: of the run.

    Attribute `rows`: what was measured.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.rows: list[NoiseRow] = []

    def step(self, trainer: Trainer, before: int) -> None:
        """Measure where a step of the plan has passed."""
        for due in self._plan.steps:
            if before < due <= trainer.steps:
                self._measure(trainer, due)

    def _measure(self, trainer: Trainer, step: int) -> None:
        agent: Any = trainer.agent
        run, replay = self._plan.run, agent.sampler.replay
        for batch_size in self._plan.batch_sizes:
            generator = torch.Generator(agent.learner.device).manual_seed(step)  # the same states for all sizes
            noise = measure(
                agent.network,
                lambda number, generator=generator: replay.sample(number, generator),  # type: ignore[misc]
                batch_size,
                states=run.states,
                companies=run.companies,
            )
            score, agents_batch = trainer.statistics.mean_score, agent.settings.replay.batch_size
            self.rows.append(NoiseRow(run, step, batch_size, noise, score, agents_batch))
