import pytest

from tests.agents.settings.presets.dqn_values import dqn_values

# Salimans & Kingma 2016, section 5.4; below the line the code base that it adapted.
PAPER = {
    "optimizer": "adamax",
    "beta1": 0.5,
    "batch_size": 64,
    "units": "paper",
    "steps": 50_000_000,  # 200 epochs of 250,000
    # ---
    "num_envs": 1,
    "train_interval": 4,
    "replay_size": 1_000_000,
    "learning_starts": 50_000,
    "epsilon_start": 1.0,
    "epsilon_end": 0.1,
    "epsilon_steps": 1_000_000,
    "eval_epsilon": 0.05,
    "eval_steps": 125_000,
    "eval_interval": 250_000,
    "target_interval": 40_000,  # 10,000 updates
    "tau": 1.0,
    "gamma": 0.99,
    "n_step": 1,
    "double": False,
    "huber_delta": 1.0,
    "loss_reduction": "sum",
    "max_grad_norm": 0.0,
    "reward_clip": 1.0,
    "life_loss": True,
    "noop_max": 30,
    "sticky_actions": 0.0,
    "full_action_set": False,
    "hidden": (512,),
    "precision": "float32",
}


@pytest.mark.parametrize(
    ("norm", "by_norm"),
    [("weight", {"learning_rate": 0.0003, "init": "data"}), ("none", {"learning_rate": 0.0001, "init": "he"})],
)
def test_paper_preset_to_the_letter(norm, by_norm):
    expected = {**PAPER, **by_norm, "norm": norm, "preset": "paper"}
    found = dqn_values("paper", norm=norm)
    assert {name: found[name] for name in expected} == expected
