"""Policies that act: their layers keep factors from one pass to the next, and are up to date after every change."""

import copy
import pickle
import statistics
import threading
import time

import cloudpickle
import numpy as np
import pytest
import torch
from sb3_contrib import QRDQN, TQC, TRPO, CrossQ, MaskablePPO, RecurrentPPO
from stable_baselines3 import A2C, DDPG, DQN, PPO, SAC, TD3
from stable_baselines3.common.envs import IdentityEnv, IdentityEnvBox
from stable_baselines3.common.torch_layers import FlattenExtractor
from stable_baselines3.common.utils import polyak_update
from torch import nn

from tests.autocast import needs_autocast_lstm
from tests.products import covering, mostly_slow
from tests.wnrl.sb3.contract import (
    OFF_POLICY,
    Masked,
    check_up_to_date,
    network_outputs,
    observations,
    optimizers,
    seeded_predict,
    targets,
)
from wnrl.normalizers.conversions import NORMALIZERS
from wnrl.normalizers.folding import normalized_layers
from wnrl.sb3 import a2c, crossq, ddpg, dqn, ppo, ppo_mask, ppo_recurrent, qrdqn, sac, td3, tqc, trpo
from wnrl.sb3.learner import Learner
from wnrl.weight_norm import factors
from wnrl.weight_norm.weight_norm_layer import WeightNormLayer

ON_POLICY = {"n_steps": 8, "batch_size": 4}
MODELS = {
    "a2c": (A2C, a2c.MlpPolicy, IdentityEnvBox, {"n_steps": 8}),
    "ppo": (PPO, ppo.MlpPolicy, IdentityEnvBox, ON_POLICY),
    "trpo": (TRPO, trpo.MlpPolicy, IdentityEnvBox, ON_POLICY),
    "ppo_mask": (MaskablePPO, ppo_mask.MlpPolicy, lambda: Masked(IdentityEnv(3)), ON_POLICY),
    "ppo_recurrent": (RecurrentPPO, ppo_recurrent.MlpLstmPolicy, IdentityEnvBox, ON_POLICY),
    "dqn": (DQN, dqn.MlpPolicy, lambda: IdentityEnv(3), OFF_POLICY),
    "qrdqn": (QRDQN, qrdqn.MlpPolicy, lambda: IdentityEnv(3), OFF_POLICY),
    "sac": (SAC, sac.MlpPolicy, IdentityEnvBox, OFF_POLICY),
    "td3": (TD3, td3.MlpPolicy, IdentityEnvBox, OFF_POLICY),
    "ddpg": (DDPG, ddpg.MlpPolicy, IdentityEnvBox, OFF_POLICY),
    "tqc": (TQC, tqc.MlpPolicy, IdentityEnvBox, OFF_POLICY),
    "crossq": (CrossQ, crossq.MlpPolicy, IdentityEnvBox, OFF_POLICY),
}
KINDS = ["ppo", "ppo_recurrent", "dqn", "td3"]  # one policy, one with memory, values, and actors with critics


def make(name, norm="weight", seed=0, **policy_keywords):
    algorithm, policy, env, settings = MODELS[name]
    np.random.seed(0)
    memory = {"lstm_hidden_size": 8} if name == "ppo_recurrent" else {}
    keywords = {"net_arch": [8, 8], "norm": norm, **memory, **policy_keywords}
    return algorithm(policy, env(), seed=seed, policy_kwargs=keywords, device="cpu", **settings)


def weighted(policy):
    """The weight-normalized layers, those of targets too."""
    return [module for module in policy.modules() if isinstance(module, WeightNormLayer)]


def keeps_factors(policy):
    return any(vars(layer).get("_factors") for layer in weighted(policy))


# Every change


@torch.no_grad()
def in_place(model):
    for parameter in model.policy.parameters():
        parameter.mul_(1.5).add_(0.1)


@torch.no_grad()
def in_single_entries(model):
    for parameter in model.policy.parameters():
        parameter.view(-1)[-1] = 3.0


def by_an_optimizer(model):
    for optimizer in optimizers(model.policy).values():
        for group in optimizer.param_groups:
            group["lr"] = 0.1
            for parameter in group["params"]:
                parameter.grad = torch.rand_like(parameter)
        optimizer.step()


def through_data(model):
    for parameter in model.policy.parameters():
        parameter.data.mul_(1.3)


def lengths_through_data(model):
    for layer in weighted(model.policy):
        for name in layer.weight_names:
            layer.pair(name)[1].data[-1] += 0.5


def rows_through_data(model):
    for layer in weighted(model.policy):
        for name in layer.weight_names:
            v, _ = layer.pair(name)
            v.data[-1] = torch.rand_like(v[-1])


def to_other_storages(model):
    for parameter in model.policy.parameters():
        parameter.data = parameter.data * 1.5


def with_other_parameters(model):
    for layer in weighted(model.policy):
        for name, parameter in list(layer._parameters.items()):
            setattr(layer, name, nn.Parameter(1.5 * parameter.detach()))


@torch.no_grad()
def by_the_weights(model):
    for layer in weighted(model.policy):
        for name in layer.weight_names:
            nn.init.normal_(getattr(layer, name))


def doubled(policy):
    state = policy.state_dict()
    for name, value in state.items():
        state[name] = 2 * value
    return state


def by_types(model):
    model.policy.double()
    in_place(model)
    model.policy.float()


def by_a_vector(model):
    vector = model.policy.parameters_to_vector()
    for factor in (2.0, 3.0, 1.2):  # storages come and go
        model.policy.load_from_vector(factor * vector)


def by_soft_updates(model):
    for learner, target in targets(model.policy):
        with torch.no_grad():
            for parameter in learner.parameters():
                parameter.add_(0.5)
        polyak_update(learner.parameters(), target.parameters(), 0.3)


CHANGES = {
    "in place": in_place,
    "in single entries": in_single_entries,
    "by an optimizer": by_an_optimizer,
    "through data": through_data,
    "lengths through data": lengths_through_data,
    "rows through data": rows_through_data,
    "to other storages": to_other_storages,
    "with other parameters": with_other_parameters,
    "by the weights": by_the_weights,
    "by a state": lambda model: model.policy.load_state_dict(doubled(model.policy)),
    "by an assigned state": lambda model: model.policy.load_state_dict(doubled(model.policy), assign=True),
    "by another model": lambda model: model.set_parameters(make_like(model).get_parameters()),
    "by types": by_types,
    "by a vector": by_a_vector,
    "by learning": lambda model: model.learn(16),
}


def make_like(model):
    names = {algorithm: name for name, (algorithm, *_) in MODELS.items()}
    return make(names[type(model)], seed=1)


def check_change(model, change):
    policy = model.policy
    before = network_outputs(policy, False)
    assert keeps_factors(policy)
    assert torch.equal(network_outputs(policy, False), before)
    change(model)
    acting = network_outputs(policy, False)
    assert not torch.allclose(acting, before, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(acting, network_outputs(policy, True), rtol=1e-4, atol=1e-5)
    check_up_to_date(policy)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", KINDS)
def test_policies_follow_every_change(name, change):
    check_change(make(name), CHANGES[change])


@pytest.mark.parametrize("name", ["dqn", "sac", "td3"])
def test_targets_follow_soft_updates(name):
    model = make(name)
    check_change(model, by_soft_updates)
    (_, target), *_ = targets(model.policy)
    before = copy.deepcopy(target.state_dict())
    check_change(model, by_soft_updates)
    assert all(not torch.equal(before[key], value) for key, value in target.state_dict().items() if key.endswith(".g"))


@pytest.mark.filterwarnings("ignore:.* of the ratios")  # of batch statistics
@pytest.mark.parametrize(("name", "norm"), covering(MODELS, [norm for norm in NORMALIZERS if norm != "none"]))
def test_every_algorithm_and_normalizer_after_learning_and_loading(name, norm, tmp_path):
    model = make(name, norm)
    network_outputs(model.policy, False)
    before = network_outputs(model.policy, False)
    for _ in range(2):
        model.learn(16)
        check_up_to_date(model.policy)
    expected = network_outputs(model.policy, False)
    assert not torch.equal(expected, before)
    model.save(tmp_path / "model")
    other = make(name, norm, seed=1)
    network_outputs(other.policy, False)
    other.set_parameters(model.get_parameters())
    for policy in (type(model).load(tmp_path / "model", device="cpu").policy, other.policy):
        torch.testing.assert_close(network_outputs(policy, False), expected, rtol=1e-4, atol=1e-5)
        check_up_to_date(policy)


@pytest.mark.parametrize("norm", [norm for norm in NORMALIZERS if norm != "none"])
def test_targets_keep_nothing(norm):
    """Also where the host would not see that they are averaged, as on a GPU, within one call of `train`."""
    model = make("td3", norm)
    network_outputs(model.policy, False)
    layers = [layer for _, target in targets(model.policy) for layer in normalized_layers(target).values()]
    assert layers
    assert not any({"_factors", "_kept"} & vars(layer).keys() for layer in layers)


@pytest.mark.parametrize("norm", [norm for norm in NORMALIZERS if norm != "none"])
def test_targets_follow_soft_updates_where_values_are_not_compared(norm, monkeypatch):
    monkeypatch.setattr(factors, "is_compared", lambda tensor: False)  # as on a GPU
    model = make("td3", norm)
    network_outputs(model.policy, False)
    by_soft_updates(model)
    check_up_to_date(model.policy)


@pytest.mark.parametrize("name", MODELS)
def test_learners_keep_factors_where_values_are_not_compared(name, monkeypatch):
    monkeypatch.setattr(factors, "is_compared", lambda tensor: False)  # as on a GPU
    model = make(name)
    network_outputs(model.policy, False)
    assert keeps_factors(model.policy)
    model.learn(16)
    check_up_to_date(model.policy)
    through_data(model)
    model.policy.set_training_mode(True)
    check_up_to_date(model.policy)


def test_a_layer_in_the_place_of_another():
    model = make("ppo")
    check_change(model, lambda model: setattr(model.policy, "action_net", nn.Linear(8, 1)))
    check_change(model, lambda model: setattr(model.policy, "action_net", make("ppo", seed=1).policy.action_net))


# What is kept, and where


def test_norms_are_computed_once_after_a_change_and_not_between(monkeypatch):
    model, computed, factor = make("sac"), [], WeightNormLayer.factor
    obs = observations(model)
    model.predict(obs)
    monkeypatch.setattr(WeightNormLayer, "factor", lambda layer, *of: computed.append(layer) or factor(layer, *of))
    in_place(model)
    for _ in range(3):
        model.predict(obs, deterministic=True)
    layers = weighted(model.policy.actor)
    assert len(computed) == len(layers)
    assert set(computed) == set(layers)


@pytest.mark.parametrize("name", KINDS)
def test_predictions_do_not_depend_on_when_they_are_made(name):
    model = make(name)
    obs = observations(model)
    for _ in range(3):
        in_place(model)
        once, again = (seeded_predict(model, obs) for _ in range(2))
        copied = seeded_predict(copy.deepcopy(model.policy), obs)
        assert np.array_equal(once, again)
        assert np.array_equal(once, copied)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda policy: pickle.loads(cloudpickle.dumps(policy))])
@pytest.mark.parametrize("name", KINDS)
def test_copies_keep_factors_of_their_own(name, copied):
    model = make(name)
    expected = network_outputs(model.policy, False)
    assert keeps_factors(model.policy)
    twin = copied(model.policy)
    assert not keeps_factors(twin)
    assert torch.equal(network_outputs(twin, False), expected)
    in_place(model)
    assert torch.equal(network_outputs(twin, False), expected)
    through_data(model)
    check_up_to_date(twin)
    check_up_to_date(model.policy)


def test_policies_act_with_gradients_when_asked():
    policy = make("ppo").policy
    network_outputs(policy, False)
    policy.get_distribution(torch.ones(5, 1)).log_prob(torch.zeros(5, 1)).sum().backward()
    assert all(p.grad is not None for name, p in policy.named_parameters() if name.startswith("action_net"))


def test_inference_mode():
    model = make("ppo")
    obs = observations(model)
    with torch.inference_mode():
        model.predict(obs)
    model.learn(8)
    check_up_to_date(model.policy)
    with torch.inference_mode():
        model = make("ppo")
        before = model.predict(obs, deterministic=True)[0]
        in_place(model)
        assert not np.allclose(model.predict(obs, deterministic=True)[0], before)


@pytest.mark.parametrize("name", KINDS)
def test_autocast(name):
    needs_autocast_lstm(name == "ppo_recurrent")
    policy = make(name).policy
    full = network_outputs(policy, False)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        acting, expected = network_outputs(policy, False), network_outputs(policy, True)
    torch.testing.assert_close(acting.float(), expected.float(), rtol=3e-2, atol=2e-2)
    assert not torch.equal(acting.float(), full)
    assert torch.equal(network_outputs(policy, False), full)


# Hooks and modes


@pytest.mark.parametrize("norm", NORMALIZERS)
@pytest.mark.parametrize("name", KINDS)
def test_hooks_run_and_what_they_return_counts(name, norm):
    model, called = make(name, norm), []
    before = network_outputs(model.policy, False)
    for path, layer in normalized_layers(Learner(model.policy)).items():
        layer.register_forward_pre_hook(lambda *_, path=path: called.append(path))
        if not isinstance(layer, nn.LSTM):
            layer.register_forward_hook(lambda module, inputs, output: output + 0.5)
    after = network_outputs(model.policy, False)
    assert set(called) == set(normalized_layers(Learner(model.policy)))
    assert torch.allclose(after, before) == (norm == "none")
    check_up_to_date(model.policy)


class Counted(FlattenExtractor):
    """Counts how often its mode is set."""

    count = 0

    def train(self, mode=True):
        self.count += 1
        return super().train(mode)


def test_the_mode_is_set_only_when_a_module_has_another():
    model = make("ppo", features_extractor_class=Counted, features_extractor_kwargs={})
    policy, obs = model.policy, observations(model)
    policy.predict(obs)
    count = policy.features_extractor.count
    policy.predict(obs)
    assert policy.features_extractor.count == count
    policy.action_net.train()
    policy.predict(obs)
    assert not policy.action_net.training
    assert policy.features_extractor.count > count
    policy.set_training_mode(True)
    assert all(module.training for module in policy.modules())


@pytest.mark.parametrize("name", ["ppo", "sac", "crossq"])
def test_statistics_of_a_batch_stay_while_acting(name):
    model = make(name, "mean-batch")
    model.learn(16)
    before = copy.deepcopy(model.policy.state_dict())
    model.predict(observations(model))
    assert all(torch.equal(before[key], value) for key, value in model.policy.state_dict().items())


# Threads


@pytest.mark.parametrize("name", mostly_slow(KINDS, "ppo", "td3"))
def test_threads_act_while_another_trains(name):
    model = make(name)
    policy, obs, errors = model.policy, observations(model), []
    policy.set_training_mode(False)

    def act(stop):
        try:
            while not stop.is_set():
                assert np.isfinite(policy.predict(obs, deterministic=True)[0]).all()
        except Exception as error:
            errors.append(error)

    for _ in range(3):
        stop = threading.Event()
        threads = [threading.Thread(target=act, args=(stop,)) for _ in range(2)]
        before = network_outputs(policy, False)
        for thread in threads:
            thread.start()
        for _ in range(20):
            if name in ("dqn", "td3"):  # actor-critics of the host keep one distribution for all threads
                network_outputs(policy, True)
            by_an_optimizer(model)
        stop.set()
        for thread in threads:
            thread.join()
        assert not errors
        assert not torch.allclose(network_outputs(policy, False), before, rtol=1e-3)
        check_up_to_date(policy)


# Costs


def seconds(function, times=20):
    start = time.thread_time()
    for _ in range(times):
        function()
    return time.thread_time() - start


@pytest.mark.parametrize("name", ["ppo", "dqn", "sac"])
def test_acting_costs_about_what_the_hosts_policy_costs(name):
    model = make(name, net_arch=[64, 64])
    host = type(model)(
        "MlpPolicy", model.get_env(), policy_kwargs={"net_arch": [64, 64]}, device="cpu", **MODELS[name][3]
    )
    obs = model.get_env().reset()
    ratios = []
    for _ in range(30):
        times = [seconds(lambda model=each: model.predict(obs, deterministic=True)) for each in (model, host)]
        ratios.append(times[0] / times[1])
    assert statistics.median(ratios) < 1.4  # a loose bound; if nothing were kept, about 3
