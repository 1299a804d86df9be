"""Learning runs of the agents with a replay or a Q network, which take minutes: when each has solved its task."""

import pytest

from agents.registry import AGENTS
from tests.agents.test_policy_gradient_learning import CARTPOLE, mean_score, prepared

# The most steps that each agent may take, by its name and preset.
AGENTS_AND_STEPS = {
    ("dqn", "fast"): 60_000,
    ("dqn", "rainbow"): 60_000,
    ("sac", "fast"): 50_000,
    ("pqn", "fast"): 100_000,
}


def test_every_agent_has_a_learning_run():
    assert {name for name, _ in AGENTS_AND_STEPS} | CARTPOLE.keys() == AGENTS.keys()


@pytest.mark.parametrize(("name", "preset"), AGENTS_AND_STEPS)
def test_a_learning_run_starts(name, preset):
    """With the numbers of the runs below, which take minutes."""
    settings, trainer = prepared(name, "CartPole-v1", 0, preset=preset, steps=AGENTS_AND_STEPS[name, preset])
    trainer.run(settings.run.num_envs)
    assert trainer.steps == settings.run.num_envs


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("name", "preset"), AGENTS_AND_STEPS)
def test_cartpole_is_solved(name, preset, seed):
    """100 games of CartPole-v1 last 475 steps or more in the mean, the environment's own mark of success."""
    most = AGENTS_AND_STEPS[name, preset]
    settings, trainer = prepared(name, "CartPole-v1", seed, preset=preset, steps=most)
    scores = []
    while trainer.steps < most and max(scores, default=0) < 475:
        trainer.run(min(trainer.steps + settings.run.eval_interval, most))
        scores.append(mean_score(settings, trainer, [seed, trainer.steps], 1_000 + trainer.steps))
        print(f"{name} {preset}, seed {seed}: {scores[-1]:.1f} at step {trainer.steps:,}", flush=True)
    assert max(scores) >= 475
