"""wnrl.sb3.policies: what holds for one algorithm of a kind holds for all; the rest is in the contract."""

import copy
import re
import subprocess
import sys
import warnings
from functools import partial

import gymnasium as gym
import numpy as np
import onnxruntime
import pytest
import torch
from sb3_contrib import RecurrentPPO
from stable_baselines3 import A2C, DQN, PPO, SAC, TD3
from stable_baselines3.common.envs import (
    IdentityEnv,
    IdentityEnvBox,
    IdentityEnvMultiBinary,
    IdentityEnvMultiDiscrete,
    SimpleMultiObsEnv,
)
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, MlpExtractor
from stable_baselines3.common.vec_env import DummyVecEnv
from torch import nn
from torch.utils.tensorboard import SummaryWriter

import wnrl.sb3.a2c
import wnrl.sb3.dqn
import wnrl.sb3.ppo
import wnrl.sb3.ppo_recurrent
import wnrl.sb3.sac
import wnrl.sb3.td3
from tests.products import covering
from tests.wnrl.sb3.contract import (
    OFF_POLICY,
    Small,
    close,
    held_names,
    normalized_names,
    observations,
    optimizers,
    seeded_predict,
    targets,
    values,
)
from wnrl.normalizers.conversions import NORMALIZERS
from wnrl.normalizers.describe import describe
from wnrl.normalizers.folding import fold, normalized_layers, remove
from wnrl.normalizers.projection import ProjectedLayer
from wnrl.sb3.policies import NormalizedPolicy
from wnrl.weight_norm.normalized_layer import NormalizedLayer
from wnrl.weight_norm.weight_norm_layer import WeightNormLayer

ON_POLICY = {"n_steps": 8, "batch_size": 4, "n_epochs": 2}
MAKERS = {
    "dqn": (DQN, wnrl.sb3.dqn.MlpPolicy, lambda: IdentityEnv(3), {**OFF_POLICY, "target_update_interval": 8}),
    "a2c": (A2C, wnrl.sb3.a2c.MlpPolicy, IdentityEnvBox, {"n_steps": 8}),
    "ppo": (PPO, wnrl.sb3.ppo.MlpPolicy, IdentityEnvBox, ON_POLICY),
    "sac": (SAC, wnrl.sb3.sac.MlpPolicy, IdentityEnvBox, OFF_POLICY),
    "td3": (TD3, wnrl.sb3.td3.MlpPolicy, IdentityEnvBox, OFF_POLICY),
    "lstm": (RecurrentPPO, wnrl.sb3.ppo_recurrent.MlpLstmPolicy, IdentityEnvBox, ON_POLICY),
}


def make(name, env=None, policy=None, seed=0, keywords=None, **policy_keywords):
    algorithm, ours, environment, settings = MAKERS[name]
    policy_keywords = {"net_arch": [8, 8], **({"lstm_hidden_size": 8} if name == "lstm" else {}), **policy_keywords}
    env = environment() if env is None else env
    settings = {**settings, **(keywords or {})}
    return algorithm(policy or ours, env, seed=seed, policy_kwargs=policy_keywords, device="cpu", **settings)


def kinds(model):
    """Names of the kinds of modules, by path."""
    named = {
        path: module for path, module in model.policy.named_modules() if next(module.parameters(), None) is not None
    }
    return {path: type(module).__name__ for path, module in named.items() if not path.endswith(".norm")}


# Every normalizer


@pytest.mark.parametrize(("name", "norm"), covering(["ppo", "sac", "dqn", "td3", "lstm"], NORMALIZERS))
def test_every_normalizer_learns_saves_copies_and_loads(name, norm, tmp_path):
    model = make(name, norm=norm)
    for learner, target in targets(model.policy):
        assert learner.state_dict().keys() == target.state_dict().keys()
        assert all(torch.equal(value, target.state_dict()[key]) for key, value in learner.state_dict().items())
    before = values(model.policy)
    copied = copy.deepcopy(model.policy)
    model.learn(24)
    assert all(value.isfinite().all() for value in values(model.policy).values())
    assert not close(values(model.policy), before)
    assert close(values(copied), before)
    obs = observations(model)
    expected = seeded_predict(model, obs)
    model.save(tmp_path / "model")
    loaded = MAKERS[name][0].load(tmp_path / "model", env=model.get_env(), device="cpu")
    assert kinds(loaded) == kinds(model)
    np.testing.assert_allclose(seeded_predict(loaded, obs), expected, rtol=1e-5, atol=1e-6)
    loaded.learn(24, reset_num_timesteps=False)
    assert not close(values(loaded.policy), values(model.policy))


@pytest.mark.parametrize("tau", [1.0, 0.25])
@pytest.mark.parametrize("norm", ["weight", "mean-batch", "batch", "layer", "projected"])
def test_target_networks_move_as_the_algorithm_moves_them(norm, tau):
    model = make("dqn", norm=norm, keywords={"tau": tau, "target_update_interval": 1_000})
    learner, target = model.policy.q_net, model.policy.q_net_target
    model.learn(12)
    old = copy.deepcopy(target.state_dict())
    new = learner.state_dict()
    assert any(not torch.equal(new[name], value) for name, value in old.items())  # not moved meanwhile
    statistics = [name for name in new if "running_" in name]
    assert bool(statistics) == (norm in ("mean-batch", "batch"))
    assert all(not torch.equal(new[name], old[name]) for name in statistics)
    model.target_update_interval = 1
    model._on_step()
    for name, value in target.state_dict().items():
        share = 1.0 if name in statistics else tau
        torch.testing.assert_close(value, share * new[name] + (1 - share) * old[name])


@pytest.mark.parametrize("name", ["sac", "td3"])
def test_running_statistics_of_critics_are_copied(name):
    model = make(name, norm="mean-batch", keywords={"tau": 1e-6})
    model.learn(20)  # an even number of updates: every second one of TD3 moves the targets
    for learner, target in targets(model.policy):
        own, theirs = learner.state_dict(), target.state_dict()
        moved = [key for key in own if "running_" in key and own[key].abs().sum() > 0]
        assert moved
        assert all(torch.equal(own[key], theirs[key]) for key in moved)
        assert not all(torch.equal(own[key], theirs[key]) for key in own)


def lengths(policy):
    """Of the rows of every projected layer that learns."""
    layers = [m for n, m in policy.named_modules() if isinstance(m, ProjectedLayer) and "_target" not in n]
    weights = [w for layer in layers for n, w in layer.named_parameters() if n.startswith("weight")]
    return torch.cat([weight.detach().flatten(1).norm(dim=1) for weight in weights])


def projected_step(policy):
    """A step of each optimizer on whatever gradients."""
    for optimizer in optimizers(policy).values():
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = torch.ones_like(parameter)
        optimizer.step()


@pytest.mark.parametrize("name", ["ppo", "sac", "td3", "lstm"])
def test_projected_rows_stay_on_the_unit_sphere(name, tmp_path):
    model = make(name, norm="projected")
    torch.testing.assert_close(lengths(model.policy), torch.ones_like(lengths(model.policy)))
    model.learn(24)
    model.save(tmp_path / "model")
    loaded = MAKERS[name][0].load(tmp_path / "model", env=model.get_env(), device="cpu")
    loaded.learn(24, reset_num_timesteps=False)
    unlearned = make(name, norm="projected").policy
    twin = copy.deepcopy(unlearned)
    twin.set_training_mode(True)
    projected_step(twin)
    for policy in (model.policy, loaded.policy, twin):
        torch.testing.assert_close(lengths(policy), torch.ones_like(lengths(policy)))
    projected_step(unlearned)  # before the policy knows that it will learn
    assert not torch.allclose(lengths(unlearned), torch.ones_like(lengths(unlearned)))


def test_an_optimizer_projects_what_it_moves_and_nothing_else():
    policy = make("sac", norm="projected").policy
    policy.set_training_mode(True)
    policy.set_training_mode(True)
    assert all(len(optimizer._optimizer_step_post_hooks) == 1 for optimizer in optimizers(policy).values())
    with torch.no_grad():
        for layer in (policy.actor.latent_pi[2], policy.critic.qf0[2]):
            layer.weight.mul_(2)
    policy.actor.optimizer.step()
    row = policy.actor.latent_pi[2].weight.norm(dim=1), policy.critic.qf0[2].weight.norm(dim=1)
    torch.testing.assert_close(row[0], torch.ones(8))
    torch.testing.assert_close(row[1], 2 * torch.ones(8))


PLACES = {  # (hidden, output)
    "none": ("Linear", "Linear"),
    "weight": ("WeightNormLinear", "WeightNormLinear"),
    "mean-batch": ("MeanBatchnormWeightNormLinear", "WeightNormLinear"),
    "batch": ("BatchnormLinear", "Linear"),
    "layer": ("LayernormLinear", "Linear"),
    "layer-channels": ("ChannelLayernormLinear", "Linear"),
    "projected": ("ProjectedLinear", "Linear"),
    "layer+projected": ("LayernormProjectedLinear", "Linear"),
    "batch+projected": ("BatchnormProjectedLinear", "Linear"),
    "spectral": ("Linear", "Linear"),
    "weight-clip": ("WeightClippedLinear", "WeightClippedLinear"),
}
HIDDEN = {
    "ppo": ["mlp_extractor.policy_net.0", "mlp_extractor.value_net.0"],
    "sac": ["actor.latent_pi.0", "critic.qf0.0", "critic.qf1.0", "critic_target.qf1.0"],
    "td3": ["actor.mu.0", "actor_target.mu.0", "critic.qf0.0", "critic_target.qf0.0"],
    "dqn": ["q_net.q_net.0", "q_net_target.q_net.0"],
}
LAST_HIDDEN = {name: [path[:-1] + "2" for path in paths] for name, paths in HIDDEN.items()}
OUTPUT = {
    "ppo": ["action_net", "value_net"],
    "sac": ["actor.mu", "actor.log_std", "critic.qf0.4", "critic.qf1.4", "critic_target.qf1.4"],
    "td3": ["actor.mu.4", "actor_target.mu.4", "critic.qf0.4", "critic_target.qf1.4"],
    "dqn": ["q_net.q_net.4", "q_net_target.q_net.4"],
}


@pytest.mark.parametrize("norm", NORMALIZERS)
@pytest.mark.parametrize("name", HIDDEN)
def test_placement(name, norm):
    found, (hidden, output) = kinds(make(name, norm=norm)), PLACES[norm]
    last = "SpectralNormLinear" if norm == "spectral" else hidden  # one layer of each network
    assert [found[path] for path in HIDDEN[name]] == [hidden] * len(HIDDEN[name])
    assert [found[path] for path in LAST_HIDDEN[name]] == [last] * len(LAST_HIDDEN[name])
    outputs = {path: output for path in OUTPUT[name]}
    if norm in ("weight", "mean-batch") and "action_net" in outputs:
        outputs["action_net"] = "Linear"
    assert {path: found[path] for path in OUTPUT[name]} == outputs


@pytest.mark.parametrize("name", HIDDEN)
@pytest.mark.parametrize(("norm", "kind"), [("weight", "WeightNormLinear"), ("spectral", "SpectralNormLinear")])
def test_output_layers_are_normalized_or_not_as_asked(name, norm, kind):
    for choice in (True, False):
        found = kinds(make(name, norm=norm, normalize_output=choice))
        assert [found[path] for path in OUTPUT[name]] == [kind if choice else "Linear"] * len(OUTPUT[name])
        assert [found[path] for path in LAST_HIDDEN[name]] == [kind] * len(LAST_HIDDEN[name])


def test_the_lstm_is_normalized_too():
    found = kinds(make("lstm"))
    assert found["lstm_actor"] == found["lstm_critic"] == "WeightNormLSTM"
    assert kinds(make("lstm", norm="projected"))["lstm_actor"] == "ProjectedLSTM"
    assert kinds(make("lstm", norm="batch"))["lstm_actor"] == "LSTM"


def test_the_last_layer_of_the_value_network_is_hidden():
    found = kinds(make("ppo", net_arch={"pi": [], "vf": [8]}, norm="layer"))
    assert found["mlp_extractor.value_net.0"] == "LayernormLinear"
    assert found["value_net"] == found["action_net"] == "Linear"


# Initialization


@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("ortho_init", [True, False])
def test_orthogonal_initialization_reaches_the_effective_weights(ortho_init, share):
    keywords = {"ortho_init": ortho_init, "share_features_extractor": share, "features_extractor_class": Own}
    model, host = make("ppo", **keywords), make("ppo", policy="MlpPolicy", **keywords)
    assert close(values(fold(model.policy)), values(host.policy))
    weight = make("ppo", normalize_output=True, **keywords).policy.action_net.effective_weight()
    assert torch.allclose(weight.norm(), torch.tensor(0.01), rtol=1e-3) == ortho_init


@pytest.mark.parametrize("units", ["sqrt", "paper", "log"])
def test_units_reach_the_layers(units):
    model = make("sac", units=units)
    assert {m.units for m in model.policy.modules() if isinstance(m, WeightNormLayer)} == {units}
    assert close(values(fold(model.policy)), values(make("sac", policy="MlpPolicy").policy))


class OwnSGD(torch.optim.SGD):
    """Of a user."""


UNITS = {torch.optim.Adam: "sqrt", torch.optim.RMSprop: "sqrt", torch.optim.SGD: "paper", OwnSGD: "paper"}


def units_of(policy):
    return {m.units for m in policy.modules() if isinstance(m, WeightNormLayer)}


@pytest.mark.parametrize("optimizer", UNITS)
@pytest.mark.parametrize("name", ["ppo", "sac"])
def test_units_go_by_the_optimizer_and_are_recorded(name, optimizer, tmp_path):
    keywords = {"optimizer_class": optimizer, "keywords": {"learning_rate": 0.01}}
    model, units = make(name, **keywords), UNITS[optimizer]
    assert units_of(model.policy) == {units}
    assert model.policy._get_constructor_parameters()["units"] == units
    assert units_of(make(name, units="log", **keywords).policy) == {"log"}
    model.learn(16)
    model.save(tmp_path / "model")
    model.policy.save(tmp_path / "policy")
    loaded = (
        MAKERS[name][0].load(tmp_path / "model", device="cpu").policy,
        type(model.policy).load(tmp_path / "policy", device="cpu"),
    )
    for policy in loaded:
        assert units_of(policy) == {units}
        assert close(values(policy), values(model.policy))


@pytest.mark.parametrize("optimizer", UNITS)
def test_models_that_older_versions_saved_had_units_of_the_root(optimizer):
    keywords = {"optimizer_class": optimizer, "keywords": {"learning_rate": 0.01}}
    old, model = make("ppo", units="sqrt", **keywords), make("ppo", seed=1, **keywords)
    state = old.policy.state_dict()
    for metadata in state._metadata.values():
        metadata.pop("units", None)  # which they did not name
    model.policy.load_state_dict(state)
    assert units_of(model.policy) == {UNITS[optimizer]}
    assert close(values(fold(model.policy)), values(fold(old.policy)))
    chosen = make("ppo", seed=1, units="sqrt", **keywords)
    chosen.policy.load_state_dict(state)
    assert close(values(chosen.policy), values(old.policy))


def test_a_step_of_sgd_moves_the_weights_as_in_the_host():
    moved = []
    for policy in (None, "MlpPolicy"):
        model = make("ppo", policy=policy, optimizer_class=torch.optim.SGD, net_arch=[64])
        before = values(fold(model.policy))
        obs = torch.randn(64, 1, generator=torch.Generator().manual_seed(0))
        model.policy.predict_values(obs).square().sum().backward()
        model.policy.optimizer.step()
        moved.append((values(fold(model.policy))["value_net.weight"] - before["value_net.weight"]).norm())
    assert moved[0] / moved[1] < 2  # in units of the root, up to 64


@pytest.mark.parametrize("norm", ["none", "weight", "mean-batch"])
@pytest.mark.parametrize("name", ["dqn", "sac", "td3", "ppo"])
def test_initializations_reach_the_layers_and_the_targets(name, norm):
    for init in ("he", "analytic"):
        model, preserved = make(name, norm=norm, init=init), make(name, norm=norm)
        weights = values(fold(model.policy))
        first = next(key for key in weights if key.endswith(("latent_pi.2.weight", "_net.2.weight", "mu.2.weight")))
        assert not torch.allclose(weights[first], values(fold(preserved.policy))[first])
        for learner, target in targets(model.policy):
            assert all(torch.equal(value, target.state_dict()[key]) for key, value in learner.state_dict().items())
        if init == "he":
            assert all((value == 0.1).all() for key, value in weights.items() if key.endswith("bias"))
        else:  # 8 inputs and 8 outputs: rows of length √2
            torch.testing.assert_close(weights[first].norm(dim=1), 2**0.5 * torch.ones(8))
        again = make(name, norm=norm, init=init)
        assert all(torch.equal(value, values(again.policy)[key]) for key, value in values(model.policy).items())


# What the host's policies take


class Own(BaseFeaturesExtractor):
    """Of a user: with names that the host uses elsewhere, a frozen layer and one without a bias."""

    def __init__(self, observation_space, features_dim=6):
        super().__init__(observation_space, features_dim)
        size = gym.spaces.utils.flatdim(observation_space)
        self.mu = nn.Sequential(nn.Flatten(), nn.Linear(size, 5, bias=False), nn.LayerNorm(5), nn.ReLU())
        self.q_net, self.value_net, self.old_target = nn.Linear(5, features_dim), nn.Identity(), nn.Linear(2, 2)
        self.old_target.requires_grad_(False)

    def forward(self, observations):
        return self.value_net(self.q_net(self.mu(observations)))


@pytest.mark.parametrize(
    ("name", "norm", "share"),
    covering(["ppo", "sac", "td3"], ["weight", "mean-batch", "layer", "spectral"], [True, False], strength=2),
)
def test_features_extractors_of_ones_own_shared_and_not(name, norm, share):
    keywords = {"features_extractor_class": Own, "share_features_extractor": share}
    host = make(name, policy="MlpPolicy", **keywords)
    model = make(name, norm=norm, init="preserve" if norm != "weight" else "he", **keywords)
    path = "features_extractor" if name == "ppo" else "actor.features_extractor"
    assert kinds(model)[f"{path}.q_net"] == PLACES[norm][0]  # hidden, whatever its name
    for part, optimizer in optimizers(model.policy).items():
        held, hosts = held_names(model.policy, optimizer), held_names(host.policy, optimizers(host.policy)[part])
        assert len(held) == len(set(held))
        if norm == "weight":
            assert set(held) == {new for old in hosts for new in normalized_names(model.policy, old)}
        assert any("features_extractor" in each for each in held) == any("features_extractor" in each for each in hosts)
    before = values(model.policy)
    model.learn(24)
    moved = {key for key, value in values(model.policy).items() if not torch.equal(value, before[key])}
    if norm != "mean-batch":  # which hides the mean of Q from the actor where every unit of the critic is linear
        assert any(path in key for key in moved)
    assert not any("old_target" in key for key in moved if not key.startswith(("actor_target", "critic_target")))


def test_a_shared_features_extractor_stays_shared():
    policy = make("td3", features_extractor_class=Own, share_features_extractor=True).policy
    assert policy.actor.features_extractor is policy.critic.features_extractor
    assert isinstance(policy.actor.features_extractor.q_net, WeightNormLayer)
    policy = make("ppo", features_extractor_class=Own).policy
    assert policy.features_extractor is policy.pi_features_extractor is policy.vf_features_extractor
    policy = make("ppo", features_extractor_class=Own, share_features_extractor=False).policy
    assert policy.pi_features_extractor is not policy.vf_features_extractor


@pytest.mark.parametrize(
    ("name", "net_arch"),
    [
        ("ppo", []),
        ("ppo", [8]),
        ("ppo", {"pi": [], "vf": [8]}),
        ("ppo", {"pi": [8, 4], "vf": []}),
        ("lstm", []),
        ("a2c", {"pi": [4], "vf": [4]}),
        ("dqn", []),
        ("dqn", [4]),
        ("sac", []),
        ("sac", {"pi": [4], "qf": [4, 4]}),
        ("td3", {"pi": [], "qf": []}),
    ],
)
def test_forms_of_net_arch(name, net_arch):
    model = make(name, net_arch=net_arch)
    plain = [m for m in model.policy._wnrl_output_layers if not isinstance(m, WeightNormLayer)]
    assert plain == [*model.policy._wnrl_policy_layers] == [m for m in [getattr(model.policy, "action_net", None)] if m]
    assert len(model.policy._wnrl_output_layers) >= 2
    model.learn(16)
    model.predict(observations(model))


@pytest.mark.parametrize("name", ["ppo", "sac"])
@pytest.mark.parametrize(
    ("optimizer", "keywords"),
    [
        (torch.optim.AdamW, {"weight_decay": 0.1}),
        (torch.optim.RMSprop, {"alpha": 0.9}),
        (torch.optim.SGD, {"momentum": 0.9}),
        (torch.optim.Adagrad, {"initial_accumulator_value": 0.5}),
    ],
)
def test_optimizers_and_their_arguments(name, optimizer, keywords, tmp_path):
    model = make(name, optimizer_class=optimizer, optimizer_kwargs=keywords, keywords={"learning_rate": 0.01})
    before = values(model.policy)
    for each in optimizers(model.policy).values():
        assert type(each) is optimizer
        assert len(each.param_groups) == 1
        group = each.param_groups[0]
        assert {key: group[key] for key in (*keywords, "lr")} == {**keywords, "lr": 0.01}
        assert set(each.state) <= set(group["params"])
        assert all(torch.all(state["sum"] == 0.5) for state in each.state.values())  # Adagrad has it from the start
        assert len(each.state) == (len(group["params"]) if optimizer is torch.optim.Adagrad else 0)
    model.learn(24)
    assert not close(values(model.policy), before)
    model.save(tmp_path / "model")
    loaded = type(model).load(tmp_path / "model", env=model.get_env(), device="cpu")
    for part, each in optimizers(loaded.policy).items():
        assert len(each.state) == len(optimizers(model.policy)[part].state) > 0
    loaded.learn(24, reset_num_timesteps=False)


@pytest.mark.parametrize("name", ["ppo", "a2c", "sac"])
def test_state_dependent_exploration(name):
    expln = {} if name == "sac" else {"squash_output": True, "full_std": False}
    keywords = {"use_sde": True, "sde_sample_freq": 4}
    model = make(name, keywords=keywords, log_std_init=-2.0, use_expln=True, **expln)
    before = values(model.policy)
    model.learn(24)
    name = "log_std" if name != "sac" else "actor.log_std"
    assert not torch.equal(dict(model.policy.named_parameters())[name], before[name])
    actions = seeded_predict(model, observations(model), deterministic=False)
    assert (np.abs(actions) <= 1).all()


@pytest.mark.parametrize(
    "env",
    [IdentityEnv(3), IdentityEnvMultiDiscrete(2), IdentityEnvMultiBinary(2), IdentityEnvBox()],
    ids=lambda env: type(env).__name__,
)
def test_spaces(env):
    model, host = make("ppo", env=env), make("ppo", env=env, policy="MlpPolicy")
    assert close(values(fold(model.policy)), values(host.policy))
    model.learn(16)
    assert all(env.action_space.contains(action) for action in model.predict(observations(model))[0])


def test_the_same_seed_is_the_same_run_and_another_is_another():
    runs = [values(make("sac", seed=seed).learn(24).policy) for seed in (0, 0, 1)]
    assert all(torch.equal(runs[0][name], runs[1][name]) for name in runs[0])
    assert not close(runs[0], runs[2])


def test_convolutions():
    keywords = {"features_extractor_kwargs": {"features_dim": 16}, "net_arch": []}
    model = make("ppo", env=Small(True), policy=wnrl.sb3.ppo.CnnPolicy, **keywords)
    assert kinds(model)["features_extractor.cnn.0"] == "WeightNormConv2d"
    model.learn(8)
    obs = observations(model)
    assert obs.dtype == np.uint8
    assert model.predict(obs)[0].shape == (3,)
    spectral = make("ppo", env=Small(True), policy=wnrl.sb3.ppo.CnnPolicy, norm="spectral", **keywords)
    assert kinds(spectral)["features_extractor.linear.0"] == "SpectralNormLinear"
    assert kinds(spectral)["features_extractor.cnn.4"] == "Conv2d"


def test_dictionaries_of_images_in_many_environments():
    env = DummyVecEnv([SimpleMultiObsEnv] * 2)
    keywords = {"features_extractor_kwargs": {"cnn_output_dim": 8}}
    model = make("ppo", env=env, policy=wnrl.sb3.ppo.MultiInputPolicy, **keywords)
    assert kinds(model)["features_extractor.extractors.img.cnn.0"] == "WeightNormConv2d"
    model.learn(16)
    assert len(model.predict(env.reset())[0]) == 2


@pytest.mark.parametrize(
    "keywords", [{"shared_lstm": True, "enable_critic_lstm": False}, {"enable_critic_lstm": False}]
)
@pytest.mark.parametrize("norm", ["weight", "projected", "spectral"])
def test_forms_of_the_lstm(norm, keywords):
    keywords = {**keywords, "n_lstm_layers": 2}
    model, host = make("lstm", norm=norm, **keywords), make("lstm", policy="MlpLstmPolicy", **keywords)
    if norm == "weight":
        assert close(values(fold(model.policy)), values(host.policy))
    model.learn(16)
    obs, state, ours = observations(model), None, []
    for _ in range(3):
        actions, state = model.predict(obs, state, episode_start=np.zeros(3, bool), deterministic=True)
        ours.append(actions)
    assert not np.allclose(ours[0], ours[1], rtol=1e-6, atol=0)


# Policies of a user's own


class Actors(ActorCriticPolicy):
    """A user's policy, whose value network has a name of the host's heads inside."""

    def _build_mlp_extractor(self):
        super()._build_mlp_extractor()
        self.mlp_extractor.value_net = nn.Sequential(nn.Linear(self.features_dim, 8), nn.Tanh())


class NormalizedActors(NormalizedPolicy, Actors):
    pass


class Deeper(wnrl.sb3.ppo.MlpPolicy):
    """A user's policy, made from ours, with an optimizer of its own besides."""

    def _build(self, lr_schedule):
        super()._build(lr_schedule)
        self.second = torch.optim.SGD(self.value_net.parameters(), lr=0.1)


def test_policies_of_ones_own():
    model = make("ppo", policy=NormalizedActors, net_arch={"pi": [8], "vf": [8]})
    assert isinstance(model.policy.mlp_extractor.value_net[0], WeightNormLayer)
    model.learn(16)
    policy = make("ppo", policy=Deeper).policy
    assert held_names(policy, policy.second) == ["value_net.g", "value_net.v", "value_net.bias"]
    with pytest.raises(
        AttributeError, match="'NormalizedActors' object has no attribute 'q_net'; each algorithm takes"
    ):
        make("dqn", policy=NormalizedActors)


# What users do with their own layers


def normalized(policy):
    """Names of the normalized layers, without those of targets."""
    return {name for name, m in normalized_layers(policy).items() if "_target" not in name}


def extractor(build):
    """A features extractor with the network that `build` makes of 1 input and 8 outputs."""

    class Extractor(BaseFeaturesExtractor):
        def __init__(self, space):
            super().__init__(space, 8)
            self.net = build()

        def forward(self, obs):
            return self.net(obs)

    return {"features_extractor_class": Extractor}


def tied():
    net = nn.Sequential(nn.Linear(1, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))
    net[4].weight = net[2].weight
    return net


def hooked():
    layer = nn.Linear(1, 8)
    layer.register_forward_hook(lambda layer, inputs, output: 2 * output)
    return layer


def lazy():
    return nn.LazyLinear(8)


def spectral():
    return nn.utils.parametrizations.spectral_norm(nn.Linear(1, 8))


CANNOT_BE_TAKEN = [
    (spectral, "weight", r"stay plain: layer '\S*features_extractor.net' is parametrized", {"features_extractor.net"}),
    (
        tied,
        "batch",
        r"stay plain: the weight of layer '\S*net.2' is tied .*; the weight of layer '\S*net.4' is tied",
        {"features_extractor.net.2", "features_extractor.net.4"},
    ),
    (tied, "weight", "", set()),
    (hooked, "weight", "", set()),
]


@pytest.mark.parametrize(("build", "norm", "message", "plain"), CANNOT_BE_TAKEN)
@pytest.mark.parametrize("name", ["ppo", "sac"])
def test_a_layer_that_cannot_be_taken_stays_plain_with_a_warning(name, build, norm, message, plain):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = make(name, norm=norm, **extractor(build))
    assert len(caught) == bool(message)
    assert not message or re.search(message, str(caught[0].message))
    prefix = "" if name == "ppo" else "actor."
    layers = {n: m for n, m in model.policy.named_modules() if n.startswith(f"{prefix}features_extractor.net")}
    layers = {n: m for n, m in layers.items() if isinstance(m, nn.Linear)}
    assert {n for n, m in layers.items() if not isinstance(m, NormalizedLayer)} == {prefix + n for n in plain}
    model.learn(16)
    reasons = {row.name: row.reason for row in describe(model.policy).layers}
    assert all(reasons[prefix + n] for n in plain)


def test_layers_are_chosen_by_name_or_by_a_predicate_and_recorded(tmp_path):
    for layers in (["critic.qf0.0", "actor.mu"], lambda name, layer: name in ("critic.qf0.0", "actor.mu")):
        model = make("sac", layers=layers)
        assert normalized(model.policy) == {"critic.qf0.0", "actor.mu"}
        assert isinstance(model.policy.critic_target.qf0[0], WeightNormLayer)
        model.policy.save(tmp_path / "policy")
        assert normalized(type(model.policy).load(tmp_path / "policy")) == normalized(model.policy)
        model.save(tmp_path / "model")
        assert normalized(SAC.load(tmp_path / "model").policy) == normalized(model.policy)
    assert normalized(make("ppo", layers="action_net").policy) == {"action_net"}
    assert normalized(make("ppo", layers=["action_net"], norm="mean-batch").policy) == {"action_net"}
    with pytest.raises(ValueError, match=r"unknown layer 'actor.mue' \(nearest: actor.mu"):
        make("sac", layers=["actor.mue"])
    with pytest.raises(ValueError, match=r"layer 'features_extractor.net' is parametrized"):
        make("ppo", layers=["features_extractor.net"], **extractor(spectral))
    without = make("ppo", layers=lambda name, layer: "net.2" not in name and "net.4" not in name, **extractor(tied))
    assert "features_extractor.net.0" in normalized(without.policy)


@pytest.mark.parametrize("frozen", [True, False])
def test_a_trained_extractor_in_a_new_policy_stays_as_it_is(frozen, tmp_path):
    donor = make("ppo", **extractor(lambda: nn.Linear(1, 8)))
    donor.learn(16)
    donor.save(tmp_path / "donor")
    values_before = {}

    def build():
        net = PPO.load(tmp_path / "donor", device="cpu").policy.features_extractor.net.requires_grad_(not frozen)
        values_before.update(values(net))
        return net

    model = make("ppo", ortho_init=False, **extractor(build))  # the host's initialization would overwrite it
    net = model.policy.features_extractor.net
    assert isinstance(net, WeightNormLayer)
    assert close(values(net), values_before)
    assert isinstance(model.policy.mlp_extractor.policy_net[0], WeightNormLayer)
    held = held_names(model.policy, model.policy.optimizer)
    assert len(held) == len(set(held)) == len(list(model.policy.parameters()))
    model.learn(16)
    assert close(values(net), values_before) == frozen


class Late(wnrl.sb3.ppo.MlpPolicy):
    """Builds its networks after the class that normalizes has built its own."""

    def __init__(self, observation_space, action_space, lr_schedule, **keywords):
        super().__init__(observation_space, action_space, lr_schedule, **keywords)
        self.mlp_extractor = MlpExtractor(self.features_dim, [8], nn.ReLU)
        self.action_net, self.value_net = nn.Linear(8, 1), nn.Linear(8, 1)
        self.optimizer = self.optimizer_class(self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs)


LATER = ["mlp_extractor.policy_net.0", "mlp_extractor.value_net.0", "action_net", "value_net"]


def test_layers_built_afterwards_are_listed_once():
    model = make("ppo", policy=Late)
    with pytest.warns(
        UserWarning, match=f"^{', '.join(LATER)} of Late stay plain, since they were built after"
    ) as seen:
        model.learn(16)
    assert len(seen) == 1
    model.learn(16)  # no warning
    rows = {row.name: row for row in describe(model.policy).layers}
    assert [rows[name].normalizer for name in LATER] == ["none"] * 4
    assert {rows[name].reason for name in LATER} == {"it was built after the policy was normalized"}
    make("ppo", policy=Late, norm="none").learn(16)  # no warning
    make("ppo", policy=Deeper).learn(16)  # built within: none either
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fold(make("ppo").policy).set_training_mode(True)  # plain again, but not built since
        plain = make("ppo")
        remove(plain.policy)
        plain.policy.set_training_mode(True)


class Pretrained(wnrl.sb3.ppo.MlpPolicy):
    """Loads the state of a plain model as soon as its networks are built."""

    def _build(self, lr_schedule):
        super()._build(lr_schedule)
        self.load_state_dict(make("ppo", policy="MlpPolicy", seed=7).policy.state_dict())


def test_a_state_may_be_loaded_before_the_networks_are_normalized():
    policy = make("ppo", policy=Pretrained).policy
    assert isinstance(policy.value_net, WeightNormLayer)
    assert close(values(fold(policy)), values(make("ppo", policy="MlpPolicy", seed=7).policy))


class Decayed(ActorCriticPolicy):
    """Weight decay for weights, none for biases."""

    def _build(self, lr_schedule):
        super()._build(lr_schedule)
        matrices = [p for p in self.parameters() if p.ndim > 1]
        others = [p for p in self.parameters() if p.ndim < 2]
        groups = [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=lr_schedule(1))


class NormalizedDecayed(NormalizedPolicy, Decayed):
    pass


@pytest.mark.parametrize("norm", NORMALIZERS)
def test_parameters_stay_in_the_groups_of_the_host(norm):
    policy = make("ppo", policy=NormalizedDecayed, norm=norm).policy
    names = {id(p): name for name, p in policy.named_parameters()}
    decayed, others = ([names[id(p)] for p in group["params"]] for group in policy.optimizer.param_groups)
    assert sorted(decayed + others) == sorted(names.values())
    new = ("bias", "norm.weight", "log_std") if norm == "batch+projected" else ("bias", "log_std")
    assert not any(name.endswith("bias") and "norm" not in name for name in decayed)
    assert all(name.endswith(new) for name in others)


class OwnNames(wnrl.sb3.ppo.MlpPolicy):
    """Has attributes and a method of names that are ours elsewhere, and a target of no learner."""

    def _build(self, lr_schedule):
        super()._build(lr_schedule)
        self.output_layers, self.policy_layers = nn.Linear(1, 1), [64, 64]
        self.rnd_target = nn.Sequential(nn.Linear(1, 4), nn.ReLU(), nn.Linear(4, 4))
        self.normalized = self._normalize(2.0)
        self.optimizer = self.optimizer_class(self.parameters(), lr=lr_schedule(1))

    def _normalize(self, value):
        return value / 2


@pytest.mark.parametrize("norm", ["none", "weight", "batch", "layer"])
def test_names_of_the_users_own_are_in_nobodys_way(norm):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "100 % of the ratios")  # of batch norm in PPO
        model = make("ppo", policy=OwnNames, norm=norm, init="he" if norm != "layer" else "preserve")
        model.learn(16)
    assert isinstance(model.policy.output_layers, nn.Linear)
    assert model.policy.policy_layers == [64, 64]
    assert model.policy._normalize(4) == 2
    assert isinstance(model.policy.mlp_extractor.policy_net[0], NormalizedLayer) == (norm != "none")


class Lookahead:
    """An optimizer around another, which is not one to torch."""

    def __init__(self, optimizer):
        self.inner = optimizer
        self.param_groups = optimizer.param_groups

    def __getattr__(self, name):
        return getattr(vars(self)["inner"], name)


class OwnAdagrad(torch.optim.Adagrad):
    def __init__(self, params, lr=1e-3):
        super().__init__(params, lr, initial_accumulator_value=0.5)


def with_optimizer(wrap):
    class Policy(wnrl.sb3.ppo.MlpPolicy):
        def _build(self, lr_schedule):
            super()._build(lr_schedule)
            wrap(self)

    return Policy


def in_a_dict(policy):
    policy.all_optimizers = {"adam": vars(policy).pop("optimizer")}
    type(policy).optimizer = property(lambda self: self.all_optimizers["adam"])


def wrapped_in_another(policy):
    policy.optimizer = Lookahead(policy.optimizer)


@pytest.mark.parametrize("norm", ["weight", "batch"])
@pytest.mark.parametrize("wrap", [in_a_dict, wrapped_in_another])
def test_optimizers_in_other_objects_hold_the_new_parameters(norm, wrap):
    model = make("ppo", policy=with_optimizer(wrap), norm=norm)
    held = [parameter for group in model.policy.optimizer.param_groups for parameter in group["params"]]
    assert {*map(id, held)} == {*map(id, model.policy.parameters())}
    model.learn(16)


@pytest.mark.parametrize(
    "optimizer", [partial(torch.optim.AdamW, betas=(0.8, 0.9)), lambda *a, **k: torch.optim.SGD(*a, **k), OwnAdagrad]
)
def test_whatever_makes_an_optimizer_may_be_its_class(optimizer):
    model = make("ppo", optimizer_class=optimizer)
    held = model.policy.optimizer
    expected = "paper" if isinstance(held, torch.optim.SGD) else "sqrt"
    assert {m.units for m in model.policy.modules() if isinstance(m, WeightNormLayer)} == {expected}
    if optimizer is OwnAdagrad:
        assert all(float(state["sum"].min()) == float(state["sum"].max()) == 0.5 for state in held.state.values())
        assert len(held.state) == len([*model.policy.parameters()])
    model.learn(16)


def test_the_advice_to_use_the_cpu_is_the_hosts():
    for policy, count in (("MlpPolicy", 1), (wnrl.sb3.ppo.MlpPolicy, 1), (Deeper, 0)):
        model = make("ppo", policy=policy)
        model.device = "meta"
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model._maybe_recommend_cpu()
        assert len(caught) == count


def test_a_policy_can_be_folded_after_learning():
    for keywords in ({}, {"keywords": {"use_sde": True}}):
        model = make("ppo", **keywords)
        model.learn(16)
        folded, obs = fold(model.policy), observations(model)
        assert not normalized_layers(folded)
        np.testing.assert_allclose(seeded_predict(folded, obs), seeded_predict(model.policy, obs), rtol=1e-5, atol=1e-6)


class Greedy(nn.Module):
    """The most probable actions of a policy."""

    def __init__(self, policy):
        super().__init__()
        self.policy = policy

    def forward(self, obs):
        return self.policy._predict(obs, deterministic=True)


@pytest.mark.filterwarnings("ignore")  # of torch, about tracing
@pytest.mark.parametrize(
    ("name", "gradients", "norm"),
    covering(["ppo", "sac"], [True, False], ["weight", "mean-batch", "batch", "spectral"], strength=2),
)
def test_traces_graphs_in_tensorboard_and_the_older_onnx_exporter(name, norm, gradients, tmp_path):
    model = make(name, norm=norm)
    model.learn(16)
    obs = torch.from_numpy(observations(model))
    network = Greedy(model.policy).eval()
    with torch.set_grad_enabled(gradients):
        expected = network(obs)
        traced = torch.jit.trace(network, obs)
        traced.save(str(tmp_path / "policy.pt"))
        torch.onnx.export(network, (obs,), str(tmp_path / "policy.onnx"), dynamo=False)
    with SummaryWriter(str(tmp_path)) as writer:
        writer.add_graph(network, obs)
    torch.testing.assert_close(torch.jit.load(str(tmp_path / "policy.pt"))(obs), expected)
    session = onnxruntime.InferenceSession(str(tmp_path / "policy.onnx"))
    (actions,) = session.run(None, {session.get_inputs()[0].name: obs.numpy()})
    np.testing.assert_allclose(actions, expected.detach().numpy(), rtol=1e-4, atol=1e-5)


def test_the_names_of_the_host_may_stand_for_ours(monkeypatch):
    monkeypatch.setattr(PPO, "policy_aliases", {"MlpPolicy": wnrl.sb3.ppo.MlpPolicy})
    assert type(make("ppo", policy="MlpPolicy").policy) is wnrl.sb3.ppo.MlpPolicy
    with pytest.raises(TypeError, match=r"^wnrl\.sb3\.dqn: .*DQNPolicy.* of its own module, wnrl\.sb3\.ALGORITHM$"):
        make("ppo", policy=wnrl.sb3.dqn.MlpPolicy)


def test_a_policy_alone_needs_no_algorithm():
    space = gym.spaces.Box(-1, 1, (3,))
    policy = wnrl.sb3.td3.MlpPolicy(space, gym.spaces.Box(-1, 1, (2,)), lambda _: 0.1, [8])
    assert policy.predict(np.zeros((4, 3), np.float32))[0].shape == (4, 2)


# Bad input


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"norm": "wieght"}, r"unknown norm 'wieght' \(nearest: weight\); known: none, weight, mean-batch"),
        ({"norm": None}, "unknown norm 'None'"),
        ({"init": "analytical"}, r"unknown init 'analytical' \(nearest: analytic\); known: preserve"),
        ({"init": None}, "unknown init 'None'"),
        ({"init": "data"}, r"train with callback=wnrl\.sb3\.DataDependentInit\(\) instead"),
        ({"units": "root"}, r"units must be one of \('paper', 'sqrt', 'log'\), got 'root'"),
        ({"units": "root", "norm": "none"}, "units must be one of"),
        (
            {"norm": "batch", "normalize_output": True},
            "does not apply to output layers: leave out normalize_output=True",
        ),
        ({"norm": "layer", "net_arch": []}, "no layer to normalize with 'layer'"),
        ({"norm": "spectral", "net_arch": []}, "no layer to normalize with 'spectral'"),
    ],
)
@pytest.mark.parametrize("name", ["ppo", "dqn"])
def test_bad_arguments_are_named(name, keywords, message):
    with pytest.raises(ValueError, match=message):
        make(name, **keywords)


def test_arguments_of_the_host_are_checked_by_the_host():
    with pytest.raises(TypeError, match="net_arhc"):
        make("ppo", net_arhc=[8])


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"net_arch": 5}, "object"),
        ({"features_extractor_kwargs": {"evil": 1}}, "FlattenExtractor.*'evil'"),
        ({"optimizer_kwargs": {"evil": 1}}, "Adam.*'evil'"),
    ],
)
def test_errors_of_what_the_host_builds_have_no_advice(keywords, message):
    with pytest.raises(TypeError, match=message) as raised:
        make("ppo", **keywords)
    assert "own module" not in str(raised.value)


def test_a_missing_attribute_of_ones_own_has_no_advice():
    with pytest.raises(AttributeError, match=r"object has no attribute 'critics'$"):
        _ = make("ppo").policy.critics


# Other processes


def test_models_load_where_only_the_host_is_imported(tmp_path):
    algorithms = {"stable_baselines3": "ppo", "sb3_contrib": "lstm"}
    for name in algorithms.values():
        model = make(name, norm="mean-batch")
        model.learn(16)
        model.save(tmp_path / name)
        np.save(tmp_path / f"{name}.npy", model.predict(observations(model), deterministic=True)[0])
        np.save(tmp_path / "obs.npy", observations(model))
    code = f"""
import numpy as np
from stable_baselines3 import PPO
from sb3_contrib import RecurrentPPO
for algorithm, name in ((PPO, "ppo"), (RecurrentPPO, "lstm")):
    model = algorithm.load({str(tmp_path)!r} + "/" + name, device="cpu")
    actions = model.predict(np.load({str(tmp_path)!r} + "/obs.npy"), deterministic=True)[0]
    assert np.allclose(actions, np.load({str(tmp_path)!r} + "/" + name + ".npy"), rtol=1e-5), name
    print(type(model.policy).__module__)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["wnrl.sb3.ppo", "wnrl.sb3.ppo_recurrent"], done.stderr
