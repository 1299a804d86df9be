from contextlib import nullcontext

import pytest
import torch
from torch import nn

from agents.settings.network import NORMS
from agents.settings.presets.dqn.paper import FIXED_LENGTHS
from tests.agents.settings.presets.dqn_values import dqn_values
from wnrl import normalize
from wnrl.initialization.data import data_init

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


@pytest.mark.parametrize("norm", sorted({*NORMS} - {"none", "layer-channels"}))
def test_initialization_from_data_is_the_default_where_the_network_takes_it(norm):
    """With the others the network would be refused for a setting that nobody gave."""
    network = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
    normalize(network, norm)
    refused = pytest.raises(ValueError, match="take 'preserve' or 'he'") if norm in FIXED_LENGTHS else nullcontext()
    with refused:
        data_init(network, torch.randn(16, 3, generator=torch.Generator().manual_seed(0)))
    found = dqn_values("paper", norm=norm)
    assert (found["init"], found["learning_rate"]) == ("preserve" if norm in FIXED_LENGTHS else "data", 0.0003)
