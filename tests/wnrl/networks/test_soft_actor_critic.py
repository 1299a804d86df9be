"""wnrl.networks.soft_actor_critic: a policy and its critics, and what builds them."""

import copy
import pickle

import pytest
import torch
from torch import nn

from wnrl.initialization.data import data_init
from wnrl.networks.architecture import Architecture
from wnrl.networks.heads import DuelingLayer, QuantileValues
from wnrl.networks.policy_heads import CategoricalPolicy, PolicyHead
from wnrl.networks.q_network import QNetwork
from wnrl.networks.soft_actor_critic import PolicyNetwork, SoftActorCritic, soft_actor_critic
from wnrl.networks.torsos import MLP, NatureCNN
from wnrl.normalizers.conversions import NORMALIZERS
from wnrl.normalizers.folding import fold, polyak, refresh
from wnrl.weight_norm.normalized_layer import NormalizedLayer

VECTORS = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
TANH = Architecture(activation="tanh")
each_norm = pytest.mark.parametrize("norm", NORMALIZERS)


def small(**options):
    return soft_actor_critic((3,), 4, **{"hidden": (8, 6), "architecture": TANH} | options)


def test_it_says_its_policy_and_the_values_of_each_critic():
    network = small(critics=3)
    policy, values = network(VECTORS)
    assert type(policy) is CategoricalPolicy
    assert torch.equal(policy.logits, network.policy.head.layer(network.policy.torso(VECTORS)))
    assert values.shape == (3, 5, 4)
    for critic, its in zip(network.critics, values, strict=True):
        assert type(critic) is QNetwork
        assert torch.equal(its, critic(VECTORS).q_values)
    assert not torch.allclose(values[0], values[1])


def test_a_critics_loss_leaves_the_policy_and_the_others_alone():
    network = small()
    network.critics[0](VECTORS).q_values.sum().backward()
    moved = {
        name.rsplit(".torso", 1)[0].rsplit(".head", 1)[0]
        for name, p in network.named_parameters()
        if p.grad is not None
    }
    assert moved == {"critics.0"}


def test_what_is_built_of_images():
    network = soft_actor_critic((2, 36, 36), 4, hidden=(6,))
    assert [type(part.torso) for part in (network.policy, *network.critics)] == [NatureCNN] * 3
    assert network(torch.zeros(5, 2, 36, 36, dtype=torch.uint8)).values.shape == (2, 5, 4)


def test_dueling_and_distributions_are_the_critics():
    network = small(architecture=Architecture(dueling=True, distribution="implicit", noisy=True))
    assert network.policy.torso.out_features == 6
    assert type(network.policy.head) is PolicyHead
    assert network.critics[0].torso.out_features == 8
    assert type(network.critics[1].head.layer) is DuelingLayer
    assert type(network.critics[0](VECTORS, torch.rand(5, 7))) is QuantileValues
    assert network(VECTORS).values.shape == (2, 5, 4)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"critics": 0}, "needs a critic, got none"), ({"norm": "wieght"}, "'wieght'")],
)
def test_what_cannot_be_built_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        small(**options)


def test_parameters_come_from_the_seed_alone():
    first = small(seed=1)
    torch.manual_seed(7)
    state = torch.random.get_rng_state()
    again, other = small(seed=1), small(seed=2)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(first.state_dict().values(), again.state_dict().values(), strict=True))
    assert not torch.equal(first.policy.head.layer.weight, other.policy.head.layer.weight)


@each_norm
def test_each_network_is_normalized_by_itself(norm):
    network = small(norm=norm)
    parts, normalizer = (network.policy, *network.critics), NORMALIZERS[norm]
    assert len(network.output_layers) == 3
    assert network.output_layers == tuple(layer for part in parts for layer in part.output_layers)
    outputs = [isinstance(layer, NormalizedLayer) for layer in network.output_layers]
    assert outputs == [normalizer.normalize_output and normalizer.output is not None] * 3
    hidden = [normalizer.hidden is not None and not normalizer.last_hidden_only, normalizer.hidden is not None]
    for part in parts:
        assert [isinstance(part.torso.layers[i], NormalizedLayer) for i in (1, 3)] == hidden


def test_layers_to_normalize_are_named_in_the_whole():
    network = small(norm="weight", layers=["critics.1.torso.layers.1"])
    names = [name for name, m in network.named_modules() if isinstance(m, NormalizedLayer)]
    assert names == ["critics.1.torso.layers.1"]


@each_norm
@pytest.mark.parametrize("distribution", ["none", "implicit"])
def test_it_learns_and_folds_follow(norm, distribution):
    network = small(norm=norm, architecture=Architecture(activation="tanh", distribution=distribution))
    refreshed, averaged = fold(network).eval(), fold(network).eval()
    outputs = network(VECTORS)
    (outputs.policy.log_prob(outputs.policy.sample()).sum() + outputs.values.square().sum()).backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in network.parameters())
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.sub_(0.01 * parameter.grad)
    network.eval()
    assert not torch.allclose(refreshed(VECTORS).values, network(VECTORS).values)
    refresh(refreshed, network)
    polyak(averaged, network, 1.0)
    for folded in (refreshed, averaged):
        torch.testing.assert_close(folded(VECTORS), network(VECTORS), rtol=1e-4, atol=1e-5)
    critics = fold(network.critics)  # targets without a policy
    polyak(critics, network.critics, 0.5)
    torch.testing.assert_close(critics[0](VECTORS).q_values, network(VECTORS).values[0], rtol=1e-4, atol=1e-5)


@each_norm
def test_copies_have_the_same_function_and_a_floating_state(norm):
    network = small(norm=norm).eval()
    other = small(norm=norm, seed=9).eval()
    other.load_state_dict(network.state_dict())
    assert all(tensor.is_floating_point() for tensor in network.state_dict().values())
    for copied in (copy.deepcopy(network), pickle.loads(pickle.dumps(network)), other):
        assert torch.equal(copied(VECTORS).values, network(VECTORS).values)
        assert torch.equal(copied(VECTORS).policy.logits, network(VECTORS).policy.logits)


@each_norm
def test_heads_are_computed_in_float32_under_autocast(norm):
    network = small(norm=norm)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs, features = network(VECTORS), network.policy.torso(VECTORS)
    assert outputs.policy.logits.dtype == outputs.values.dtype == torch.float32
    assert features.dtype == torch.bfloat16


def test_data_init_takes_policy_and_critics(recwarn):
    network, obs = small(norm="weight"), torch.randn(300, 3)
    data_init(network, obs)
    assert not len(recwarn)
    outputs = network(obs)
    for output in (outputs.policy.logits, *outputs.values):
        torch.testing.assert_close(output.mean(0), torch.zeros(4), atol=1e-3, rtol=0)
        torch.testing.assert_close(output.std(0, correction=0), torch.ones(4), atol=1e-2, rtol=0)


def test_any_policy_will_do():
    policy = PolicyNetwork(MLP((3,), (4,)), PolicyHead(4, 2))
    network = SoftActorCritic(policy, [QNetwork(MLP((3,), (5,)), nn.Linear(5, 2))])
    assert network.output_layers == (policy.head.layer, network.critics[0].head)
