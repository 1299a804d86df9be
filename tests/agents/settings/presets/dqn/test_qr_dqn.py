import pytest

from tests.agents.settings.presets.dqn_values import dqn_values

# Dabney et al. 2018, QR-DQN-1; dqn_zoo, qrdqn/run_atari.py.
TABLE = {
    "distribution": "quantile",
    "quantiles": 200,
    "huber_delta": 1.0,  # κ
    "double": False,
    "dueling": False,
    "prioritized": False,
    "learning_rate": 0.00005,
    "target_interval": 10_000,
    "epsilon_end": 0.01,
    "eval_epsilon": 0.001,
    "optimizer": "adam",
    "optimizer_eps": 0.0003125,  # 0.01 / 32
    "loss_reduction": "mean",
    "max_grad_norm": 0.0,
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
def test_qr_dqn_to_the_letter(name):
    assert dqn_values("qr-dqn")[name] == TABLE[name]
