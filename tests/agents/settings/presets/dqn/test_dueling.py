import pytest

from tests.agents.settings.presets.dqn_values import dqn_values

# Wang et al. 2016, section 4.2 and appendix; below that van Hasselt et al. 2016, tuned, and Mnih et al. 2015.
TABLE = {
    "dueling": True,
    "dueling_gradient_scale": 0.7071067811865476,  # 1/√2
    "max_grad_norm": 10.0,
    "learning_rate": 6.25e-5,  # "slightly lower" than 2.5e-4; the number is that of the appendix
    "shared_bias": False,
    "double": True,
    "target_interval": 30_000,
    "epsilon_end": 0.01,
    "eval_epsilon": 0.001,
    "prioritized": False,
    "distribution": "none",
    "optimizer": "rmsprop",
    "optimizer_eps": 0.01,
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
def test_dueling_to_the_letter(name):
    assert dqn_values("dueling")[name] == TABLE[name]
