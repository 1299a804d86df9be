"""wnrl.networks: torsos, cores and heads put together."""

import copy
import dataclasses
import itertools
import json
import pickle

import pytest
import torch
from torch import nn

from wnrl.cores import LSTMCore
from wnrl.folding import fold
from wnrl.heads import (
    CategoricalHead,
    CategoricalValues,
    DuelingLayer,
    GaussianPolicyHead,
    PolicyHead,
    QuantileHead,
    QuantileValues,
    QValues,
    ValueHead,
)
from wnrl.networks import ActorCritic, Architecture, QNetwork, RecurrentActorCritic, q_network
from wnrl.noisy import NoisyLinear
from wnrl.normalizers import normalize
from wnrl.torsos import MLP, ImpalaCNN, NatureCNN
from wnrl.weight_norm import WeightNormLinear

OUTPUTS = {"none": QValues, "categorical": CategoricalValues, "quantile": QuantileValues}
HEADS = {"none": nn.Linear, "categorical": CategoricalHead, "quantile": QuantileHead}
IMAGES = torch.randint(0, 256, (5, 2, 36, 36), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
VECTORS = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))


def small(obs=VECTORS, norm="none", seed=0, **names):
    architecture = Architecture(**{"atoms": 5, "quantiles": 4} | names)
    return q_network(obs.shape[1:], 2, hidden=(6,), architecture=architecture, norm=norm, seed=seed)


@pytest.mark.parametrize(
    ("obs_shape", "hidden", "sizes"),
    [
        ((3,), (4, 5), [(3, 4), (4, 5), (5, 2)]),
        ((2, 3), (4,), [(6, 4), (4, 2)]),
        ((3,), (), [(3, 2)]),
        ((1, 36, 40), (7,), [(1, 32, 8, 4), (32, 64, 4, 2), (64, 64, 3), (64, 7), (7, 2)]),
    ],
)
def test_the_plain_network_draws_its_layers_in_order_and_keeps_their_names(obs_shape, hidden, sizes):
    network = q_network(obs_shape, 2, hidden=hidden, seed=3)
    torch.manual_seed(3)
    layers = [nn.Linear(*size) if len(size) == 2 else nn.Conv2d(*size) for size in sizes]
    expected = [tensor for layer in layers for tensor in layer.state_dict().values()]
    state = network.state_dict()
    assert all(torch.equal(a, b) for a, b in zip(state.values(), expected, strict=True))
    positions = (0, 2, 4, 7) if len(obs_shape) == 3 else (1, 3)[: len(sizes) - 1]
    names = [*(f"torso.layers.{position}" for position in positions), "head"]
    assert list(state) == [f"{name}.{kind}" for name in names for kind in ("weight", "bias")]


def test_parameters_come_from_the_seed_alone():
    names = {"noisy": True, "dueling": True, "distribution": "categorical"}
    first = small(seed=1, **names)
    torch.manual_seed(7)
    state = torch.random.get_rng_state()
    again, other = small(seed=1, **names), small(seed=2, **names)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(first.state_dict().values(), again.state_dict().values(), strict=True))
    assert not torch.equal(first.output_layers[0].mean.weight, other.output_layers[0].mean.weight)


@pytest.mark.parametrize(
    ("obs_shape", "torso", "kind"),
    [
        ((1, 36, 36), "auto", NatureCNN),
        ((1, 36, 36), "nature", NatureCNN),
        ((1, 36, 36), "impala", ImpalaCNN),
        ((1, 36, 36), "mlp", MLP),
        ((4,), "auto", MLP),
        ((4, 5), "auto", MLP),
    ],
)
def test_torsos_by_name(obs_shape, torso, kind):
    network = q_network(obs_shape, 3, hidden=(8,), architecture=Architecture(torso=torso))
    assert type(network.torso) is kind
    assert network.torso.out_features == 8
    assert network(torch.zeros(2, *obs_shape, dtype=torch.uint8)).q_values.shape == (2, 3)


def test_numbers_of_the_impala_torso_reach_it():
    network = q_network((1, 16, 16), 3, hidden=(8,), architecture=Architecture(torso="impala", width=2, blocks=1))
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    assert len(convolutions) == 9
    assert convolutions[0].out_channels == 32


@pytest.mark.parametrize("torso", ["nature", "impala"])
def test_vectors_do_not_fit_a_torso_for_images(torso):
    with pytest.raises(ValueError, match=r"takes images \(C, H, W\), got observations of shape \(7,\)"):
        q_network((7,), 3, architecture=Architecture(torso=torso))


def test_images_that_are_too_small_are_refused_with_their_size():
    with pytest.raises(ValueError, match=r"35 x 84 are too small.*at least 36 x 36"):
        q_network((4, 35, 84), 3)


@pytest.mark.parametrize("hidden", [(64, 64), ()])
@pytest.mark.parametrize("dueling", [False, True])
def test_a_torso_for_images_has_one_hidden_layer(hidden, dueling):
    with pytest.raises(ValueError, match="one hidden layer, got widths"):
        q_network((4, 84, 84), 3, hidden=hidden, architecture=Architecture(dueling=dueling))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"torso": "resnet"}, "torso must be one of auto, nature, impala, mlp, got 'resnet'"),
        ({"distribution": "c51"}, "distribution must be one of none, categorical, quantile, got 'c51'"),
        ({"torso": "nature", "width": 2}, "width 2, blocks 2: numbers of torso impala, got 'nature'"),
        ({"blocks": 3}, "width 1, blocks 3: numbers of torso impala, got 'auto'"),
    ],
)
def test_architectures_that_cannot_be_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Architecture(**arguments)


def test_an_architecture_goes_through_json():
    architecture = Architecture(torso="impala", dueling=True, v_max=5.0)
    assert Architecture(**json.loads(json.dumps(dataclasses.asdict(architecture)))) == architecture


def test_the_last_hidden_layer_stands_in_the_dueling_streams():
    for obs, inputs in ((VECTORS, 3), (IMAGES, 64)):
        plain, dueling = small(obs), small(obs, dueling=True)
        assert type(dueling.head) is DuelingLayer
        assert [m for m in dueling.torso.modules() if isinstance(m, nn.Linear)] == []
        assert dueling.torso.out_features == inputs
        assert dueling.head.value[0].out_features == plain.torso.out_features == 6
    network = q_network((3,), 2, hidden=(4, 5), architecture=Architecture(dueling=True))
    assert (network.torso.out_features, network.head.value[0].out_features) == (4, 5)
    network = q_network((3,), 2, hidden=(), architecture=Architecture(dueling=True))
    assert len(network.head.value) == 1


def test_a_noisy_network_has_noise_on_each_fully_connected_layer():
    for dueling, count in ((False, 2), (True, 4)):
        network = small(IMAGES, noisy=True, dueling=dueling)
        noisy = [module for module in network.modules() if isinstance(module, NoisyLinear)]
        linear = [module for module in network.modules() if isinstance(module, nn.Linear)]
        assert len(noisy) == count
        assert linear == [module.mean for module in noisy]


@pytest.mark.parametrize("obs", [VECTORS, IMAGES], ids=["vectors", "images"])
@pytest.mark.parametrize(
    ("distribution", "dueling", "noisy", "norm"),
    list(itertools.product(OUTPUTS, [False, True], [False, True], ["none", "weight"])),
)
def test_each_combination_values_actions_learns_and_folds(obs, distribution, dueling, noisy, norm):
    network = small(obs, norm, distribution=distribution, dueling=dueling, noisy=noisy)
    values = network(obs)
    assert type(values) is OUTPUTS[distribution]
    assert values.q_values.shape == (5, 2)
    assert network.num_actions == 2
    values.q_values.square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in network.parameters())
    torch.testing.assert_close(fold(network)(obs).q_values, values.q_values)
    torch.testing.assert_close(network(obs[1:2]).q_values, values.q_values[1:2], rtol=1e-4, atol=1e-5)
    assert len(network.output_layers) == 1 + dueling
    kind = WeightNormLinear if norm == "weight" else nn.Linear
    assert all(type(layer.mean if noisy else layer) is kind for layer in network.output_layers)


def test_the_distributions_numbers_reach_the_head():
    categorical = small(distribution="categorical", atoms=3, v_min=-1, v_max=7)(VECTORS)
    assert categorical.atoms.tolist() == [-1.0, 3.0, 7.0]
    assert categorical.logits.shape == (5, 2, 3)
    assert small(distribution="quantile", quantiles=6)(VECTORS).quantiles.shape == (5, 2, 6)


@pytest.mark.parametrize("distribution", OUTPUTS)
def test_values_are_the_heads_of_the_torsos_features(distribution):
    network = small(distribution=distribution)
    assert type(network.head) is HEADS[distribution]
    got, features = network(VECTORS).q_values, network.torso(VECTORS)
    head = network.head(features)
    torch.testing.assert_close(got, head if distribution == "none" else head.q_values)
    assert network(100 * torch.randn(50, 3)).q_values.min() < 0


@pytest.mark.parametrize("dueling", [False, True])
@pytest.mark.parametrize("distribution", OUTPUTS)
def test_the_head_is_computed_in_float32_under_autocast(distribution, dueling):
    network = small(distribution=distribution, dueling=dueling, noisy=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features = network.torso(VECTORS.bfloat16() if dueling else VECTORS)
        values = network(VECTORS).q_values
    assert values.dtype == torch.float32
    assert dueling or features.dtype == torch.bfloat16
    if not dueling:
        head = network.head(features.float())
        assert torch.equal(values, head if distribution == "none" else head.q_values)


def test_normalizing_while_building_is_normalizing_what_was_built():
    options = {"units": "paper", "normalize_output": False}
    built = q_network((3,), 2, hidden=(4,), norm="weight", seed=5, **options)
    converted = normalize(q_network((3,), 2, hidden=(4,), seed=5), "weight", **options)
    assert list(built.state_dict()) == list(converted.state_dict())
    assert torch.equal(built(VECTORS).q_values, converted(VECTORS).q_values)
    assert "torso.layers.1.g" in built.state_dict()
    torch.testing.assert_close(built(VECTORS), q_network((3,), 2, hidden=(4,), seed=5)(VECTORS))


def test_an_unknown_normalizer_is_refused():
    with pytest.raises(ValueError, match="'wieght'"):
        q_network((3,), 2, norm="wieght")


def test_networks_can_be_copied_with_their_function():
    names = {"noisy": True, "dueling": True, "distribution": "quantile"}
    for network in (QNetwork(MLP((3,), (4,)), nn.Linear(4, 2)), small(norm="weight", **names)):
        for copied in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
            assert torch.equal(copied(VECTORS).q_values, network(VECTORS).q_values)


def test_every_entry_of_a_state_dict_is_floating():
    for distribution in OUTPUTS:
        state = small(norm="weight", noisy=True, dueling=True, distribution=distribution).state_dict()
        assert all(tensor.is_floating_point() for tensor in state.values())


def actor_critic(policy=PolicyHead, norm="none"):
    return normalize(ActorCritic(MLP((3,), (6,)), policy(6, 4), ValueHead(6)), norm)


def recurrent(norm="none", obs_shape=(3,)):
    torso = MLP(obs_shape, (6,)) if len(obs_shape) == 1 else ImpalaCNN(obs_shape, 6, channels=(2,), blocks=1)
    return normalize(RecurrentActorCritic(torso, LSTMCore(6, 5), PolicyHead(5, 4), ValueHead(5)), norm)


@pytest.mark.parametrize("policy", [PolicyHead, GaussianPolicyHead])
@pytest.mark.parametrize("norm", ["none", "weight"])
def test_an_actor_critic_says_its_heads_of_the_same_features(policy, norm):
    network = actor_critic(policy, norm)
    outputs, features = network(VECTORS), network.torso(VECTORS)
    assert torch.equal(outputs.policy[0], network.policy(features)[0])
    assert torch.equal(outputs.value, network.value(features))
    assert (outputs.policy[0].shape, outputs.value.shape) == ((5, 4), (5,))
    torch.testing.assert_close(fold(network)(VECTORS), outputs)
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
