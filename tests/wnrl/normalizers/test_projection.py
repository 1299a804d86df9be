"""wnrl.normalizers.projection: rows of unit norm, a first norm or clipped weights after each update."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_sequence

from wnrl.normalizers.normalize import normalize
from wnrl.normalizers.projection import ProjectedLayer, RadiusProjected, WeightClipped, project

LAYERS = {
    "linear": lambda: nn.Linear(5, 4),
    "bilinear": lambda: nn.Bilinear(3, 2, 4),
    "conv": lambda: nn.Conv2d(4, 6, 3, groups=2),
    "transposed": lambda: nn.ConvTranspose2d(4, 6, 3, groups=2),
    "lstm": lambda: nn.LSTM(3, 4, num_layers=2, bidirectional=True, proj_size=2),
    "gru": lambda: nn.GRU(3, 4, bias=False),
    "rnn": lambda: nn.RNN(3, 4),
    "lstm cell": lambda: nn.LSTMCell(3, 4),
    "gru cell": lambda: nn.GRUCell(3, 4),
}


def naive_rows(layer):
    """Every row of every weight, by its indices."""
    for name, weight in layer.named_parameters():
        if "bias" in name:
            continue
        if isinstance(layer, nn.ConvTranspose2d):
            inputs = layer.in_channels // layer.groups
            for group in range(layer.groups):
                for out in range(weight.shape[1]):
                    yield weight[group * inputs : (group + 1) * inputs, out]
        else:
            yield from weight


def norms(layer):
    return torch.stack([row.detach().float().norm() for row in naive_rows(layer)])


def ones_like_norms(layer):
    return torch.ones(len(norms(layer)))


@pytest.mark.parametrize("kind", LAYERS)
def test_rows_have_unit_norm_their_directions_stay_and_biases_too(kind):
    plain = LAYERS[kind]()
    before = copy.deepcopy(plain)
    layer = ProjectedLayer.convert(plain)
    assert not torch.allclose(norms(before), ones_like_norms(before))
    torch.testing.assert_close(norms(layer), ones_like_norms(layer))
    for old, new in zip(naive_rows(before), naive_rows(layer), strict=True):
        torch.testing.assert_close(new, old / old.norm())
    biases = [name for name, _ in before.named_parameters() if "bias" in name]
    assert all(torch.equal(before.get_parameter(name), layer.get_parameter(name)) for name in biases)


def train(network, steps=5, project_each=None):
    """Adam on a fixed problem; the largest deviation of a row's norm from 1 at any of its ends."""
    torch.manual_seed(1)
    optimizer, worst = torch.optim.Adam(network.parameters(), lr=0.05), 0.0
    for _ in range(steps):
        x = torch.randn(8, 3, 5, 5)
        optimizer.zero_grad()
        (network(x) - x.mean((1, 2, 3), keepdim=True).flatten(1)).square().sum().backward()
        optimizer.step()
        if project_each:
            project_each(network)
        layers = [m for m in network if isinstance(m, (nn.Conv2d, nn.Linear))]
        worst = max(worst, *((norms(m) - 1).abs().max().item() for m in layers))
    return worst


def make_network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(36, 6), nn.ReLU(), nn.Linear(6, 1))


def test_without_projection_the_norms_drift_under_adam():
    network = normalize(make_network(), "projected", normalize_output=True)
    assert train(copy.deepcopy(network)) > 0.05
    assert train(network, project_each=project) < 1e-6


def test_training_equals_a_loop_that_divides_each_row():
    def divide_rows(network):
        for layer in network:
            for parameter in layer.parameters():
                if parameter.ndim > 1:
                    parameter.data.copy_(torch.stack([row / row.norm() for row in parameter.data]))

    naive, network = make_network(), normalize(make_network(), "projected", normalize_output=True)
    divide_rows(naive)
    train(naive, project_each=divide_rows)
    train(network, project_each=project)
    for expected, actual in zip(naive.parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(actual, expected)


def test_projection_is_in_place():
    network = normalize(make_network(), "projected")
    before = [(id(p), p.data_ptr(), p.requires_grad) for p in network.parameters()]
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(3)
        project(network)
    project(network)
    assert [(id(p), p.data_ptr(), p.requires_grad) for p in network.parameters()] == before
    assert all(p.is_leaf for p in network.parameters())


@pytest.mark.parametrize("kind", LAYERS)
def test_a_zero_row_stays(kind):
    plain = LAYERS[kind]()
    with torch.no_grad():
        next(naive_rows(plain)).zero_()
    layer = ProjectedLayer.convert(plain)
    assert norms(plain)[0] == 0
    torch.testing.assert_close(norms(plain)[1:], ones_like_norms(plain)[1:])
    assert all(p.isfinite().all() for p in layer.parameters())


@pytest.mark.parametrize(("dtype", "size"), [(torch.bfloat16, 1e-30), (torch.float16, 1e-6), (torch.float64, 1e-100)])
def test_small_rows_of_any_type(dtype, size):
    plain = nn.Linear(1000, 3, dtype=dtype)
    nn.init.uniform_(plain.weight, -size, size)
    if dtype == torch.bfloat16:
        nn.init.uniform_(plain.weight, -0.01, 0.01)
    layer = ProjectedLayer.convert(plain)
    assert layer.weight.dtype == dtype
    torch.testing.assert_close(layer.weight.float().norm(dim=1), torch.ones(3), rtol=5e-4, atol=0)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_layers_take_what_they_always_took(kind):
    layer = ProjectedLayer.convert(kind(3, 4, batch_first=True))
    plain = kind(3, 4, batch_first=True)
    plain.load_state_dict(layer.state_dict())
    x, h = torch.randn(2, 5, 3), torch.randn(1, 2, 4)
    state = (h, h.clone()) if kind is nn.LSTM else h
    for actual, expected in [
        (layer(x), plain(x)),
        (layer(x, state), plain(x, state)),
        (layer(input=x, hx=state), plain(x, state)),
        (layer(x[0]), plain(x[0])),
    ]:
        torch.testing.assert_close(actual, expected)
    packed = pack_sequence([x[0], x[1, :3]])
    assert torch.equal(layer(packed)[0].data, plain(packed)[0].data)


def test_rows_of_recurrent_layers_stay_projected_while_they_learn():
    layer = ProjectedLayer.convert(nn.LSTM(3, 4))
    optimizer, x = torch.optim.Adam(layer.parameters(), lr=0.1), torch.randn(6, 2, 3)
    for _ in range(3):
        before = layer(x)[0]
        before.square().sum().backward()
        optimizer.step()
        assert (norms(layer) - 1).abs().max() > 0.01
        project(layer)
        torch.testing.assert_close(norms(layer), torch.ones(32))
        assert not torch.allclose(layer(x)[0], before)


@pytest.mark.parametrize("norm", ["none", "weight", "batch", "layer"])
def test_other_networks_stay_as_they_are(norm):
    network = normalize(make_network(), norm)
    before = copy.deepcopy(network.state_dict())
    project(network)
    torch.testing.assert_close(network.state_dict(), before, rtol=0, atol=0)


def test_unfolding_projects():
    layer, plain = ProjectedLayer.convert(nn.Linear(5, 4)), nn.Linear(5, 4)
    layer.unfold(dict(plain.named_parameters()))
    torch.testing.assert_close(norms(layer), torch.ones(4))
    x, lengths = torch.randn(3, 5), plain.weight.norm(dim=1)
    torch.testing.assert_close(layer(x) - layer.bias, (plain(x) - plain.bias) / lengths)


@pytest.mark.parametrize("kind", LAYERS)
def test_weights_that_are_drawn_again_are_projected(kind):
    layer = ProjectedLayer.convert(LAYERS[kind]())
    before = [row.detach().clone() for row in naive_rows(layer)]
    layer.reset_parameters()
    torch.testing.assert_close(norms(layer), ones_like_norms(layer))
    assert not any(torch.equal(*pair) for pair in zip(naive_rows(layer), before, strict=True) if pair[0].numel() > 1)


def test_weights_of_attention_that_are_drawn_again_are_projected():
    layer = ProjectedLayer.convert(nn.MultiheadAttention(6, 2))
    before = layer.in_proj_weight.detach().clone()
    layer.reset_parameters()
    torch.testing.assert_close(layer.in_proj_weight.norm(dim=1), torch.ones(18))
    assert not torch.allclose(layer.in_proj_weight, before)


def test_sizes_of_the_plain_layer_show_through():
    layer = ProjectedLayer.convert(nn.LSTM(3, 5, num_layers=2))
    assert (layer.input_size, layer.hidden_size, layer.num_layers) == (3, 5, 2)
    with pytest.raises(AttributeError, match="nothing_like_it"):
        layer.nothing_like_it  # noqa: B018


# --- before normalizations


def make_two(norm):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 2))
    with torch.no_grad():
        for layer in network[::2]:
            layer.bias.normal_()
    return normalize(network, norm), torch.randn(40, 5)


def test_before_a_layer_norm_a_common_factor_of_weight_and_bias_is_taken_back():
    network, x = make_two("layer+projected")
    expected = network(x)
    radii = [[p.detach().clone() for p in (layer.weight, layer.bias)] for layer in (network[0], network[2])]
    with torch.no_grad():
        for layer, factor in ((network[0], 7.0), (network[2], 0.2)):
            layer.weight.mul_(factor)
            layer.bias.mul_(factor)
    scaled = network(x)
    torch.testing.assert_close(scaled, expected, rtol=1e-3, atol=1e-3)  # but for the ε of layer normalization
    project(network)
    torch.testing.assert_close(network(x), scaled, rtol=1e-3, atol=1e-3)
    for layer, (weight, bias) in zip((network[0], network[2]), radii, strict=True):
        torch.testing.assert_close(layer.weight.data, weight)
        torch.testing.assert_close(layer.bias.data, bias)


def test_rows_projected_before_a_layer_norm_would_change_the_function():
    network, x = make_two("layer+projected")
    expected = network(x)
    by_row = copy.deepcopy(network)
    project(network)
    torch.testing.assert_close(network(x), expected)
    with torch.no_grad():
        for layer in (by_row[0], by_row[2]):
            layer.weight.copy_(layer.weight / layer.weight.norm(dim=1, keepdim=True))
    assert not torch.allclose(by_row(x), expected, rtol=1e-2)


def test_the_radius_is_that_of_weight_and_bias_while_they_learn():
    network, x = make_two("layer+projected")
    layer = network[0]
    radius = (layer.weight.square().sum() + layer.bias.square().sum()).sqrt().item()
    optimizer = torch.optim.Adam(network.parameters(), lr=0.1)
    for _ in range(3):
        network(x).square().sum().backward()
        optimizer.step()
        project(network)
        assert (layer.weight.square().sum() + layer.bias.square().sum()).sqrt().item() == pytest.approx(radius)
        assert layer.running_radius.item() == pytest.approx(radius)
    assert not torch.allclose(layer.norm.weight, torch.ones(8))  # is free


def test_the_radius_is_that_of_the_weights_that_were_set_last():
    network, _ = make_two("layer+projected")
    layer = network[0]
    layer.unfold({name: 3 * value for name, value in layer.folded().items()})
    radius = (layer.weight.square().sum() + layer.bias.square().sum()).sqrt().item()
    assert layer.running_radius.item() == pytest.approx(radius)
    layer.reset_parameters()
    drawn = layer.weight.detach().clone()
    project(network)
    torch.testing.assert_close(layer.weight.detach(), drawn)
    assert layer.running_radius.item() != pytest.approx(radius)


def test_a_layer_that_becomes_plain_has_no_radius():
    layer = RadiusProjected.convert(nn.Linear(5, 4))
    assert "running_radius" in layer.own_buffers()
    values = {name: 2 * parameter.detach() for name, parameter in layer.named_parameters()}
    layer.become_plain(values)
    assert type(layer) is nn.Linear
    assert layer.state_dict().keys() == {"weight", "bias"}
    assert all(torch.equal(layer.get_parameter(name), value) for name, value in values.items())


def test_before_a_layer_norm_zeros_stay():
    network, _ = make_two("layer+projected")
    with torch.no_grad():
        network[0].weight.zero_()
        network[0].bias.zero_()
    project(network)
    assert not network[0].weight.any()
    assert not network[0].bias.any()


def test_before_a_batch_norm_a_zero_row_leaves_its_statistics():
    layer = make_two("batch+projected")[0][0]
    with torch.no_grad():
        layer.weight.copy_(2 * layer.weight).select(0, 3).zero_()
        layer.norm.running_mean.fill_(4.0)
        layer.norm.running_var.fill_(0.0)  # with ε over 2², it would be negative
    layer.start()
    expected = torch.full((8,), 2.0)
    expected[3] = 4.0
    torch.testing.assert_close(layer.norm.running_mean, expected)
    assert layer.norm.running_var.tolist() == [0.0] * 8
    layer.norm.running_var.fill_(8.0)
    layer.weight.data.mul_(2)
    layer.start()
    eps, variance = layer.norm.eps, torch.full((8,), 8.0)
    variance[torch.arange(8) != 3] = (8.0 + eps) / 4 - eps
    torch.testing.assert_close(layer.norm.running_var, variance, rtol=1e-6, atol=0)


def test_before_a_batch_norm_rows_have_unit_norm_and_the_plain_networks_function():
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(3, 4, 2), nn.ReLU(), nn.Flatten(), nn.Linear(64, 6), nn.ReLU(), nn.Linear(6, 2))
    network, x = normalize(copy.deepcopy(plain), "batch+projected"), torch.randn(10, 3, 5, 5)
    for layer in (network[0], network[3]):
        torch.testing.assert_close(layer.weight.flatten(1).norm(dim=1), torch.ones(len(layer.weight)))
    torch.testing.assert_close(network.eval()(x), plain(x), rtol=1e-4, atol=1e-5)
    assert type(network[5]) is nn.Linear


def test_before_a_batch_norm_statistics_follow_the_rows_that_were_set():
    network, x = make_two("batch+projected")
    network.eval()
    with torch.no_grad():
        for layer in (network[0], network[2]):
            layer.weight.normal_()
            layer.norm.running_mean.normal_()
            layer.norm.running_var.uniform_(0.5, 2.0)
    expected = network(x)
    for layer in (network[0], network[2]):
        layer.start()
        torch.testing.assert_close(layer.weight.norm(dim=1), torch.ones(len(layer.weight)))
    torch.testing.assert_close(network(x), expected, rtol=1e-4, atol=1e-4)


def test_before_a_batch_norm_factors_of_rows_have_no_effect_in_training():
    torch.manual_seed(0)
    network, x = make_two("batch+projected")
    expected = network.train()(x)
    with torch.no_grad():
        for layer in (network[0], network[2]):
            layer.weight.mul_(torch.rand(len(layer.weight), 1) * 5 + 0.5)
    torch.testing.assert_close(network(x), expected, rtol=1e-3, atol=1e-3)
    project(network)
    torch.testing.assert_close(network(x), expected, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(network[0].weight.norm(dim=1), torch.ones(8))
    alone = normalize(nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 2)), "projected")
    before = alone(x)
    with torch.no_grad():
        alone[0].weight.mul_(3)
    assert not torch.allclose(alone(x), before, rtol=1e-2)


# --- clipped

BOUNDS = {  # κ = 3 times the bound of torch's default initialization
    "linear": 3 / math.sqrt(5),
    "bilinear": 3 / math.sqrt(3),
    "conv": 3 / math.sqrt(2 * 9),
    "transposed": 3 / math.sqrt(3 * 9),  # of [in, out/groups, 3, 3], as torch draws it
    **dict.fromkeys(("lstm", "gru", "rnn", "lstm cell", "gru cell"), 3 / math.sqrt(4)),
}


@pytest.mark.parametrize("kind", LAYERS)
def test_weights_and_biases_are_clipped(kind):
    plain = LAYERS[kind]()
    drawn = max(parameter.abs().max().item() for parameter in plain.parameters())
    assert 0.8 * BOUNDS[kind] / 3 < drawn <= BOUNDS[kind] / 3  # the bound is that of the kind
    before = copy.deepcopy(plain.state_dict())
    layer = WeightClipped.convert(plain)
    torch.testing.assert_close(layer.state_dict(), before, rtol=0, atol=0)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.mul_(100)
    free = copy.deepcopy(layer.state_dict())
    project(layer)
    for name, parameter in layer.named_parameters():
        torch.testing.assert_close(parameter.data, free[name].clamp(-BOUNDS[kind], BOUNDS[kind]))
    assert max(parameter.max().item() for parameter in layer.parameters()) == pytest.approx(BOUNDS[kind])


def test_nothing_is_clipped_before_the_first_step():
    torch.manual_seed(0)
    plain = nn.Linear(5, 4)
    with torch.no_grad():
        plain.weight.mul_(100)
    expected = plain.weight.clone()
    network = normalize(nn.Sequential(plain, nn.Linear(4, 2)), "weight-clip")
    assert torch.equal(network[0].weight, expected)
    assert torch.equal(copy.deepcopy(network)[0].weight, expected)
    project(network)
    assert network[0].weight.abs().max().item() == pytest.approx(3 / math.sqrt(5))
    network[0].unfold({"weight": expected, "bias": network[0].bias.detach()})
    assert torch.equal(network[0].weight, expected)
