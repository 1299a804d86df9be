"""wnrl.networks.implicit_quantiles: the embedding of levels, against the formula written out."""

import copy
import math
import pickle
from functools import partial
from itertools import product

import pytest
import torch
from torch import nn

from wnrl.diagnostics.norms import dead_unit_metrics
from wnrl.initialization.analytic import analytic_init
from wnrl.initialization.data import data_init
from wnrl.initialization.initialize import he_uniform_
from wnrl.initialization.weighted_layers import weighted_layers
from wnrl.networks.heads import DuelingLayer, HeadMLP
from wnrl.networks.implicit_quantiles import ImplicitQuantileHead, split_levels
from wnrl.networks.noisy import NoisyLinear
from wnrl.normalizers.conversions import NORMALIZERS
from wnrl.normalizers.folding import fold, polyak, refresh
from wnrl.normalizers.normalize import normalize
from wnrl.normalizers.spectral_norm import SpectralNormalized

LAYERS = {
    "linear": nn.Linear,
    "noisy": NoisyLinear,
    "MLP": partial(HeadMLP, hidden=6),
    "dueling": partial(DuelingLayer, num_actions=3, hidden=6),
    "noisy dueling": partial(DuelingLayer, num_actions=3, hidden=6, layer=NoisyLinear),
}
each_layer = pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS.keys())
COMBINATIONS = [  # without those that `normalize` refuses
    pytest.param(layer, norm, id=f"{name}-{norm}")
    for (name, layer), norm in product(LAYERS.items(), NORMALIZERS)
    if name != "noisy dueling" or not NORMALIZERS[norm].of_outputs
]
FEATURES = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
TAUS = torch.rand(4, 7, generator=torch.Generator().manual_seed(1))


def make(layer=LAYERS["MLP"], norm="none", features=5):
    return normalize(ImplicitQuantileHead(features, 3, cosines=8, quantiles=6, layer=layer), norm)


@each_layer
def test_the_outputs_are_those_of_equation_4_level_by_level(layer):
    head = make(layer)
    values = head(FEATURES, TAUS)
    linear = head.embedding[0]
    for b in range(4):
        for k in range(7):
            cosines = torch.tensor([math.cos(math.pi * i * TAUS[b, k].item()) for i in range(8)])
            phi = (linear.weight @ cosines + linear.bias).clamp(min=0)
            torch.testing.assert_close(values.quantiles[b, :, k], head.layer(FEATURES[b] * phi), rtol=1e-4, atol=1e-5)
    assert torch.equal(values.taus, TAUS)
    torch.testing.assert_close(values.q_values, values.quantiles.mean(-1))


def test_without_levels_they_are_midpoints_the_same_each_time():
    head = make()
    values = head(FEATURES)
    assert values.quantiles.shape == (4, 3, 6)
    torch.testing.assert_close(values.taus, torch.tensor([1.0, 3, 5, 7, 9, 11]).expand(4, 6) / 12)
    assert torch.equal(values.q_values, head(FEATURES).q_values)
    assert torch.equal(values.q_values, head(FEATURES, values.taus).q_values)
    assert not torch.allclose(values.quantiles[..., 0], values.quantiles[..., -1])


def test_the_papers_sizes():
    head = ImplicitQuantileHead(5, 3)
    assert head.embedding[0].weight.shape == (5, 64)
    assert head(FEATURES).taus.shape == (4, 32)


def test_it_learns_the_quantiles_of_a_distribution():
    head = ImplicitQuantileHead(4, 1, cosines=16)
    optimizer, generator = torch.optim.Adam(head.parameters(), lr=0.005), torch.Generator().manual_seed(0)
    for _ in range(600):
        taus = torch.rand(512, 4, generator=generator)
        returns = torch.rand(512, 1, generator=generator) * 2 - 1  # uniform: its quantile at τ is 2τ − 1
        error = returns - head(torch.ones(512, 4), taus).quantiles[:, 0]
        optimizer.zero_grad()
        (error * (taus - (error < 0).float())).mean().backward()
        optimizer.step()
    values = head(torch.ones(1, 4))
    torch.testing.assert_close(values.quantiles[0, 0], 2 * values.taus[0] - 1, atol=0.15, rtol=0)


@pytest.mark.parametrize("arguments", [{"cosines": 0}, {"quantiles": 0}])
def test_no_cosine_and_no_quantile_are_refused(arguments):
    with pytest.raises(ValueError, match="must be at least 1, got"):
        ImplicitQuantileHead(5, 3, **arguments)


@pytest.mark.parametrize("shape", [(7,), (3, 7), (4, 1, 7)])
def test_levels_of_another_batch_are_refused(shape):
    with pytest.raises(ValueError, match=r"expected taus \[4\] \+ \[K\], got"):
        make()(FEATURES, torch.rand(shape))


@each_layer
def test_computes_in_float32_under_autocast(layer):
    head = make(layer)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        values = head(FEATURES.bfloat16(), TAUS.bfloat16())
    expected = head(FEATURES.bfloat16().float(), TAUS.bfloat16().float())
    assert values.quantiles.dtype == torch.float32
    assert torch.equal(values.quantiles, expected.quantiles)


@each_layer
def test_leading_dimensions_stand_for_the_batch(layer):
    head = make(layer)
    values = head(FEATURES.view(2, 2, 5), TAUS.view(2, 2, 7))
    torch.testing.assert_close(values.quantiles.flatten(0, 1), head(FEATURES, TAUS).quantiles)
    assert head(FEATURES.view(2, 2, 5)).taus.shape == (2, 2, 6)


@pytest.mark.parametrize(("layer", "norm"), COMBINATIONS)
def test_every_parameter_has_a_gradient_and_folds_follow(layer, norm):
    head = make(layer, norm)
    target = fold(head)
    head(FEATURES, TAUS).quantiles.square().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in head.parameters())
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(parameter.grad, alpha=0.01)
    head.eval(), target.eval()
    assert not torch.allclose(target(FEATURES).quantiles, head(FEATURES).quantiles)
    polyak(target, head, 1.0)
    torch.testing.assert_close(target(FEATURES, TAUS).quantiles, head(FEATURES, TAUS).quantiles, rtol=1e-4, atol=1e-5)
    refresh(target, head)
    torch.testing.assert_close(target(FEATURES).quantiles, head(FEATURES).quantiles, rtol=1e-4, atol=1e-5)


def test_output_layers_are_the_layers_and_one_layer_normalizers_take_the_hidden_one():
    assert [layer.out_features for layer in make().output_layers] == [3]
    assert [layer.out_features for layer in make(LAYERS["dueling"]).output_layers] == [1, 3]
    linear = make(nn.Linear)
    assert linear.output_layers == (linear.layer,)
    assert isinstance(make(norm="spectral").layer[0], SpectralNormalized)
    assert type(make(norm="spectral").embedding[0]) is nn.Linear


@pytest.mark.parametrize(
    ("layer", "norm"), [each for each in COMBINATIONS if each.values[1] in ("none", "weight", "mean-batch", "batch")]
)
def test_data_init_gives_every_layer_outputs_of_mean_0_and_variance_1(layer, norm):
    head, outputs = make(layer, norm), {}
    features = torch.randn(300, 5)
    data_init(head, features)
    for weighted in weighted_layers(head):
        weighted.layer.register_forward_hook(lambda module, _, output: outputs.__setitem__(module, output))
    head.eval()(features)
    assert len(outputs) == len(weighted_layers(head))
    for output in outputs.values():
        rows = output.flatten(0, -2)
        torch.testing.assert_close(rows.mean(0), torch.zeros_like(rows[0]), atol=1e-3, rtol=0)
        torch.testing.assert_close(rows.var(0, correction=0), torch.ones_like(rows[0]), atol=1e-3, rtol=0)


@pytest.mark.parametrize("norm", ["none", "weight", "layer"])
def test_other_initializations_take_the_embedding(norm):
    head = make(norm=norm)
    analytic_init(head)
    plain = make()
    analytic_init(plain)
    lengths = plain.embedding[0].weight.norm(dim=1)
    torch.testing.assert_close(lengths, torch.full((5,), math.sqrt(2 * 8 / 5)))
    he_uniform_(head)
    biases = [module.bias for module in fold(head).modules() if isinstance(module, nn.Linear)]
    assert len(biases) == 3
    assert norm == "layer" or all(torch.equal(bias, torch.full_like(bias, 0.1)) for bias in biases)


def test_dead_units_of_the_embedding_are_seen():
    head = make()
    head.embedding[0].bias.data.copy_(torch.tensor([-100.0, -100, 100, 100, 100]))
    metrics = dead_unit_metrics(head, FEATURES, lambda head, features: head(features).q_values)
    assert set(metrics) == {"weights/embedding.fc/dead", "weights/fc1/dead"}
    assert metrics["weights/embedding.fc/dead"].item() == pytest.approx(2 / 5)


@each_layer
def test_copies_have_the_same_function_and_a_floating_state(layer):
    head, other = make(layer), make(layer)
    other.load_state_dict(head.state_dict())
    assert all(tensor.is_floating_point() for tensor in head.state_dict().values())
    for copied in (copy.deepcopy(head), pickle.loads(pickle.dumps(head)), other):
        assert torch.equal(copied(FEATURES, TAUS).quantiles, head(FEATURES, TAUS).quantiles)


def test_outputs_are_split_by_their_levels():
    head = ImplicitQuantileHead(4, 3, cosines=5)
    features, taus = torch.randn(2, 4), torch.rand(2, 7)
    first, others = split_levels(head(features, taus), 3)
    for part, levels in ((first, taus[:, :3]), (others, taus[:, 3:])):
        torch.testing.assert_close(part, head(features, levels))
