"""wnrl.sb3.acting: cheaper twins in the places of normalized layers, up to date whenever they act."""

import copy
import pickle
import statistics
import time

import numpy as np
import pytest
import torch
from stable_baselines3 import DQN, PPO, SAC
from stable_baselines3.common.envs import IdentityEnv, IdentityEnvBox
from stable_baselines3.common.torch_layers import FlattenExtractor
from torch import nn

import wnrl.sb3.dqn
import wnrl.sb3.ppo
import wnrl.sb3.sac
from wnrl.normalizers.normalize import NORMALIZERS, normalize
from wnrl.sb3.acting import Acting
from wnrl.weight_norm.normalized_layer import NormalizedLayer

OBS = np.linspace(-1, 1, 5, dtype=np.float32)[:, None]


def make_network(norm="weight"):
    torch.manual_seed(0)
    return normalize(nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)), norm).eval()


def make_ppo(norm="weight", seed=0, **keywords):
    settings = {"net_arch": [8, 8], "norm": norm, **keywords}
    return PPO(wnrl.sb3.ppo.MlpPolicy, IdentityEnvBox(), n_steps=8, batch_size=4, seed=seed, policy_kwargs=settings)


def make_dqn(**keywords):
    return DQN(wnrl.sb3.dqn.MlpPolicy, IdentityEnv(3), buffer_size=20, learning_starts=2, seed=0, **keywords)


def make_sac(**keywords):
    return SAC(wnrl.sb3.sac.MlpPolicy, IdentityEnvBox(), buffer_size=20, learning_starts=2, seed=0, **keywords)


def unfolded(policy, obs=OBS):
    """The deterministic actions of a policy's layers themselves."""
    policy.set_training_mode(False)
    with torch.enable_grad():
        tensor = policy.obs_to_tensor(obs)[0]
        return policy._predict(tensor, deterministic=True).detach().numpy()


def unfolded_action(policy):
    """`predict` with the layers themselves."""
    return policy.unscale_action(unfolded(policy))


def folded(policy, obs=OBS):
    """What the policy does when asked to act."""
    policy.set_training_mode(False)
    with torch.no_grad():
        return policy._predict(policy.obs_to_tensor(obs)[0], deterministic=True).numpy()


def check_up_to_date(policy):
    np.testing.assert_allclose(folded(policy), unfolded(policy), rtol=1e-4, atol=1e-6)


def change(network, by=0.1):
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(by)


@torch.no_grad()
def acts(acting, network, x):
    with acting:
        return network(x)


@pytest.mark.parametrize("norm", NORMALIZERS)
def test_twins_stand_in_the_places_only_inside(norm):
    network, x = make_network(norm), torch.randn(6, 5)
    acting, layers = Acting(network), list(network)
    change(network)
    expected = network(x).detach()
    with acting:
        inside = list(network)
        with torch.no_grad():
            torch.testing.assert_close(network(x), expected)
    assert list(network) == layers
    normalized = any(isinstance(layer, NormalizedLayer) for layer in inside)
    assert normalized == (norm == "layer")  # which depends on the example


def test_twins_follow_every_change():
    network, x = make_network("mean-batch"), torch.randn(6, 5)
    acting = Acting(network)

    def current():
        torch.testing.assert_close(acts(acting, network, x), network(x).detach())

    current()
    change(network)
    current()
    network.train()(torch.randn(20, 5) + 3)  # a running mean
    network.eval()
    current()
    network.load_state_dict({name: 2 * value for name, value in network.state_dict().items()})
    current()
    for parameter in network.parameters():
        parameter.data = parameter.data * 1.5  # another storage
    current()
    for dtype in (torch.float64, torch.float32):
        x = x.to(dtype)
        network.to(dtype)
        current()
        assert acts(acting, network, x).dtype == dtype
    for parameter in network.parameters():
        parameter.data.mul_(1.1)  # nothing shows it
    assert not torch.allclose(acts(acting, network, x), network(x))
    acting.outdate()
    current()
    before = network(x).detach()
    for layer in (network[0].layer, network[2]):
        layer.v = nn.Parameter(layer.v.detach().flip(1))  # another parameter instead of the old one
    assert not torch.allclose(network(x), before)
    acting.forget()
    current()


def test_twins_are_kept_while_nothing_changes():
    network, refreshed = make_network(), []
    acting = Acting(network)
    with acting:
        first = list(network)
        vars(network[0])["refresh"] = lambda refresh=network[0].refresh: refreshed.append(refresh())
    with acting:
        assert list(network) == first
    assert len(refreshed) == 0
    change(network)
    for _ in range(2):
        with acting:
            assert list(network) == first
    assert len(refreshed) == 1
    acting.outdate()
    with acting:
        assert list(network) == first
    assert len(refreshed) == 2
    acting.forget()
    with acting:
        assert not {*first} & {network[0], network[2]}


def test_entering_again_changes_nothing():
    network = make_network()
    acting, layers = Acting(network), list(network)
    with acting:
        inside = list(network)
        with acting:
            assert list(network) == inside
        assert list(network) == inside
    assert list(network) == layers


class Interrupted(dict):
    """Modules of which one is put in, and then comes a keyboard interrupt."""

    def __setitem__(self, name, value):
        if name == "2" and not isinstance(value, NormalizedLayer):
            raise KeyboardInterrupt
        super().__setitem__(name, value)


def test_layers_are_back_after_an_exception():
    network, x = make_network(), torch.randn(6, 4)
    acting, layers = Acting(network), list(network)
    with pytest.raises(RuntimeError, match="shapes"):
        acts(acting, network, x)
    assert list(network) == layers
    network._modules = Interrupted(network._modules)
    acting = Acting(network)
    with pytest.raises(KeyboardInterrupt):
        acts(acting, network, x)
    assert list(network) == layers


def test_a_layer_that_was_put_in_the_place_of_another_stays():
    network, x = make_network(), torch.randn(6, 5)
    acting = Acting(network)
    acts(acting, network, x)
    new = network[2] = nn.Linear(4, 2)
    torch.testing.assert_close(acts(acting, network, x), network(x).detach())
    assert network[2] is new
    network[0] = make_network()[0]
    change(network[0])
    torch.testing.assert_close(acts(acting, network, x), network(x).detach())


def test_a_shared_layer_has_one_twin():
    shared = nn.Linear(4, 4)
    network = normalize(nn.Sequential(shared, nn.Tanh(), nn.Sequential(shared)), "weight").eval()
    with Acting(network):
        assert not isinstance(network[0], NormalizedLayer)
        assert network[0] is network[2][0]
    assert isinstance(network[0], NormalizedLayer)
    assert network[0] is network[2][0]


def test_target_networks_have_no_twins():
    model = make_dqn()
    policy = model.policy
    model.predict(np.array([1]))
    assert {place.layer for place in policy._acting._places} == {
        layer for layer in policy.q_net.modules() if isinstance(layer, NormalizedLayer)
    }
    policy = make_sac().policy
    policy.predict(OBS)
    acting = {layer for layer in policy.actor.modules() if isinstance(layer, NormalizedLayer)}
    assert {place.layer for place in policy._acting._places} == acting


@pytest.mark.parametrize("norm", NORMALIZERS)
def test_policies_act_alike_after_learning(norm):
    model = make_ppo(norm)
    before = folded(model.policy)
    for _ in range(2):
        model.learn(8)
        check_up_to_date(model.policy)
    assert not np.allclose(folded(model.policy), before, rtol=1e-5, atol=1e-7)


def test_policies_act_alike_after_loading(tmp_path):
    model, other = make_ppo(), make_ppo(seed=1)
    model.learn(8)
    expected = unfolded(model.policy)
    assert not np.allclose(folded(other.policy), expected)
    other.set_parameters(model.get_parameters())
    np.testing.assert_allclose(folded(other.policy), expected, rtol=1e-4, atol=1e-6)
    other = make_ppo(seed=1)
    folded(other.policy)
    other.policy.load_state_dict(model.policy.state_dict())
    np.testing.assert_allclose(folded(other.policy), expected, rtol=1e-4, atol=1e-6)
    other = make_ppo(seed=1)
    folded(other.policy)
    other.policy.load_state_dict(model.policy.state_dict(), assign=True)
    np.testing.assert_allclose(folded(other.policy), expected, rtol=1e-4, atol=1e-6)
    model.save(tmp_path / "model")
    np.testing.assert_allclose(folded(PPO.load(tmp_path / "model").policy), expected, rtol=1e-4, atol=1e-6)


def test_policies_act_alike_after_vectors():
    policy = make_ppo().policy
    vector = policy.parameters_to_vector()
    folded(policy)
    policy.load_from_vector(vector + 1)
    for shift in np.linspace(0.1, 1, 20):  # storages come and go
        policy.load_from_vector(vector + 2 * shift)
        policy.load_from_vector(vector + shift)
        check_up_to_date(policy)


def test_one_look_at_v_after_each_update_and_none_between(monkeypatch):
    model, norms, vector_norm = make_sac(), [], torch.linalg.vector_norm
    model.learn(4)
    model.policy.predict(OBS)
    monkeypatch.setattr(
        torch.linalg, "vector_norm", lambda v, **keywords: norms.append(v) or vector_norm(v, **keywords)
    )
    change(model.policy)
    for _ in range(3):
        actions = model.policy.predict(OBS, deterministic=True)[0]
    layers = [layer for layer in model.policy.actor.modules() if isinstance(layer, NormalizedLayer)]
    assert {id(v) for v in norms} == {id(layer.v) for layer in layers}
    assert len(norms) == len(layers)
    monkeypatch.undo()
    np.testing.assert_allclose(actions, unfolded_action(model.policy), rtol=1e-4, atol=1e-6)


def test_predictions_do_not_depend_on_when_they_were_made():
    model = make_sac()
    for _ in range(3):
        change(model.policy)
        once, again = (model.policy.predict(OBS, deterministic=True)[0] for _ in range(2))
        again = copy.deepcopy(model.policy).predict(OBS, deterministic=True)[0]
        assert np.array_equal(once, again)
        assert np.array_equal(once, again)


def test_policies_act_with_gradients_when_asked():
    policy = make_ppo().policy
    policy.set_training_mode(False)
    policy.get_distribution(torch.as_tensor(OBS)).log_prob(torch.zeros(5, 1)).sum().backward()
    assert all(p.grad is not None for n, p in policy.named_parameters() if n.startswith("action_net"))


def test_inference_mode():
    model = make_ppo()
    with torch.inference_mode():
        model.predict(OBS)
    model.learn(8)
    check_up_to_date(model.policy)
    with torch.inference_mode():
        model = make_ppo()
        before = model.predict(OBS, deterministic=True)[0]
        for parameter in model.policy.parameters():
            parameter.mul_(2)
        assert not np.allclose(model.predict(OBS, deterministic=True)[0], before)


def test_copies_have_twins_of_their_own():
    model = make_ppo()
    folded(model.policy)
    for twin in (copy.deepcopy(model.policy), pickle.loads(pickle.dumps(model.policy))):
        assert twin._acting._places is None
        change(twin)
        check_up_to_date(twin)
        ours = {id(place.twin) for place in model.policy._acting._places}
        assert not ours & {id(place.twin) for place in twin._acting._places}


@pytest.mark.parametrize("tell", [Acting.forget, Acting.outdate])
def test_forgetting_puts_layers_back(tell):
    network = make_network()
    acting, layers = Acting(network), list(network)
    acting.__enter__()  # and an interrupt while the layers were put back
    assert list(network) != layers
    tell(acting)
    assert list(network) == layers
    change(network)
    x = torch.randn(2, 5)
    torch.testing.assert_close(acts(acting, network, x), network(x).detach())


class Counted(FlattenExtractor):
    """Counts how often its mode is set."""

    count = 0

    def train(self, mode=True):
        self.count += 1
        return super().train(mode)


def test_the_mode_is_set_only_when_a_module_has_another():
    policy = make_ppo(features_extractor_class=Counted, features_extractor_kwargs={}).policy
    policy.predict(OBS)
    count = policy.features_extractor.count
    policy.predict(OBS)
    assert policy.features_extractor.count == count
    policy.action_net.train()
    policy.predict(OBS)
    assert not policy.action_net.training
    assert policy.features_extractor.count > count


def seconds(function, times=20):
    start = time.thread_time()
    for _ in range(times):
        function()
    return time.thread_time() - start


@pytest.mark.parametrize("make", [make_dqn, make_sac])
def test_acting_costs_what_the_hosts_policy_costs(make):
    model = make(policy_kwargs={"norm": "weight", "net_arch": [64, 64]})
    host = type(model)("MlpPolicy", model.get_env(), buffer_size=20, policy_kwargs={"net_arch": [64, 64]})
    obs = model.get_env().reset()
    ratios = []
    for _ in range(30):
        times = [seconds(lambda model=each: model.predict(obs, deterministic=True)) for each in (model, host)]
        ratios.append(times[0] / times[1])
    assert statistics.median(ratios) < 1.3  # a loose bound; without folding about 3
