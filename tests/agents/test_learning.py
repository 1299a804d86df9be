"""Learning runs of the agents with a replay or a Q network, which take minutes: when each has solved its task."""

import numpy as np
import pytest

from agents.registry import AGENTS
from agents.training.environments import make_evaluation_environment, make_training_environment
from agents.training.evaluation import evaluate
from agents.training.trainer import Trainer
from tests.agents.test_policy_gradient_learning import CARTPOLE

# The most steps that each agent may take, by its name and preset.
AGENTS_AND_STEPS = {
    ("dqn", "fast"): 60_000,
    ("dqn", "rainbow"): 60_000,
    ("sac", "fast"): 50_000,
    ("pqn", "fast"): 100_000,
}


def test_every_agent_has_a_learning_run():
    assert {name for name, _ in AGENTS_AND_STEPS} | CARTPOLE.keys() == AGENTS.keys()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("name", "preset"), AGENTS_AND_STEPS)
def test_cartpole_is_solved(name, preset, seed):
    """100 games of CartPole-v1 last 475 steps or more in the mean, the environment's own mark of success."""
    kind, most = AGENTS[name], AGENTS_AND_STEPS[name, preset]
    values = kind.preset(preset, images=False, norm="weight", flags={"steps": str(most)})
    settings = kind.settings(**{**values, "env": "CartPole-v1", "seed": seed, "steps": most, "device": "cpu"})
    environment = make_training_environment(settings)
    trainer, scores = Trainer(kind.make(settings, settings, environment), environment, seed=seed), []
    while trainer.steps < most and max(scores, default=0) < 475:
        trainer.run(min(trainer.steps + settings.eval_interval, most))
        policy = trainer.agent.policy(np.random.default_rng([seed, trainer.steps]))
        games = evaluate(policy, make_evaluation_environment(settings, 20), episodes=100, seed=1_000 + trainer.steps)
        scores.append(np.mean([game.score for game in games]))
        print(f"{name} {preset}, seed {seed}: {scores[-1]:.1f} at step {trainer.steps:,}", flush=True)
    assert max(scores) >= 475
