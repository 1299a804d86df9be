"""wnrl.networks.q_network: torsos and heads put together."""

import copy
import itertools
import pickle

import pytest
import torch
from torch import nn

from wnrl.diagnostics.norms import NormDiagnostics
from wnrl.initialization.data import data_init
from wnrl.networks.architecture import Architecture
from wnrl.networks.heads import (
    CategoricalHead,
    CategoricalValues,
    DuelingLayer,
    HeadMLP,
    QuantileHead,
    QuantileValues,
    QValues,
    SharedBiasLinear,
)
from wnrl.networks.implicit_quantiles import ImplicitQuantileHead
from wnrl.networks.noisy import NoisyLinear
from wnrl.networks.q_network import QNetwork, q_network
from wnrl.networks.torsos import MLP, ImpalaCNN, NatureCNN
from wnrl.normalizers.conversions import NORMALIZERS
from wnrl.normalizers.folding import fold
from wnrl.normalizers.normalize import normalize
from wnrl.weight_norm.dense import WeightNormLinear

OUTPUTS = {
    "none": QValues,
    "categorical": CategoricalValues,
    "quantile": QuantileValues,
    "implicit": QuantileValues,
}
HEADS = {
    "none": nn.Linear,
    "categorical": CategoricalHead,
    "quantile": QuantileHead,
    "implicit": ImplicitQuantileHead,
}
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
        q_network((4, 35, 84), 3, architecture=Architecture(torso="nature"))


@pytest.mark.parametrize("hidden", [(64, 64), ()])
@pytest.mark.parametrize("dueling", [False, True])
def test_a_torso_for_images_has_one_hidden_layer(hidden, dueling):
    with pytest.raises(ValueError, match="one hidden layer, got widths"):
        q_network((4, 84, 84), 3, hidden=hidden, architecture=Architecture(dueling=dueling))


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


def test_the_last_hidden_layer_stands_behind_the_product_with_the_levels():
    for obs, features in ((VECTORS, 3), (IMAGES, 64)):
        network = small(obs, distribution="implicit")
        assert network.torso.out_features == features
        assert type(network.head.layer) is HeadMLP
        assert [layer.out_features for layer in network.head.modules() if isinstance(layer, nn.Linear)] == [
            features,
            6,
            2,
        ]
    network = q_network((3,), 2, hidden=(4, 5), architecture=Architecture(distribution="implicit", dueling=True))
    assert network.torso.out_features == network.head.embedding[0].out_features == 4
    assert network.head.layer.value[0].out_features == 5
    network = q_network((3,), 2, hidden=(), architecture=Architecture(distribution="implicit"))
    assert len(network.head.layer) == 1


def test_levels_reach_the_head_and_no_other_head_takes_them():
    network, taus = small(distribution="implicit"), torch.rand(5, 9)
    values = network(VECTORS, taus)
    assert torch.equal(values.quantiles, network.head(network.torso(VECTORS), taus).quantiles)
    assert torch.equal(values.taus, taus)
    torch.testing.assert_close(network(VECTORS, taus=network(VECTORS).taus), network(VECTORS))
    with pytest.raises(TypeError):
        small(distribution="quantile")(VECTORS, taus)


def test_a_noisy_network_has_noise_on_each_fully_connected_layer():
    for dueling, distribution, count in ((False, "none", 2), (True, "none", 4), (False, "implicit", 2)):
        network = small(IMAGES, noisy=True, dueling=dueling, distribution=distribution)
        noisy = [module for module in network.modules() if isinstance(module, NoisyLinear)]
        linear = [module for module in network.modules() if isinstance(module, nn.Linear)]
        linear = [module for module in linear if module not in getattr(network.head, "embedding", ())]
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
    implicit = small(distribution="implicit", quantiles=6, cosines=7)
    assert implicit(VECTORS).quantiles.shape == (5, 2, 6)
    assert implicit.head.embedding[0].in_features == 7


@pytest.mark.parametrize(("distribution", "count"), [("quantile", 200), ("implicit", 32)])
def test_without_a_number_there_are_the_papers_quantiles(distribution, count):
    network = q_network((3,), 2, architecture=Architecture(distribution=distribution))
    assert network(VECTORS).quantiles.shape == (5, 2, count)


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
    without_layers = dueling or distribution == "implicit"  # in the torso
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features = network.torso(VECTORS.bfloat16() if without_layers else VECTORS)
        values = network(VECTORS).q_values
    assert values.dtype == torch.float32
    assert without_layers or features.dtype == torch.bfloat16
    if not without_layers:
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


@pytest.mark.parametrize("norm", NORMALIZERS)
def test_shapes_can_be_found_on_the_meta_device(norm):
    with torch.device("meta"):
        network = q_network((4, 40, 40), 3, architecture=Architecture(dueling=True), norm=norm)
        obs = torch.zeros(2, 4, 40, 40, dtype=torch.uint8)
    for training in (True, False):
        q_values = network.train(training)(obs).q_values
        assert (q_values.shape, q_values.device.type) == ((2, 3), "meta")


def test_networks_can_be_copied_with_their_function():
    several = (small(norm="weight", noisy=True, dueling=True, distribution=name) for name in ("quantile", "implicit"))
    for network in (QNetwork(MLP((3,), (4,)), nn.Linear(4, 2)), *several):
        for copied in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
            assert torch.equal(copied(VECTORS).q_values, network(VECTORS).q_values)


def test_every_entry_of_a_state_dict_is_floating():
    for distribution in OUTPUTS:
        state = small(norm="weight", noisy=True, dueling=True, distribution=distribution).state_dict()
        assert all(tensor.is_floating_point() for tensor in state.values())


@pytest.mark.parametrize("norm", NORMALIZERS)
@pytest.mark.parametrize("dueling", [False, True])
def test_implicit_networks_take_every_normalizer_and_tell_their_figures(norm, dueling):
    network = small(IMAGES, norm, distribution="implicit", dueling=dueling)
    assert len(network.output_layers) == 1 + dueling
    plain = NORMALIZERS[norm].output is None or not NORMALIZERS[norm].normalize_output
    assert all((type(layer) is nn.Linear) == plain for layer in network.output_layers)
    diagnostics = NormDiagnostics(network, lambda network, obs: network(obs).q_values)
    figures = diagnostics.read(1e-3, IMAGES)
    assert all(figure.isfinite() for figure in figures.values())
    assert {"weights/q.embedding.fc/dead", "weights/conv1/dead"} <= set(figures)
    assert ("weights/q.embedding.fc/w_norm" in figures) == (norm != "projected")


def test_data_init_reaches_every_layer_of_an_implicit_network(recwarn):
    network = small(IMAGES, "weight", distribution="implicit", quantiles=8)
    with torch.no_grad():
        network.head.embedding[0].bias.fill_(7.0)
    data_init(network, torch.randint(0, 256, (60, 2, 36, 36), dtype=torch.uint8))
    assert network.head.embedding[0].bias.abs().max() < 7
    assert not [warning for warning in recwarn if "not initialized" in str(warning.message)]


@pytest.mark.parametrize(("activation", "kind"), [("relu", nn.ReLU), ("tanh", nn.Tanh)])
def test_the_activation_of_a_perceptron(activation, kind):
    network = q_network((3,), 2, hidden=(8, 8), architecture=Architecture(activation=activation))
    assert [type(network.torso.layers[i]) for i in (2, 4)] == [kind, kind]
    flat = q_network((2, 36, 36), 2, hidden=(8,), architecture=Architecture(torso="mlp", activation=activation))
    assert type(flat.torso.layers[2]) is kind


@pytest.mark.parametrize("torso", ["auto", "nature", "impala"])
def test_a_torso_for_images_has_relus(torso):
    with pytest.raises(ValueError, match="has ReLUs, got activation 'tanh'"):
        q_network((2, 36, 36), 2, hidden=(8,), architecture=Architecture(torso=torso, activation="tanh"))


@pytest.mark.parametrize("dueling", [True, False])
def test_the_gradient_into_the_torso_is_scaled_and_nothing_else(dueling):
    """Wang et al. 2016, section 4.2: by 1/√2."""
    plain, scaled = (small(dueling=dueling, gradient_scale=scale) for scale in (1.0, 0.5**0.5))
    gradients = []
    for network in (plain, scaled):
        network(VECTORS).q_values.square().sum().backward()
        gradients.append({name: parameter.grad for name, parameter in network.named_parameters()})
    assert torch.equal(plain(VECTORS).q_values, scaled(VECTORS).q_values)
    for name, gradient in gradients[0].items():
        factor = 0.5**0.5 if name.startswith("torso") else 1.0
        torch.testing.assert_close(gradients[1][name], gradient * factor)
    assert any(name.startswith("torso") and gradient.any() for name, gradient in gradients[0].items()) or dueling


def test_a_bias_can_be_shared():
    network = small(shared_bias=True)
    assert type(network.head) is SharedBiasLinear
    assert network.output_layers == (network.head.linear,)
    assert network(VECTORS).q_values.shape == (5, 2)


def test_the_weights_of_a_small_network_are_formed_at_once():
    network = q_network((4,), 3, hidden=(8, 8), norm="weight")
    found = [network(torch.randn(5, 4)).q_values.grad_fn]
    for node in found:
        found += [before for before, _ in node.next_functions if before is not None and before not in found]
    assert [type(node).__name__ for node in found].count("_FormedWeightsBackward") == 1
