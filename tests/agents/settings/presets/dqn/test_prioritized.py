import pytest

from tests.agents.settings.presets.dqn_values import dqn_values

# Schaul et al. 2016, proportional variant; dqn_zoo, prioritized/run_atari.py; below that the paper's baseline.
TABLE = {
    "prioritized": True,
    "priority_exponent": 0.6,
    "priority_beta": 0.4,
    "learning_rate": 0.0000625,  # 0.00025 / 4
    "double": True,
    "shared_bias": True,
    "dueling": False,
    "target_interval": 30_000,
    "epsilon_end": 0.01,
    "eval_epsilon": 0.001,
    "max_grad_norm": 0.0,
    "optimizer": "rmsprop",
    "optimizer_eps": 0.000625,  # 0.01 / 4²
    "loss_reduction": "sum",
    "huber_delta": 1.0,
    # Mnih et al. 2015, extended data table 1 and methods
    "norm": "none",
    "hidden": (512,),
    "torso": "auto",  # the network of Mnih et al. 2015 for images
    "steps": 50_000_000,  # 200 million frames
    "batch_size": 32,
    "replay_size": 1_000_000,
    "train_interval": 4,
    "gamma": 0.99,
    "n_step": 1,
    "tau": 1.0,
    "reward_clip": 1.0,
    "epsilon_start": 1.0,
    "max_frames": 108_000,
    "learning_starts": 50_000,
    "epsilon_steps": 1_000_000,
    "life_loss": True,
    "noop_max": 30,
    "sticky_actions": 0.0,
    "num_envs": 1,
}


@pytest.mark.parametrize("name", TABLE)
def test_prioritized_double_dqn_to_the_letter(name):
    assert dqn_values("prioritized")[name] == TABLE[name]
