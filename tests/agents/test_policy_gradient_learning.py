"""Learning runs of on-policy agents that take minutes: what each has learned at the end of its steps."""

import numpy as np
import pytest

from agents.registry import AGENTS
from agents.settings.flat import from_flat
from agents.settings.run import TrainSettings
from agents.training.evaluation import evaluate
from agents.training.task import Task
from agents.training.trainer import Trainer

CARTPOLE = {"ppo": 100_000, "a2c": 100_000, "reinforce": 200_000}  # steps, by agent
RECALL = {"steps": 20_000, "separate": False}
# RL Zoo's numbers for Pendulum, with shorter rollouts and larger minibatches, and both running scales.
PENDULUM = {
    "steps": 100_000,
    "num_envs": 4,
    "rollout_length": 256,
    "epochs": 10,
    "minibatches": 8,
    "learning_rate_schedule": "linear",
    "clip_range_schedule": "constant",
    "gamma": 0.9,
    "gae_lambda": 0.95,
    "normalize_obs": True,
    "normalize_return": True,
}


def prepared(name, env, seed, norm="weight", preset="fast", **flags):
    """A run's settings and its trainer, with a preset and these flags."""
    spec = AGENTS[name]
    values = spec.preset(preset, images=False, norm=norm, flags={name: str(value) for name, value in flags.items()})
    own = {"env": env, "norm": norm, "seed": seed, "device": "cpu", **flags}
    settings = from_flat(TrainSettings[spec.settings], {**values, **own})
    environment = Task(settings.run.task).training(settings.run.num_envs)
    return settings, Trainer(spec.build(settings.run, settings.agent, environment), environment, seed=seed)


def mean_score(settings, trainer, rng, seed):
    """Of 100 games that the agent's own policy plays."""
    policy = trainer.agent.policy(np.random.default_rng(rng))
    games = evaluate(policy, Task(settings.run.task).evaluation(20), episodes=100, seed=seed)
    return float(np.mean([game.score for game in games]))


def score(name, env, seed, norm="weight", **flags):
    """The mean score of 100 games after a run with the `fast` preset and these flags."""
    settings, trainer = prepared(name, env, seed, norm, **flags)
    trainer.run(settings.run.steps)
    mean = mean_score(settings, trainer, seed, 1_000)
    print(f"{name} {env} norm {norm} seed {seed}: {mean:.2f} after {trainer.steps} steps {flags}")
    return mean


@pytest.mark.parametrize(
    ("name", "env", "flags"),
    [
        *((name, "CartPole-v1", {"steps": steps}) for name, steps in CARTPOLE.items()),
        ("ppo", "Pendulum-v1", PENDULUM),
        ("ppo", "Recall", RECALL),
        ("ppo", "Recall", {**RECALL, "lstm": 32}),
    ],
)
def test_a_learning_run_starts(name, env, flags):
    """With the numbers of the runs below, which take minutes."""
    settings, trainer = prepared(name, env, 0, **flags)
    assert settings.run.steps == flags["steps"]
    trainer.run(settings.run.num_envs)
    assert trainer.steps == settings.run.num_envs


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("norm", ["weight", "none"])
@pytest.mark.parametrize(("name", "steps"), CARTPOLE.items())
def test_cartpole_is_solved(name, steps, norm, seed):
    """100 games of CartPole-v1 last 475 steps or more in the mean, the environment's own mark of success."""
    assert score(name, "CartPole-v1", seed, norm, steps=steps) >= 475


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_the_pendulum_is_swung_up(seed):
    """Random play gets about -1,200; nine seeds were between -283 and -168."""
    assert score("ppo", "Pendulum-v1", seed, **PENDULUM) > -350


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_cue_is_recalled_with_memory_alone(seed):
    """Without memory half of the answers are right at best."""
    assert score("ppo", "Recall", seed, **RECALL, lstm=32) >= 0.95
    assert score("ppo", "Recall", seed, **RECALL) <= 0.65
