from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from agents.building import (
    make_dqn,
    make_evaluation_environment,
    make_network,
    make_training_environment,
    network_description,
)
from agents.dqn import DQNSettings
from agents.settings import RunSettings
from agents.training import Trainer
from envs import Atari, Chain, Gym
from wnrl.projection import ProjectedLayer
from wnrl.torsos import NatureCNN
from wnrl.weight_norm import WeightNormLinear

RUN = RunSettings(env="Chain", hidden=(8,), device="cpu", num_envs=3)
NUMBERS = DQNSettings(replay_size=100)
SHAPE = {
    "obs_shape": [4],
    "num_actions": 3,
    "hidden": [8, 6],
    "norm": "weight",
    "units": "sqrt",
    "normalize_output": True,
}


def test_environments_of_each_kind():
    assert type(make_training_environment(RUN)) is Chain
    assert make_training_environment(RUN).num_envs == 3
    assert type(make_evaluation_environment(replace(RUN, env="CartPole-v1"), 2)) is Gym
    assert make_evaluation_environment(RUN, 2).num_envs == 2


def test_a_lost_life_counts_in_training_and_never_in_evaluation():
    run = RunSettings(game="Breakout", num_envs=1)
    training, evaluation = make_training_environment(run), make_evaluation_environment(run, 1)
    assert isinstance(training, Atari)
    assert (training.life_loss, evaluation.life_loss) == (True, False)
    assert make_training_environment(replace(run, life_loss=False)).life_loss is False


def test_both_environments_have_the_settings_emulator(monkeypatch):
    monkeypatch.setattr("agents.building.make", lambda **options: options)
    emulator = {
        "noop_max": 7, "fire_reset": False, "sticky_actions": 0.25, "full_action_set": True, "max_frames": 400
    }  # fmt: skip
    run = RunSettings(game="Breakout", num_envs=5, life_loss=False, **emulator)
    made = {"game": "Breakout", "env": None, **emulator}
    assert make_training_environment(run) == {**made, "num_envs": 5, "life_loss": False}
    assert make_evaluation_environment(run, 2, render_mode="rgb_array") == {
        **made,
        "num_envs": 2,
        "render_mode": "rgb_array",
    }


def test_a_description_builds_the_same_network():
    network = make_network(**network_description(replace(RUN, normalize_output=False), Chain(3)), seed=4)
    assert type(network.torso.layers[1]) is WeightNormLinear
    assert type(network.head) is nn.Linear
    assert (network.torso.layers[1].in_features, network.head.out_features) == (5, 2)
    same = make_network(**network_description(replace(RUN, normalize_output=False), Chain(3)), seed=4)
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), same.parameters(), strict=True))


def test_normalizing_keeps_the_function_of_the_plain_network():
    obs = torch.randn(20, 4)
    plain, normalized = (make_network(**{**SHAPE, "norm": norm}, seed=2)(obs).q_values for norm in ("none", "weight"))
    torch.testing.assert_close(plain, normalized)


@pytest.mark.parametrize("norm", ["none", "weight"])
def test_he_initialization_comes_before_wrapping(norm):
    network = make_network(**{**SHAPE, "norm": norm, "hidden": [200, 200]}, seed=2, init="he")
    for layer, inputs in ((network.torso.layers[1], 4), (network.torso.layers[3], 200), (network.head, 200)):
        bound = (3 / inputs) ** 0.5
        assert layer.weight.detach().abs().max() <= bound + 1e-5
        assert layer.weight.detach().std().item() == pytest.approx(bound / 3**0.5, rel=0.1)
        assert torch.equal(layer.bias.detach(), torch.full_like(layer.bias, 0.1))
    other = make_network(**{**SHAPE, "norm": norm, "hidden": [200, 200]}, seed=3, init="he")
    assert not torch.equal(network.head.weight.detach(), other.head.weight.detach())


@pytest.mark.parametrize(("units", "scale"), [("sqrt", 8**0.5), ("paper", 1.0)])
def test_units_reach_the_layers(units, scale):
    assert make_network(**{**SHAPE, "units": units, "hidden": [8]}).head.scale == pytest.approx(scale)


def test_the_agent_is_put_together_from_both_settings():
    agent = make_dqn(replace(RUN, seed=5), replace(NUMBERS, n_step=3, gamma=0.5, init="he"), Chain(3))
    config = agent.replay.get_state()["config"]
    assert (config["capacity"], config["num_envs"], config["n_step"], config["gamma"]) == (100, 3, 3, 0.5)
    assert (config["obs_shape"], config["obs_dtype"], config["stack"]) == ([5], "torch.float32", 1)
    assert torch.equal(agent.network.head.bias.detach(), torch.full((2,), 0.1))
    assert agent.num_updates == 0


def test_seeds_reach_network_replay_and_exploration():
    agents = [make_dqn(replace(RUN, seed=seed), NUMBERS, Chain(3)) for seed in (0, 0, 1)]
    obs = np.zeros((100, 5), np.float32)
    for read in (
        lambda agent: agent.network.head.v.detach().flatten(),
        lambda agent: agent.replay.get_state()["generator"],
        lambda agent: torch.as_tensor(agent.act(obs, 0)),
    ):
        first, again, other = (read(agent) for agent in agents)
        assert torch.equal(first, again)
        assert not torch.equal(first, other)


def test_a_replay_of_frames_is_stored_once_each():
    run = RunSettings(game="Pong", num_envs=2, device="cpu", hidden=(8,))
    agent = make_dqn(run, replace(NUMBERS, replay_size=1_000), make_training_environment(run))
    assert isinstance(agent.network.torso, NatureCNN)
    assert agent.replay.get_state()["config"]["stack"] == 4
    assert agent.replay.nbytes < 1_100 * 84 * 84


def test_a_replay_larger_than_memory_is_refused_before_it_is_made():
    with pytest.raises(
        ValueError, match=r"a replay of 2,000,000,000 steps needs [\d.]+ GB, [\d.]+ GB are free on cpu: use"
    ):
        make_dqn(replace(RUN, num_envs=1), replace(NUMBERS, replay_size=2_000_000_000), _Wide())


class _Wide(Chain):
    """Observations of a megabyte."""

    def __init__(self):
        super().__init__(1)
        self.obs_shape = (250_000,)


@pytest.mark.parametrize(
    ("change", "message"), [({"norm": "wieght"}, "nearest: weight"), ({"device": "cuda:99"}, "'cuda:99' is not there")]
)
def test_names_that_are_unknown_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        make_dqn(replace(RUN, **change), NUMBERS, Chain(3))


@pytest.mark.parametrize(
    ("n_step", "train_interval", "num_envs"), [(1, 1, 1), (1, 4, 8), (3, 1, 2), (5, 4, 3), (1, 50, 8)]
)
def test_learning_may_start_as_soon_as_there_is_a_transition(n_step, train_interval, num_envs):
    numbers = replace(NUMBERS, n_step=n_step, train_interval=train_interval, batch_size=2)
    least = max(0, n_step * num_envs - train_interval + 1)
    environment = Chain(num_envs)
    agent = make_dqn(RUN, replace(numbers, learning_starts=least), environment)
    Trainer(agent, environment, seed=0).run(60)
    assert agent.num_updates > 0
    if least:
        with pytest.raises(ValueError, match=f"learning_starts must be at least {least} for {num_envs} environments"):
            make_dqn(RUN, replace(numbers, learning_starts=least - 1), environment)


def test_analytic_lengths_reach_the_layers():
    network = make_network(**{**SHAPE, "hidden": [16]}, init="analytic")
    torch.testing.assert_close(network.torso.layers[1].weight.norm(dim=1), torch.full((16,), (2 * 4 / 16) ** 0.5))


@pytest.mark.parametrize("init", ["data", "analytic"])
def test_an_initialization_without_effect_is_refused_before_the_run(init):
    with pytest.raises(ValueError, match="whose lengths its method gives: take 'preserve' or 'he'"):
        make_dqn(replace(RUN, norm="projected"), replace(NUMBERS, init=init), Chain(3))


@pytest.mark.parametrize(("norm", "schedule", "falls"), [
    ("weight", "auto", False), ("projected", "auto", True), ("weight", "linear", True), ("projected", "constant", False)
])  # fmt: skip
def test_the_learning_rate_falls_for_projected_weights_and_on_request(norm, schedule, falls):
    run = replace(RUN, norm=norm, steps=300)
    agent = make_dqn(run, replace(NUMBERS, learning_rate_schedule=schedule, learning_starts=100), Chain(3))
    rates = [agent.figures(step)["train/learning_rate"] for step in (0, 100, 200, 300)]
    assert rates == pytest.approx([1e-4, 1e-4, 5e-5, 0.0] if falls else [1e-4] * 4)


def test_the_optimizer_follows_the_learning_rate():
    run = replace(RUN, norm="projected", steps=300)
    environment = Chain(3)
    agent = make_dqn(run, replace(NUMBERS, learning_starts=30, batch_size=4), environment)
    Trainer(agent, environment, seed=0).run(165)
    assert agent.optimizer.param_groups[0]["lr"] == pytest.approx(5e-5, rel=0.05)
    assert all(module.layer.weight.norm(dim=1).allclose(torch.ones(8)) for module in agent.network.modules()
               if isinstance(module, ProjectedLayer))  # fmt: skip
