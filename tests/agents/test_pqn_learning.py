"""Learning runs of PQN that take minutes."""

import numpy as np
import pytest

from agents.building import make_evaluation_environment, make_training_environment
from agents.evaluation import evaluate
from agents.kinds import PQN
from agents.pqn_presets import pqn_preset
from agents.training import Trainer


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_cartpole_is_solved(seed):
    """100 greedy games of CartPole-v1 after the preset's run last 475 steps or more in the mean."""
    preset = pqn_preset("fast", images=False, norm="weight")
    settings = PQN.settings(**preset, env="CartPole-v1", norm="weight", seed=seed)
    environment = make_training_environment(settings)
    agent = PQN.make(settings, settings, environment)
    Trainer(agent, environment, seed=seed).run(settings.steps)
    games = evaluate(
        agent.policy(np.random.default_rng(seed)), make_evaluation_environment(settings, 20), episodes=100, seed=1_000
    )
    score = np.mean([game.score for game in games])
    print(f"seed {seed}: {score:.1f} after {settings.steps} steps")
    assert score >= 475
