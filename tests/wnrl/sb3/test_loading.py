"""wnrl.sb3.loading: states of plain models, and of older normalized ones, in normalized policies."""

import copy
import pickle
import warnings

import numpy as np
import pytest
import torch
from sb3_contrib import TRPO, RecurrentPPO
from stable_baselines3 import DQN, PPO, SAC
from stable_baselines3.common.envs import IdentityEnv, IdentityEnvBox

import wnrl.sb3.dqn
import wnrl.sb3.ppo
import wnrl.sb3.ppo_recurrent
import wnrl.sb3.sac
import wnrl.sb3.trpo
from tests.products import covering
from tests.wnrl.sb3.contract import OFF_POLICY, Small, close, observations, optimizers, seeded_predict, values
from wnrl.normalizers.folding import fold
from wnrl.weight_norm.weight_norm_layer import WeightNormLayer

ON_POLICY = {"n_steps": 8, "batch_size": 4, "n_epochs": 2}
SMALL = {"features_extractor_kwargs": {"features_dim": 8}}
KINDS = {
    "ppo": (PPO, wnrl.sb3.ppo.MlpPolicy, "MlpPolicy", IdentityEnvBox, ON_POLICY, {}),
    "cnn": (PPO, wnrl.sb3.ppo.CnnPolicy, "CnnPolicy", lambda: Small(True), ON_POLICY, SMALL),
    "dqn": (DQN, wnrl.sb3.dqn.MlpPolicy, "MlpPolicy", lambda: IdentityEnv(3), OFF_POLICY, {}),
    "sac": (SAC, wnrl.sb3.sac.MlpPolicy, "MlpPolicy", IdentityEnvBox, OFF_POLICY, {}),
    "lstm": (
        RecurrentPPO,
        wnrl.sb3.ppo_recurrent.MlpLstmPolicy,
        "MlpLstmPolicy",
        lambda: IdentityEnv(3),
        ON_POLICY,
        {"lstm_hidden_size": 8},
    ),
}


def plain(kind, trained=True):
    algorithm, _, name, env, keywords, own = KINDS[kind]
    np.random.seed(0)
    model = algorithm(name, env(), seed=1, device="cpu", policy_kwargs={"net_arch": [8], **own}, **keywords)
    return model.learn(24) if trained else model


def ours(kind, **policy_keywords):
    algorithm, policy, _, env, keywords, own = KINDS[kind]
    policy_keywords = {"net_arch": [8], **own, **policy_keywords}
    return algorithm(policy, env(), seed=2, device="cpu", policy_kwargs=policy_keywords, **keywords)


def same_function(first, second):
    obs = observations(first)
    np.testing.assert_allclose(seeded_predict(first, obs), seeded_predict(second, obs), rtol=1e-4, atol=1e-5)
    assert close(values(fold(first.policy)), values(fold(second.policy)))


@pytest.mark.filterwarnings("ignore:the optimizer's state is that of a model with other parameters")
@pytest.mark.parametrize(
    ("norm", "kind", "strict"),
    covering(["weight", "mean-batch", "batch", "projected"], KINDS, [True, False]),
)
def test_a_plain_model_is_converted_by_every_way_of_loading(kind, norm, strict, tmp_path):
    host = plain(kind)
    host.save(tmp_path / "host")
    if norm == "projected":  # rows of another length are another function
        with torch.no_grad():
            loaded = ours(kind, norm=norm)
            before = values(loaded.policy)
            loaded.policy.load_state_dict(host.policy.state_dict(), strict=strict)
        assert not close(values(loaded.policy), before)
        return
    for load in (
        lambda model: model.policy.load_state_dict(host.policy.state_dict(), strict=strict),
        lambda model: model.set_parameters(host.get_parameters(), exact_match=strict),
        lambda model: model.set_parameters(str(tmp_path / "host.zip"), exact_match=strict),
    ):
        model = ours(kind, norm=norm)
        assert not close(values(fold(model.policy)), values(host.policy))
        load(model)
        same_function(model, host)
        model.learn(24)
    custom = {"policy_class": KINDS[kind][1]}
    model = KINDS[kind][0].load(tmp_path / "host", env=KINDS[kind][3](), custom_objects=custom, device="cpu")
    assert any(isinstance(m, WeightNormLayer) for m in model.policy.modules())
    same_function(model, host)
    model.learn(24)


def by_name(policy, optimizer):
    """What the optimizer keeps for each parameter."""
    names = {id(p): name for name, p in policy.named_parameters()}
    return {names[id(p)]: state for p, state in optimizer.state.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_moments_of_the_same_shape_are_kept_and_one_line_says_so(kind):
    host, model = plain(kind), ours(kind)
    parts = optimizers(host.policy)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.set_parameters(host.get_parameters())
    assert len(caught) == len(parts)
    for part, optimizer in optimizers(model.policy).items():
        theirs, own = by_name(host.policy, parts[part]), by_name(model.policy, optimizer)
        lengths = {name for name, _ in model.policy.named_parameters() if name.rpartition(".")[2].startswith("g")}
        held = {name for name, p in model.policy.named_parameters() if id(p) in held_ids(optimizer)}
        assert {*own} == held - lengths
        count = f"{len(held - lengths)} of the {len(held)} here keep theirs"
        assert sum(count in str(warning.message) for warning in caught) >= 1
        for name, state in own.items():
            path, _, leaf = name.rpartition(".")
            plain_name = name if name in theirs else f"{path}.{leaf.replace('v', 'weight', 1)}"
            assert torch.equal(state["exp_avg"], theirs[plain_name]["exp_avg"])
            assert torch.equal(state["exp_avg_sq"], theirs[plain_name]["exp_avg_sq"])
    model.learn(24)


def held_ids(optimizer):
    return {id(p) for group in optimizer.param_groups for p in group["params"]}


def test_the_hyperparameters_of_groups_are_loaded_too():
    host, model = plain("ppo"), ours("ppo")
    host.policy.optimizer.param_groups[0]["lr"] = 0.123
    with pytest.warns(UserWarning, match="keep theirs"):
        model.set_parameters(host.get_parameters())
    assert model.policy.optimizer.param_groups[0]["lr"] == 0.123
    assert model.policy.optimizer.param_groups[0]["params"] == [*model.policy.parameters()]


def test_a_model_of_the_same_form_loads_as_ever():
    model, other = ours("ppo"), ours("ppo")
    model.learn(24)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        other.set_parameters(model.get_parameters())
    assert by_name(other.policy, other.policy.optimizer).keys() == by_name(model.policy, model.policy.optimizer).keys()
    assert close(values(other.policy), values(model.policy))
    fresh = plain("ppo", trained=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing is lost
        other.set_parameters(fresh.get_parameters())


@pytest.mark.parametrize("kind", ["ppo", "cnn", "lstm"])
@pytest.mark.parametrize("norm", ["weight", "mean-batch"])
def test_models_with_a_normalized_policy_layer_are_loaded(kind, norm, tmp_path):
    older = ours(kind, norm=norm, normalize_output=True)
    older.learn(24)
    model = ours(kind, norm=norm)
    with pytest.warns(UserWarning, match=r"keep theirs") as seen:
        model.set_parameters(older.get_parameters())
    assert len(seen) == 1
    same_function(model, older)
    moments, theirs = (by_name(m.policy, m.policy.optimizer) for m in (model, older))
    assert torch.equal(moments["action_net.weight"]["exp_avg"], theirs["action_net.v"]["exp_avg"])
    assert torch.equal(moments["value_net.g"]["exp_avg"], theirs["value_net.g"]["exp_avg"])
    model.learn(24)


WAYS = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda policy: pickle.loads(pickle.dumps(policy)),
    "twice": lambda policy: copy.deepcopy(copy.deepcopy(policy)),
}


@pytest.mark.parametrize(("kind", "way"), covering(["ppo", "dqn", "sac"], WAYS))
def test_a_copied_policy_takes_states_of_plain_models(kind, way):
    host, model = plain(kind), ours(kind)
    policy = WAYS[way](model.policy)
    model.policy.load_state_dict(host.policy.state_dict())
    policy.load_state_dict(host.policy.state_dict())
    assert close(values(fold(copy.deepcopy(policy))), values(host.policy))
    held = (optimizers(one).values() for one in (model.policy, host.policy, policy))
    for original, theirs, copied in zip(*held, strict=True):
        for one in (original, copied):
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                one.load_state_dict(theirs.state_dict())
            assert len(said) == 1
        assert len(copied.state) == len(original.state) > 0


def test_an_optimizer_that_copies_share_is_converted_once():
    policy = ours("ppo").policy
    assert copy.copy(policy).optimizer is policy.optimizer
    assert len(policy.optimizer._optimizer_load_state_dict_pre_hooks) == 1


@pytest.mark.parametrize("keywords", [{"optimizer_class": torch.optim.SGD}, {"units": "paper"}, {}])
@pytest.mark.parametrize(("algorithm", "module"), [(TRPO, wnrl.sb3.trpo), (PPO, wnrl.sb3.ppo)])
def test_a_dict_of_a_state_is_in_the_units_of_the_layers(algorithm, module, keywords):
    policy = algorithm(module.MlpPolicy, IdentityEnvBox(), seed=1, device="cpu", policy_kwargs=dict(keywords)).policy
    before, state = values(fold(policy)), {name: value.clone() for name, value in policy.state_dict().items()}
    with torch.no_grad():
        for name, parameter in policy.named_parameters():
            parameter.mul_(0.5 if name.endswith(".g") else 1.0)
    assert not close(values(fold(policy)), before)
    policy.load_state_dict(state)
    assert close(values(fold(policy)), before)


def test_what_fits_nothing_is_refused_as_by_the_host():
    model = ours("ppo")
    state = copy.deepcopy(plain("ppo").get_parameters())
    state["policy.optimizer"]["param_groups"][0]["params"].append(99)
    with pytest.raises(ValueError, match="doesn't match the size"):
        model.set_parameters(state)
    state = copy.deepcopy(plain("ppo").get_parameters())
    del state["policy"]["action_net.weight"]
    with pytest.raises(RuntimeError, match="Missing key"):
        model.set_parameters(state)
    other = plain("ppo").policy.state_dict()
    other["mlp_extractor.policy_net.0.weight"] = torch.ones(3, 3)
    with pytest.raises((RuntimeError, ValueError), match=r"mlp_extractor.policy_net.0"):
        model.policy.load_state_dict(other)
