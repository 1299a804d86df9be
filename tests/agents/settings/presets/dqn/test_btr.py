import math

import pytest
import torch

from agents.acting.exploration import ExplorationRate
from agents.dqn.build import describe_dqn
from agents.learner.network import make_network
from agents.settings.dqn import DQNSettings
from agents.settings.flat import from_flat
from agents.settings.presets.dqn.preset import dqn_preset
from agents.settings.run import TrainSettings
from tests.agents.settings.presets.dqn_values import dqn_values
from wnrl.networks.noisy import NoisyLinear
from wnrl.normalizers.spectral_norm import SpectralNormalized

# github.com/VIPTankz/BeyondTheRainbowICML (Clark et al. 2024): main.py, Agent.py, memory.py, networks.py.
TABLE = {
    "torso": "impala",
    "impala_width": 2,  # model_size
    "impala_blocks": 2,
    "impala_pool": 6,  # maxpool_size
    "norm": "spectral",
    "norm_layers": "residual",
    "hidden": (512,),  # linear_size
    "dueling": True,
    "noisy": True,
    "distribution": "implicit",
    "taus": 8,
    "target_taus": 8,
    "policy_taus": 0,
    "munchausen": True,
    "munchausen_alpha": 0.9,
    "munchausen_temperature": 0.03,
    "munchausen_low": -1.0,
    "huber_delta": 1.0,
    "double": False,
    "n_step": 3,
    "gamma": 0.997,
    "prioritized": True,
    "priority_exponent": 0.2,
    "priority_beta": 0.4,
    "replay_size": 1_048_576,
    "learning_starts": 200_000,
    "num_envs": 64,
    "batch_size": 256,
    "train_interval": 64,
    "target_interval": 32_000,  # 500 updates
    "tau": 1.0,
    "optimizer": "adam",
    "learning_rate": 1e-4,
    "optimizer_eps": 1.953125e-5,  # 0.005 / 256
    "max_grad_norm": 10.0,
    "loss_reduction": "mean",
    "reward_clip": 1.0,
    "epsilon_start": 1.0,
    "epsilon_end": 0.01,
    "epsilon_steps": 2_000_000,
    "epsilon_schedule": "exponential",
    "epsilon_off": 25_000_000,  # half of the run
    "steps": 50_000_000,  # 200 million frames
    "life_loss": False,  # life_info
    "sticky_actions": 0.25,  # of ALE/…-v5
    "full_action_set": False,
    "max_frames": 108_000,
    "noop_max": 30,
    "eval_epsilon": 0.01,
    "eval_interval": 250_000,
    "eval_episodes": 100,
}


@pytest.mark.parametrize("name", TABLE)
def test_btr_to_the_letter(name):
    assert dqn_values("btr")[name] == TABLE[name]


def test_random_actions_end_with_the_first_half_of_the_run():
    assert dqn_values("btr", flags={"steps": "1_000_000"})["epsilon_off"] == 500_000
    assert dqn_values("btr", flags={"no_noisy": ""})["epsilon_off"] == 0


def test_epsilon_falls_as_in_its_code():
    """Step by step: ε ← ε − (ε − 0.01) / 2,000,000."""
    rate, epsilon = ExplorationRate(btr().agent.exploration), 1.0
    for step in range(1, 100_001):
        epsilon = max(epsilon - (epsilon - 0.01) / 2_000_000, 0.01)
        if step % 20_000 == 0:
            assert rate(step) == pytest.approx(epsilon, abs=1e-7)
    assert rate(24_999_999) == pytest.approx(0.01 + 0.99 * math.exp(-12.5), abs=1e-6)
    assert rate(25_000_000) == 0


def btr(**flags):
    return from_flat(
        TrainSettings[DQNSettings], dqn_preset("btr", images=True, norm="weight", flags=flags), game="Pong"
    )


class Images:
    obs_shape, num_actions = (4, 84, 84), 6


def test_the_network_is_that_of_its_code():
    """Sizes of each layer, in order; the convolutions of the residual blocks are spectrally normalized."""
    settings = btr()
    network = make_network(describe_dqn(settings.run, settings.agent, Images()))
    convolutions = [m for m in network.modules() if isinstance(m, torch.nn.Conv2d)]
    assert [m.out_channels for m in convolutions] == [32] * 5 + [64] * 10
    assert [isinstance(m, SpectralNormalized) for m in convolutions] == [False, True, True, True, True] * 3
    noisy = [(m.in_features, m.out_features) for m in network.modules() if isinstance(m, NoisyLinear)]
    assert noisy == [(2304, 512), (512, 1), (2304, 512), (512, 6)]  # 2,304: 1152 * model_size
    assert network.head.embedding[0].weight.shape == (2304, 64)
    assert network(torch.zeros(2, 4, 84, 84, dtype=torch.uint8)).quantiles.shape == (2, 6, 8)
