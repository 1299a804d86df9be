from tests.agents.settings.presets.dqn_values import dqn_values

# Mnih et al. 2015, extended data table 1 and methods.
NATURE = {
    "norm": "none",
    "optimizer": "rmsprop",
    "optimizer_eps": 0.01,  # "min squared gradient", under the root
    "learning_rate": 0.00025,
    "batch_size": 32,
    "replay_size": 1_000_000,
    "target_interval": 40_000,
    "gamma": 0.99,
    "train_interval": 4,
    "epsilon_start": 1.0,
    "epsilon_end": 0.1,
    "epsilon_steps": 1_000_000,
    "learning_starts": 50_000,
    "noop_max": 30,
    "steps": 50_000_000,
    "eval_epsilon": 0.05,
    "huber_delta": 1.0,
    "reward_clip": 1.0,
    "life_loss": True,
    "double": False,
    "n_step": 1,
}


def test_nature_to_the_letter():
    found = dqn_values("nature")
    assert {name: found[name] for name in NATURE} == NATURE
