"""wnrl.networks.actor_critic: policies and values put together, and what builds them."""

import copy
import math
import pickle

import pytest
import torch
from torch import nn

from wnrl.initialization.analytic import analytic_init
from wnrl.initialization.data import data_init
from wnrl.networks.actor_critic import ActorCritic, RecurrentActorCritic, actor_critic
from wnrl.networks.architecture import Architecture
from wnrl.networks.lstm_core import LSTMCore
from wnrl.networks.noisy import NoisyLinear
from wnrl.networks.observation_norm import RunningNorm
from wnrl.networks.policy_heads import GaussianPolicyHead, PolicyHead, ValueHead
from wnrl.networks.torsos import MLP, ImpalaCNN, NatureCNN
from wnrl.normalizers.conversions import NORMALIZERS
from wnrl.normalizers.folding import fold, polyak, refresh
from wnrl.normalizers.normalize import normalize
from wnrl.weight_norm.normalized_layer import NormalizedLayer
from wnrl.weight_norm.weight_norm_layer import WeightNormLayer

IMAGES = torch.randint(0, 256, (5, 2, 36, 36), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
VECTORS = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
TANH = Architecture(activation="tanh")
SHAPES = {
    "shared": {"separate": False},
    "separate": {"separate": True},
    "recurrent": {"lstm": 5},
    "normalized observations": {"normalize_obs": True},
}
each_shape = pytest.mark.parametrize("options", SHAPES.values(), ids=SHAPES.keys())
each_norm = pytest.mark.parametrize("norm", NORMALIZERS)


def small(obs_shape=(3,), **options):
    options = {"num_actions": 4} | options
    if len(obs_shape) == 1:  # all the few units of a ReLU may be dead
        options = {"hidden": (8, 6), "architecture": TANH} | options
    return actor_critic(obs_shape, **{"hidden": (6,)} | options)


def call(network, obs=VECTORS):
    """Its outputs for one step."""
    if isinstance(network, ActorCritic):
        return network(obs)
    outputs, _ = network(obs[None], network.initial_state(len(obs)), torch.zeros(1, len(obs)))
    return outputs


def joined(policy=PolicyHead, norm="none", value_torso=None):
    return normalize(ActorCritic(MLP((3,), (6,)), policy(6, 4), ValueHead(6), value_torso), norm)


def recurrent(norm="none", obs_shape=(3,)):
    torso = MLP(obs_shape, (6,)) if len(obs_shape) == 1 else ImpalaCNN(obs_shape, 6, channels=(2,), blocks=1)
    return normalize(RecurrentActorCritic(torso, LSTMCore(6, 5), PolicyHead(5, 4), ValueHead(5)), norm)


# Modules


@pytest.mark.parametrize("policy", [PolicyHead, GaussianPolicyHead])
@pytest.mark.parametrize("norm", ["none", "weight"])
def test_an_actor_critic_says_its_heads_of_the_same_features(policy, norm):
    network = joined(policy, norm)
    outputs, features = network(VECTORS), network.torso(VECTORS)
    assert torch.equal(outputs.policy[0], network.policy(features)[0])
    assert torch.equal(outputs.value, network.value(features))
    assert (outputs.policy[0].shape, outputs.value.shape) == ((5, 4), (5,))
    torch.testing.assert_close(fold(network)(VECTORS), outputs)
    assert network.output_layers == (network.policy.layer, network.value.layer)


def test_a_value_with_a_torso_of_its_own():
    network = joined(value_torso=MLP((3,), (6,)))
    outputs = network(VECTORS)
    assert torch.equal(outputs.value, network.value(network.value_torso(VECTORS)))
    assert not torch.equal(outputs.value, network.value(network.torso(VECTORS)))
    outputs.value.sum().backward()
    assert all(parameter.grad is None for parameter in network.torso.parameters())
    assert network.output_layers == (network.policy.layer, network.value.layer)


def test_a_recurrent_actor_critic_goes_on_from_its_state():
    network, obs = recurrent(), torch.randn(6, 2, 3)
    first = torch.zeros(6, 2, dtype=torch.bool)
    first[3, 1] = True
    state = network.initial_state(2)
    whole, after = network(obs, state, first)
    assert (whole.policy.logits.shape, whole.value.shape) == ((6, 2, 4), (6, 2))
    for t in range(6):
        outputs, state = network(obs[t : t + 1], state, first[t : t + 1])
        torch.testing.assert_close(outputs.value[0], whole.value[t])
        torch.testing.assert_close(outputs.policy.logits[0], whole.policy.logits[t])
    torch.testing.assert_close(tuple(state), tuple(after))
    unreset, _ = network(obs, network.initial_state(2), torch.zeros_like(first))
    assert torch.equal(unreset.value[:, 0], whole.value[:, 0])
    assert not torch.allclose(unreset.value[3:, 1], whole.value[3:, 1])


@pytest.mark.parametrize("actions", [{"num_actions": 4}, {"action_size": 2}])
def test_a_step_is_a_sequence_of_one(actions):
    network = actor_critic((3,), hidden=(8,), lstm=5, **actions)
    obs, first = torch.randn(2, 3), torch.tensor([False, True])
    state = network(torch.randn(4, 2, 3), network.initial_state(2), torch.zeros(4, 2))[1]
    sequence, expected = network(obs[None], state, first[None])
    outputs, after = network.step(obs, state, first)
    assert torch.equal(outputs.value, sequence.value[0])
    assert torch.equal(outputs.policy[0], sequence.policy[0][0])
    assert torch.equal(outputs.policy.mode(), sequence.policy.mode()[0])
    assert all(torch.equal(*pair) for pair in zip(after, expected, strict=True))


@pytest.mark.parametrize("norm", ["none", "weight"])
def test_a_recurrent_actor_critic_of_images_learns_and_folds(norm):
    network, obs = recurrent(norm, (2, 36, 36)), IMAGES[:4].view(2, 2, 2, 36, 36)
    state, first = network.initial_state(2), torch.zeros(2, 2)
    outputs, after = network(obs, state, first)
    (outputs.policy.logits.square().sum() + outputs.value.square().sum()).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    folded, folded_after = fold(network)(obs, state, first)
    torch.testing.assert_close(folded.value, outputs.value)
    torch.testing.assert_close(folded_after.c, after.c)
    assert network.output_layers == (network.policy.layer, network.value.layer)


# The builder


@pytest.mark.parametrize(
    ("obs_shape", "options", "kind", "torso", "separate"),
    [
        ((3,), {}, ActorCritic, MLP, True),
        ((3,), {"separate": False}, ActorCritic, MLP, False),
        ((3,), {"lstm": 5}, RecurrentActorCritic, MLP, False),
        ((2, 36, 36), {}, ActorCritic, NatureCNN, False),
        ((2, 36, 36), {"separate": True}, ActorCritic, NatureCNN, True),
        ((2, 36, 36), {"lstm": 5}, RecurrentActorCritic, NatureCNN, False),
        ((2, 36, 36), {"architecture": Architecture(torso="mlp")}, ActorCritic, MLP, True),
    ],
)
def test_what_is_built(obs_shape, options, kind, torso, separate):
    network = small(obs_shape, **options)
    assert type(network) is kind
    assert type(network.torso) is torso
    assert (getattr(network, "value_torso", None) is not None) == separate
    assert not separate or type(network.value_torso) is torso
    outputs = call(network, torch.zeros(5, *obs_shape, dtype=torch.uint8))
    assert outputs.policy.logits.shape[-2:] == (5, 4)
    assert outputs.value.shape[-1:] == (5,)


def test_the_kind_of_policy_and_the_widths():
    network = actor_critic((3,), action_size=2, hidden=(7, 6), architecture=TANH)
    assert call(network).policy.mean.shape == (5, 2)
    widths = [(m.in_features, m.out_features) for m in network.modules() if isinstance(m, nn.Linear)]
    assert widths == [(3, 7), (7, 6), (6, 2), (3, 7), (7, 6), (6, 1)]
    assert [type(network.torso.layers[i]) for i in (2, 4)] == [nn.Tanh] * 2
    network = actor_critic((3,), num_actions=2, hidden=(7,), lstm=5, architecture=Architecture(noisy=True))
    assert (network.core.in_features, network.policy.layer.in_features) == (7, 5)
    assert type(network.torso.layers[1]) is type(network.policy.layer) is type(network.value.layer) is NoisyLinear


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_actions": 0}, "exactly one of num_actions and action_size is above 0, got 0 and 0"),
        ({"action_size": 2}, "got 4 and 2"),
        ({"architecture": Architecture(dueling=True)}, "dueling and distributions are for Q networks"),
        ({"architecture": Architecture(distribution="quantile")}, "dueling and distributions are for Q networks"),
        ({"separate": True, "lstm": 5}, "separate torsos do not go with an LSTM"),
        ({"obs_shape": (2, 36, 36), "normalize_obs": True}, "normalize_obs is for vectors"),
        ({"obs_shape": (2, 36, 36), "architecture": TANH}, "has ReLUs"),
        ({"obs_shape": (2, 36, 36), "hidden": (4, 4)}, "one hidden layer, got widths"),
        ({"norm": "wieght"}, "'wieght'"),
    ],
)
def test_what_cannot_be_built_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        small(**options)


@each_shape
@pytest.mark.parametrize("orthogonal", [False, True])
def test_parameters_come_from_the_seed_alone(options, orthogonal):
    first = small(seed=1, orthogonal=orthogonal, **options)
    torch.manual_seed(7)
    state = torch.random.get_rng_state()
    again, other = (small(seed=seed, orthogonal=orthogonal, **options) for seed in (1, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(first.state_dict().values(), again.state_dict().values(), strict=True))
    assert not torch.equal(first.policy.layer.weight, other.policy.layer.weight)


@pytest.mark.parametrize("norm", ["none", "weight"])
def test_effective_weights_start_orthogonal_unless_told_otherwise(norm):
    gains = {"torso": math.sqrt(2), "value_torso": math.sqrt(2), "policy": 0.01, "value": 1.0}
    for orthogonal in (True, False):
        network = fold(small(norm=norm, orthogonal=orthogonal))
        for name, weight in network.named_parameters():
            if "weight" in name:
                values = torch.linalg.svdvals(weight.detach())
                gain = torch.full_like(values, gains[name.split(".")[0]])
                assert torch.allclose(values, gain, rtol=1e-4) == orthogonal


def test_the_torsos_of_policy_and_value_start_apart():
    network = small()
    assert not torch.equal(network.torso.layers[1].weight, network.value_torso.layers[1].weight)


# What goes with every network


@each_shape
@each_norm
def test_output_layers_are_found_and_the_rest_is_normalized(options, norm):
    network = small(norm=norm, **options)
    normalizer = NORMALIZERS[norm]
    assert network.output_layers == (network.policy.layer, network.value.layer)
    outputs = [isinstance(layer, NormalizedLayer) for layer in network.output_layers]
    with_output = normalizer.normalize_output and normalizer.output is not None
    assert outputs == [with_output and norm not in ("weight", "mean-batch"), with_output]
    assert network.policy_layers == (network.policy.layer,)
    torsos = [torso for torso in (network.torso, getattr(network, "value_torso", None)) if torso is not None]
    hidden = [normalizer.hidden is not None and not normalizer.last_hidden_only, normalizer.hidden is not None]
    for torso in torsos:
        assert [isinstance(torso.layers[i], NormalizedLayer) for i in (1, 3)] == hidden
    assert norm != "weight" or torch.allclose(call(network).value, call(small(**options)).value, atol=1e-5)


@each_shape
@pytest.mark.parametrize("norm", ["weight", "mean-batch"])
@pytest.mark.parametrize(("choice", "outputs"), [(None, [False, True]), (True, [True, True]), (False, [False, False])])
def test_the_policy_layer_stays_plain_unless_output_layers_are_chosen(options, norm, choice, outputs):
    network = small(norm=norm, normalize_output=choice, **options)
    assert [isinstance(layer, WeightNormLayer) for layer in network.output_layers] == outputs


def test_layers_to_normalize_are_named_in_the_network():
    network = small(norm="weight", layers=["value_torso.layers.1"])
    assert [name for name, m in network.named_modules() if isinstance(m, NormalizedLayer)] == ["value_torso.layers.1"]
    network = small(norm="weight", normalize_output=False, units="paper")
    assert type(network.policy.layer) is type(network.value.layer) is nn.Linear
    assert network.torso.layers[1].units == network.value_torso.layers[1].units == "paper"


@each_shape
@each_norm
@pytest.mark.parametrize("actions", [{}, {"num_actions": 0, "action_size": 2}], ids=["categorical", "gaussian"])
def test_it_learns_and_folds_follow(options, norm, actions):
    network = small(norm=norm, **options, **actions)
    refreshed, averaged = fold(network).eval(), fold(network).eval()
    network.obs_norm.update(3 * VECTORS + 1)
    outputs = call(network)
    (outputs.policy.log_prob(outputs.policy.sample()).sum() + outputs.value.square().sum()).backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in network.parameters())
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.sub_(0.01 * parameter.grad)
    network.eval()
    assert not torch.allclose(call(refreshed).value, call(network).value)
    refresh(refreshed, network)
    polyak(averaged, network, 1.0)
    for folded in (refreshed, averaged):
        torch.testing.assert_close(call(folded), call(network), rtol=1e-4, atol=1e-5)


@each_shape
@each_norm
def test_copies_have_the_same_function_and_a_floating_state(options, norm):
    network = small(norm=norm, **options)
    network.obs_norm.update(3 * VECTORS + 1)
    call(network)
    network.eval()
    other = small(norm=norm, seed=9, **options).eval()
    other.load_state_dict(network.state_dict())
    assert all(tensor.is_floating_point() for tensor in network.state_dict().values())
    for copied in (copy.deepcopy(network), pickle.loads(pickle.dumps(network)), other):
        assert torch.equal(call(copied).value, call(network).value)


@each_shape
@each_norm
def test_heads_are_computed_in_float32_under_autocast(options, norm):
    network = small(norm=norm, **options)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = call(network)
        features = network.torso(network.obs_norm(VECTORS))
    assert outputs.policy.logits.dtype == outputs.value.dtype == torch.float32
    assert features.dtype == torch.bfloat16
    torch.testing.assert_close(outputs.value, call(network).value, rtol=0.1, atol=0.1)


@each_shape
def test_data_and_analytic_initialization_take_them(options, recwarn):
    network, obs = small(norm="weight", **options), torch.randn(6, 50, 3)
    if isinstance(network, ActorCritic):
        inputs = (obs.flatten(0, 1),)
    else:
        inputs = (obs, network.initial_state(50), torch.zeros(6, 50))
    data_init(network, *inputs)
    assert not len(recwarn)
    outputs = network(*inputs)
    outputs = outputs if isinstance(network, ActorCritic) else outputs[0]
    assert outputs.value.mean().item() == pytest.approx(0, abs=1e-3)
    assert outputs.value.std(correction=0).item() == pytest.approx(1, abs=1e-2)
    hidden, value = network.torso.layers[1].g.clone(), network.value.layer.g.clone()
    analytic_init(network)
    assert not torch.equal(network.torso.layers[1].g, hidden)
    assert torch.equal(network.value.layer.g, value)  # an output layer


@pytest.mark.parametrize("options", [{}, {"lstm": 5}])
def test_observations_are_normalized_if_asked_for(options):
    network, obs = small(normalize_obs=True, **options), 100 * torch.randn(50, 3) + 1000
    other = small(**options)
    for each in (network, other):
        each.obs_norm.update(obs)
    assert type(network.obs_norm) is RunningNorm
    scaled = (obs - obs.mean(0)) / obs.std(0, correction=0)
    torch.testing.assert_close(call(network, obs).value, call(other, scaled).value, rtol=1e-3, atol=1e-3)
    assert torch.equal(call(other, obs).value, call(small(**options), obs).value)
    assert not [name for name in other.state_dict() if name.startswith("obs_norm")]


def test_the_weights_of_a_small_network_are_formed_at_once():
    network = actor_critic((4,), num_actions=3, hidden=(8, 8), norm="weight")
    outputs = network(torch.randn(5, 4))
    found = [outputs.value.grad_fn, outputs.policy.logits.grad_fn]
    for node in found:
        found += [before for before, _ in node.next_functions if before is not None and before not in found]
    assert [type(node).__name__ for node in found].count("_FormedWeightsBackward") == 1
