"""wnrl.initialization.weighted_layers: the layers that initializations set."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

from wnrl.initialization.weighted_layers import check_lengths_are_free, layers_to_initialize, weighted_layers
from wnrl.networks.architecture import Architecture
from wnrl.networks.q_network import q_network
from wnrl.normalizers.conversions import NORMALIZERS
from wnrl.normalizers.normalize import normalize
from wnrl.weight_norm.dense import WeightNormLinear
from wnrl.weight_norm.rows import row_norms


class Doubled(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


def make_network(norm="none"):
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.ConvTranspose2d(4, 6, 3, groups=2), nn.Flatten(), nn.Linear(150, 7)
    )
    return normalize(network, norm, layers=lambda name, layer: True)


@pytest.mark.parametrize("norm", NORMALIZERS)
def test_layers_are_found_under_every_normalizer_by_what_stands_for_them(norm):
    network = make_network(norm)
    layers = weighted_layers(network)
    assert [layer.name for layer in layers] == ["0", "2", "4"]
    assert [layer.layer for layer in layers] == [network[0], network[2], network[4]]
    assert [layer.channel_dim for layer in layers] == [-3, -3, -1]
    assert [tuple(layer.empty_rows(None).shape) for layer in layers] == [(4, 3, 3, 3), (6, 2, 3, 3), (7, 150)]


def test_heads_shared_layers_and_recurrent_ones():
    shared = nn.Linear(4, 4)
    network = nn.Sequential(shared, nn.LSTM(4, 4), shared, Doubled(4, 4), nn.Sequential(nn.Bilinear(4, 4, 2)))
    assert [layer.name for layer in weighted_layers(network)] == ["0", "3", "4.0"]
    noisy = q_network((4,), 3, hidden=(8,), architecture=Architecture(noisy=True))
    assert [layer.name for layer in weighted_layers(noisy)] == ["torso.layers.1.mean", "head.mean"]


@pytest.mark.parametrize("norm", ["none", "weight"])
def test_attention_is_left_out_as_a_whole(norm):
    encoder = nn.TransformerEncoderLayer(8, nhead=2, dim_feedforward=6)
    network = normalize(nn.Sequential(encoder, nn.Linear(8, 2)), norm)
    assert [layer.name for layer in weighted_layers(network)] == ["0.linear1", "0.linear2", "1"]


@pytest.mark.parametrize("layer", [nn.Linear(5, 3), WeightNormLinear(5, 3), WeightNormLinear(5, 3, units="log")])
def test_rows_have_the_directions_and_lengths_that_are_set(layer):
    (found,) = weighted_layers(layer)
    directions, lengths = torch.randn(3, 5), torch.tensor([0.5, 1.0, 4.0])
    with torch.no_grad():
        found.set_rows(directions, lengths)
        found.subtract(torch.tensor([1.0, 2.0, 3.0]))
    expected = directions / directions.norm(dim=1, keepdim=True) * lengths[:, None]
    torch.testing.assert_close(layer.weight.detach().clone(), expected)
    assert layer.bias.tolist() == [-1.0, -2.0, -3.0]
    if isinstance(layer, WeightNormLinear):
        assert torch.equal(layer.v.detach(), directions)


@pytest.mark.parametrize("norm", ["mean-batch", "batch"])
def test_batch_norms_subtract_by_their_running_mean(norm):
    layer = normalize(nn.Sequential(nn.Linear(5, 3), nn.Linear(3, 2)), norm).eval()[0]
    layer.norm.bias.data.fill_(7.0)
    (found,), x, mean = weighted_layers(layer), torch.randn(10, 5), torch.tensor([1.0, 2.0, 3.0])
    with torch.no_grad():
        found.subtract(mean)
    torch.testing.assert_close(layer(x), layer.before_norm(x) - mean)


@pytest.mark.parametrize("norm", ["mean-batch", "batch"])
def test_batch_norms_after_a_forward_pass_of_its_own_leave_no_bias_before_them(norm):
    layer = normalize(nn.Sequential(Doubled(5, 3), nn.Linear(3, 2)), norm).eval()[0]
    (found,), x, mean = weighted_layers(layer), torch.randn(10, 5), torch.tensor([1.0, 2.0, 3.0])
    with torch.no_grad():
        layer.bias.fill_(7.0)
        found.subtract(mean)
    torch.testing.assert_close(layer(x), 2 * (x @ layer.weight.T) - mean)


@pytest.mark.parametrize("norm", NORMALIZERS)
def test_what_is_taken_on_is_a_plain_layers_function(norm):
    plain = make_network()
    network = make_network(norm).eval()
    drawn = [torch.randn_like(layer.empty_rows(None)) for layer in weighted_layers(plain)]
    for each in (plain, network):
        with torch.no_grad():
            for layer, rows in zip(weighted_layers(each), drawn, strict=True):
                layer.set_weight_and_bias(rows, 0.25)
    x, expected = torch.randn(2, 3, 5, 5), normalize(plain, norm, layers=lambda name, layer: True).eval()
    tolerance = 0.05 if norm == "spectral" else 1e-4  # its power method goes on from another start
    torch.testing.assert_close(network(x), expected(x), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("norm", ["none", "weight", "batch"])
def test_frozen_layers_are_found_and_not_initialized(norm):
    network = make_network(norm)
    assert len(layers_to_initialize(network)) == 3
    network[0].requires_grad_(False)
    weighted_layers(network)[1].directions.requires_grad_(False)
    assert [layer.name for layer in weighted_layers(network)] == ["0", "2", "4"]
    assert [layer.name for layer in layers_to_initialize(network)] == ["4"]
    network.requires_grad_(False)
    with pytest.raises(ValueError, match="no dense or convolutional layer to initialize whose weight is not frozen"):
        layers_to_initialize(network)


def test_a_fixed_bias_does_not_freeze_a_layer():
    layer = nn.Linear(3, 2)
    layer.bias.requires_grad_(False)
    assert not weighted_layers(layer)[0].frozen


def pruned(layer):
    return prune.l1_unstructured(layer, "weight", 0.5)


@pytest.mark.parametrize("compute", [parametrizations.weight_norm, parametrizations.orthogonal, pruned])
def test_computed_weights_are_refused_since_writing_to_them_would_be_lost(compute):
    network = nn.Sequential(nn.Linear(4, 4), compute(nn.Linear(4, 4)))
    with pytest.raises(ValueError, match="the weight of layer '1' is computed from others: remove"):
        weighted_layers(network)


class Doubling(nn.Module):
    def forward(self, bias):
        return 2 * bias


@pytest.mark.parametrize(
    "compute",
    [
        lambda layer: prune.l1_unstructured(layer, "bias", 1),
        lambda layer: parametrize.register_parametrization(layer, "bias", Doubling()),
    ],
)
@pytest.mark.parametrize("norm", ["none", "weight", "batch"])
def test_computed_biases_are_refused_unless_the_layer_is_frozen(norm, compute):
    network = normalize(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)), norm)
    compute(network[1].norm if norm == "batch" else network[1])
    with pytest.raises(ValueError, match="the bias of layer '1' is computed from others: remove"):
        layers_to_initialize(network)
    network[1].requires_grad_(False)
    assert [layer.name for layer in layers_to_initialize(network)] == ["0", "2"]


def test_weights_without_a_shape_are_refused():
    network = nn.Sequential(nn.LazyLinear(4))
    with pytest.raises(ValueError, match="the weight of layer '0' has no shape yet: call the network once"):
        weighted_layers(network)
    network(torch.randn(1, 3))
    assert [layer.name for layer in weighted_layers(network)] == ["0"]


@pytest.mark.parametrize(("norm", "kind"), [("projected", "ProjectedLinear"), ("spectral", "SpectralNormLinear")])
def test_lengths_that_a_method_gives_are_refused(norm, kind):
    network = normalize(nn.Sequential(nn.LSTM(3, 3), nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3)), norm)
    with pytest.raises(ValueError, match=rf"^some_init sets .* layer '1' is a {kind}.*take 'preserve' or 'he'"):
        check_lengths_are_free(weighted_layers(network), "some_init")
    check_lengths_are_free(weighted_layers(make_network("weight")), "some_init")


def test_the_network_itself_has_no_name():
    assert str(weighted_layers(nn.Linear(3, 2))[0]) == "the network itself"
    assert str(weighted_layers(make_network())[1]) == "layer '2'"


def test_the_lengths_under_a_generator_of_rows():
    layer = nn.ConvTranspose2d(4, 6, 3, groups=2)
    (found,) = weighted_layers(layer)
    lengths = torch.arange(1.0, 7.0)
    with torch.no_grad():
        found.set_rows(torch.randn(6, 2, 3, 3), lengths)
    torch.testing.assert_close(row_norms(layer, layer.weight.detach()), lengths)
