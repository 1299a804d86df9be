import json
from dataclasses import replace

import pytest
import torch
from torch import nn

from agents.learner.network import (
    check_discrete,
    learning_rate_schedule,
    make_evaluation_environment,
    make_learner,
    make_network,
    make_training_environment,
    network_description,
    obs_dtype,
)
from agents.settings.run import LearnerSettings, RunSettings
from envs import Atari, Chain, Gym
from wnrl.networks.torsos import MLP, ImpalaCNN, NatureCNN
from wnrl.normalizers.folding import fold
from wnrl.weight_norm.dense import WeightNormLinear

RUN = RunSettings(env="Chain", hidden=(8,), device="cpu", num_envs=3)
SHAPE = {
    "kind": "q",
    "obs_shape": [4],
    "num_actions": 3,
    "hidden": [8, 6],
    "architecture": {},
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
    monkeypatch.setattr("agents.learner.network.make", lambda **options: options)
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
    description = network_description("q", replace(RUN, normalize_output=False), Chain(3))
    network, same = (make_network(json.loads(json.dumps(description)), seed=4) for _ in range(2))
    assert type(network.torso.layers[1]) is WeightNormLinear
    assert type(network.head) is nn.Linear
    assert (network.torso.layers[1].in_features, network.head.out_features) == (5, 2)
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), same.parameters(), strict=True))
    assert not torch.equal(network.head.weight, make_network(description, seed=5).head.weight)


@pytest.mark.parametrize(
    ("kind", "options", "outputs"),
    [
        ("q", {}, "QValues"),
        ("actor-critic", {}, "ActorCriticValues"),
        ("soft-actor-critic", {}, "SoftActorCriticValues"),
    ],
)
def test_networks_of_each_kind(kind, options, outputs):
    network = make_network(network_description(kind, RUN, Chain(3), **options), seed=4)
    assert type(network(torch.zeros(2, 5))).__name__ == outputs


@pytest.mark.parametrize(
    ("changes", "torso"),
    [
        ({}, NatureCNN),
        ({"torso": "nature"}, NatureCNN),
        ({"torso": "impala", "impala_width": 2, "impala_blocks": 1}, ImpalaCNN),
    ],
)
def test_torsos_by_name(changes, torso):
    run = RunSettings(game="Pong", num_envs=1, hidden=(8,), **changes)
    description = network_description("q", run, make_training_environment(run))
    assert type(make_network(description).torso) is torso
    assert type(make_network(network_description("q", RUN, Chain(3))).torso) is MLP


def test_the_activation_and_the_agents_architecture_reach_the_network():
    description = network_description("q", replace(RUN, activation="tanh"), Chain(3), {"distribution": "quantile"})
    network = make_network(description)
    assert [module for module in network.modules() if isinstance(module, nn.Tanh)]
    assert network(torch.zeros(2, 5)).quantiles.shape == (2, 2, 200)


def test_normalizing_keeps_the_function_of_the_plain_network():
    obs = torch.randn(20, 4)
    plain, normalized = (make_network({**SHAPE, "norm": norm}, seed=2)(obs).q_values for norm in ("none", "weight"))
    torch.testing.assert_close(plain, normalized)


@pytest.mark.parametrize("norm", ["none", "weight"])
def test_he_initialization_comes_before_wrapping(norm):
    network = make_network({**SHAPE, "norm": norm, "hidden": [200, 200]}, seed=2, init="he")
    for layer, inputs in ((network.torso.layers[1], 4), (network.torso.layers[3], 200), (network.head, 200)):
        bound = (3 / inputs) ** 0.5
        assert layer.weight.detach().abs().max() <= bound + 1e-5
        assert layer.weight.detach().std().item() == pytest.approx(bound / 3**0.5, rel=0.1)
        assert torch.equal(layer.bias.detach(), torch.full_like(layer.bias, 0.1))
    other = make_network({**SHAPE, "norm": norm, "hidden": [200, 200]}, seed=3, init="he")
    assert not torch.equal(network.head.weight.detach(), other.head.weight.detach())


@pytest.mark.parametrize(("units", "scale"), [("sqrt", 8**0.5), ("paper", 1.0)])
def test_units_reach_the_layers(units, scale):
    assert make_network({**SHAPE, "units": units, "hidden": [8]}).head.scale == pytest.approx(scale)


def test_analytic_lengths_reach_the_layers():
    network = make_network({**SHAPE, "hidden": [16]}, init="analytic")
    torch.testing.assert_close(network.torso.layers[1].weight.norm(dim=1), torch.full((16,), (2 * 4 / 16) ** 0.5))


@pytest.mark.parametrize("init", ["data", "analytic"])
def test_an_initialization_without_effect_is_refused(init):
    with pytest.raises(ValueError, match="whose lengths its method gives: take 'preserve' or 'he'"):
        make_network({**SHAPE, "norm": "projected"}, init=init)


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="nearest: weight"):
        make_network({**SHAPE, "norm": "wieght"})
    with pytest.raises(ValueError, match="distribution must be one of none, categorical, quantile, implicit"):
        make_network({**SHAPE, "architecture": {"distribution": "normal"}})


# Learners


def learner(run=RUN, begin=0, **changes):
    settings = LearnerSettings(**changes)
    return make_learner(run, settings, SHAPE, lambda network, obs: network(obs).q_values, begin=begin)


def test_a_learner_has_the_runs_network_and_the_settings_optimizer():
    made, same, other = learner(), learner(), learner(replace(RUN, seed=1))
    assert torch.equal(made.network.head.v, same.network.head.v)
    assert not torch.equal(made.network.head.v, other.network.head.v)
    made = learner(optimizer="adamax", learning_rate=0.5, init="he")
    assert type(made.optimizer) is torch.optim.Adamax
    assert made.optimizer.param_groups[0]["lr"] == 0.5
    assert torch.equal(made.network.head.bias.detach(), torch.full((3,), 0.1))
    assert (made.device, made.num_updates) == (torch.device("cpu"), 0)


@pytest.mark.parametrize(("precision", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_the_precision_reaches_the_learner(precision, dtype):
    assert learner(replace(RUN, precision=precision)).dtype == dtype


@pytest.mark.parametrize("norm", ["none", "weight"])
def test_a_compiled_network_learns_the_same(norm):
    shape, obs, learners = {**SHAPE, "norm": norm}, torch.randn(16, 4), []
    for compiled in (True, False):
        run = replace(RUN, compile=compiled)
        made = make_learner(run, LearnerSettings(learning_rate=0.01), shape, lambda network, obs: network(obs).q_values)
        frames = torch._dynamo.utils.counters["stats"]["unique_graphs"]
        for _ in range(3):
            made.minimize(made.network(obs).q_values.square().mean(), {})
        assert (torch._dynamo.utils.counters["stats"]["unique_graphs"] > frames) is compiled
        learners.append(made)
    torch.testing.assert_close(learners[0].network.state_dict(), learners[1].network.state_dict())
    assert fold(learners[0].network)._compiled_call_impl is None  # what acts is called with batches of many sizes


def test_a_machine_without_a_compiler_is_told(monkeypatch):
    def compile(function, **options):
        raise RuntimeError("backend='inductor' raised:\nInvalidCxxCompiler: No working C++ compiler found\n\nSet X")

    monkeypatch.setattr(torch, "compile", compile)
    with pytest.raises(ValueError, match=r"for cpu, leave --compile out: InvalidCxxCompiler: No working C\+\+") as told:
        learner(replace(RUN, compile=True))
    assert "\n" not in str(told.value)


def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="'cuda:99' is not there"):
        learner(replace(RUN, device="cuda:99"))


@pytest.mark.parametrize(("norm", "schedule", "falls"), [
    ("weight", "auto", False), ("projected", "auto", True), ("weight", "linear", True), ("projected", "constant", False)
])  # fmt: skip
def test_the_learning_rate_falls_for_projected_weights_and_on_request(norm, schedule, falls):
    settings = LearnerSettings(learning_rate=1e-4, learning_rate_schedule=schedule)
    rate = learning_rate_schedule(replace(RUN, norm=norm, steps=300), settings, begin=100)
    expected = [1e-4, 1e-4, 5e-5, 0.0] if falls else [1e-4] * 4
    assert [rate(step) for step in (0, 100, 200, 300)] == pytest.approx(expected)


# Environments' types


def test_observations_have_their_environments_type():
    assert obs_dtype(Chain(1)) == torch.float32
    assert obs_dtype(make_training_environment(RunSettings(game="Pong", num_envs=1))) == torch.uint8


def test_continuous_actions_are_refused_with_what_takes_them():
    check_discrete(Chain(1), "DQN")
    with pytest.raises(ValueError, match=r"DQN takes discrete actions, here they are continuous: use train_ppo\.py"):
        check_discrete(Gym("Pendulum-v1", 1), "DQN")
