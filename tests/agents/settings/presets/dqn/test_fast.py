import pytest

from tests.agents.settings.presets.dqn_values import dqn_values

# Ours: docs/results.md says what was tried.
GAMES = {
    "learning_rate": 0.00015,
    "batch_size": 64,
    "train_interval": 8,
    "replay_size": 400_000,
    "learning_starts": 8_000,
    "target_interval": 1_000,
    "epsilon_end": 0.01,
    "epsilon_steps": 150_000,
    "double": True,
    "n_step": 3,
}
VECTORS = {
    "tau": 0.02,
    "n_step": 3,
    "epsilon_end": 0.05,
    "epsilon_steps": 10_000,
    "double": True,
    "eval_epsilon": 0.0,
    "log_interval": 1_000,
}


@pytest.mark.parametrize("name", GAMES)
def test_fast_in_games(name):
    assert dqn_values("fast")[name] == GAMES[name]


@pytest.mark.parametrize("name", VECTORS)
def test_fast_on_vectors(name):
    assert dqn_values("fast", images=False)[name] == VECTORS[name]
