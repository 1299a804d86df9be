"""Learning runs that take minutes."""

import numpy as np
import pytest

from agents.building import make_dqn, make_evaluation_environment, make_training_environment
from agents.dqn import DQNSettings
from agents.evaluation import evaluate
from agents.presets import FAST_VECTOR
from agents.settings import RunSettings
from agents.training import Trainer

STEPS = 60_000


def preset(kind, **given):
    """The settings of one kind that the `fast` preset has for vectors."""
    names = kind.__dataclass_fields__
    return kind(**{name: value for name, value in {**FAST_VECTOR, **given}.items() if name in names})


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_cartpole_is_solved(seed):
    """100 greedy games of CartPole-v1 last 475 steps or more in the mean, the environment's own mark of success."""
    run = preset(RunSettings, env="CartPole-v1", norm="weight", seed=seed)
    environment = make_training_environment(run)
    agent = make_dqn(run, preset(DQNSettings), environment)
    trainer, rng = Trainer(agent, environment, seed=seed), np.random.default_rng(seed)
    scores = []
    while trainer.steps < STEPS and max(scores, default=0) < 475:
        trainer.run(min(trainer.steps + run.eval_interval, STEPS))
        games = evaluate(
            lambda obs: agent.act_greedily(obs, 0.0, rng),
            make_evaluation_environment(run, 20),
            episodes=100,
            seed=1_000 + trainer.steps,
        )
        scores.append(np.mean([game.score for game in games]))
    print(f"seed {seed}: {[round(score, 1) for score in scores]} every {run.eval_interval} steps")
    assert max(scores) >= 475
