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
    """At one of the evaluations of the preset's run, 100 greedy games of CartPole-v1 last 475 steps in the mean."""
    preset = pqn_preset("fast", images=False, norm="weight")
    settings = PQN.settings(**preset, env="CartPole-v1", norm="weight", seed=seed)
    environment = make_training_environment(settings)
    agent = PQN.make(settings, settings, environment)
    trainer, policy = Trainer(agent, environment, seed=seed), agent.policy(np.random.default_rng(seed))
    scores = []
    while trainer.steps < settings.steps and max(scores, default=0) < 475:
        trainer.run(min(trainer.steps + settings.eval_interval, settings.steps))
        games = evaluate(policy, make_evaluation_environment(settings, 20), episodes=100, seed=1_000 + trainer.steps)
        scores.append(np.mean([game.score for game in games]))
    print(f"seed {seed}: {[round(score, 1) for score in scores]} every {settings.eval_interval} steps")
    assert max(scores) >= 475
