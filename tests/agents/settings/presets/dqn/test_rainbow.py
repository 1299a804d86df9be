import torch

from agents.dqn.build import describe_dqn
from agents.learner.network import make_network
from agents.settings.dqn import DQNSettings
from agents.settings.flat import from_flat
from agents.settings.run import RunSettings
from envs import Chain
from tests.agents.dqn_family import NOISY
from tests.agents.settings.presets.dqn_values import dqn_values
from wnrl.networks.noisy import NoisyLinear

# Hessel et al. 2018, table 1; below the line what its text and table 4 say beside it.
RAINBOW = {
    "learning_starts": 20_000,  # 80K frames
    "learning_rate": 0.0000625,
    "epsilon_start": 0.0,
    "epsilon_end": 0.0,
    "noisy": True,
    "target_interval": 8_000,  # 32K frames
    "optimizer": "adam",
    "optimizer_eps": 1.5e-4,
    "prioritized": True,
    "priority_exponent": 0.5,
    "priority_beta": 0.4,  # to 1.0
    "n_step": 3,
    "distribution": "categorical",
    "atoms": 51,
    "v_min": -10.0,
    "v_max": 10.0,
    # ---
    "double": True,
    "dueling": True,
    "munchausen": False,
    "gamma": 0.99,
    "batch_size": 32,
    "train_interval": 4,
    "replay_size": 1_000_000,
    "tau": 1.0,
    "hidden": (512,),
    "reward_clip": 1.0,
    "life_loss": True,
    "max_frames": 108_000,
    "loss_reduction": "mean",
    "num_envs": 1,
    "steps": 50_000_000,  # 200 million frames
    "fire_reset": False,
    "noop_max": 30,
    "eval_interval": 250_000,
    "eval_steps": 125_000,
    # --- dqn_zoo, rainbow/run_atari.py
    "eval_epsilon": 0.0,
    "max_grad_norm": 10.0,
}


def test_rainbow_to_the_letter():
    found = dqn_values("rainbow")
    assert {name: found[name] for name in RAINBOW} == RAINBOW


def test_the_noise_of_rainbow_begins_where_the_paper_says():
    network = make_network(describe_dqn(from_flat(RunSettings, env="Chain"), from_flat(DQNSettings, **NOISY), Chain(1)))
    (layer,) = (module for module in network.modules() if isinstance(module, NoisyLinear) and module.in_features == 5)
    torch.testing.assert_close(layer.sigma_weight, torch.full_like(layer.sigma_weight, 0.5 / 5**0.5))  # sigma 0.5
