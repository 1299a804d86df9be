"""Learning runs of discrete SAC that take minutes."""

import numpy as np
import pytest

from agents.building import make_evaluation_environment, make_training_environment
from agents.evaluation import evaluate
from agents.kinds import SAC
from agents.sac_presets import sac_preset
from agents.training import Trainer

STEPS = 50_000


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_cartpole_is_solved(seed):
    """100 games of CartPole-v1 by the most probable actions last 475 steps or more in the mean."""
    preset = sac_preset("fast", images=False, norm="weight")
    settings = SAC.settings(**preset, env="CartPole-v1", norm="weight", seed=seed)
    environment = make_training_environment(settings)
    trainer = Trainer(SAC.make(settings, settings, environment), environment, seed=seed)
    scores = []
    while trainer.steps < STEPS and max(scores, default=0) < 475:
        trainer.run(min(trainer.steps + settings.eval_interval, STEPS))
        policy, worlds = trainer.agent.policy(np.random.default_rng(seed)), make_evaluation_environment(settings, 20)
        games = evaluate(policy, worlds, episodes=100, seed=1_000 + trainer.steps)
        scores.append(np.mean([game.score for game in games]))
    print(f"seed {seed}: {[round(score, 1) for score in scores]} every {settings.eval_interval} steps")
    assert max(scores) >= 475
