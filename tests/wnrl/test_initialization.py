"""wnrl.initialization: the paper's data-dependent initialization, and that of its published code."""

import copy
import math

import pytest
import torch
from torch import nn

from wnrl.initialization import data_init, he_uniform_, set_weight_
from wnrl.normalizers import normalize
from wnrl.weight_norm import WeightNormLinear


def make_network(norm="weight", units="sqrt"):
    torch.manual_seed(0)
    blocks = [layer for _ in range(4) for layer in (nn.Conv2d(4, 4, 3, padding=1), nn.ReLU())]
    network = nn.Sequential(*blocks, nn.Dropout(0.5), nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 3))
    return normalize(network, norm, units=units)


def minibatch(batch=200):
    return torch.rand(batch, 4, 4, 4, generator=torch.Generator().manual_seed(1))


def preactivations(network, x):
    """Outputs `[out, ...]` of every layer with parameters, in order."""
    outputs = []
    for layer in network.eval():
        x = layer(x)
        if list(layer.parameters()):
            outputs.append(x.detach().movedim(1, 0).flatten(1))
    return outputs


@pytest.mark.parametrize("units", ["sqrt", "paper"])
def test_every_preactivation_has_mean_0_and_variance_1(units):
    network, x = make_network(units=units), minibatch()
    assert any((t.mean(1).abs() > 0.01).any() and (t.var(1) < 0.5).any() for t in preactivations(network, x))
    data_init(network, x)
    for t in preactivations(network, x):
        torch.testing.assert_close(t.mean(1), torch.zeros(len(t)), atol=1e-4, rtol=0)
        torch.testing.assert_close(t.var(1, correction=0), torch.ones(len(t)), atol=1e-3, rtol=0)


def test_directions_are_small_normal_numbers_and_lengths_inverse_deviations():
    layer = WeightNormLinear(400, 50, units="paper")
    x = torch.randn(300, 400) * 3 + 1
    data_init(layer, x, generator=torch.Generator().manual_seed(5))
    assert layer.v.std().item() == pytest.approx(0.05, rel=0.02)
    assert layer.v.mean().item() == pytest.approx(0.0, abs=1e-3)
    t = x @ layer.v.detach().T / layer.v.detach().norm(dim=1)
    torch.testing.assert_close(layer.g.detach(), 1 / t.std(0, correction=0), rtol=1e-4, atol=0)
    torch.testing.assert_close(layer.bias.detach(), -t.mean(0) / t.std(0, correction=0), rtol=1e-4, atol=1e-4)


def test_the_function_does_not_depend_on_the_units():
    x = minibatch()
    outputs = []
    for units in ("sqrt", "paper"):
        network = make_network(units=units).eval()
        data_init(network, x, generator=torch.Generator().manual_seed(2))
        outputs.append(network(x))
    torch.testing.assert_close(*outputs, rtol=1e-3, atol=1e-4)


def test_the_generator_decides():
    x = minibatch()
    draws = []
    for seed, noise in ((1, 10), (1, 20), (2, 30)):
        network = make_network()
        torch.manual_seed(noise)
        data_init(network, x, generator=torch.Generator().manual_seed(seed))
        draws.append(network[0].v.detach())
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_without_bias_the_length_alone_is_set():
    layer, x = WeightNormLinear(8, 4, bias=False), torch.randn(500, 8) + 2
    data_init(layer, x)
    torch.testing.assert_close(layer(x).var(0, correction=0).detach(), torch.ones(4), atol=1e-3, rtol=0)
    assert (layer(x).mean(0).abs() > 0.1).any()


def test_a_shared_layer_is_initialized_by_its_first_call():
    shared = nn.Linear(6, 6)
    network = normalize(nn.Sequential(shared, nn.ReLU(), shared), "weight")
    x = torch.randn(300, 6)
    data_init(network, x)
    torch.testing.assert_close(network[0](x).var(0, correction=0).detach(), torch.ones(6), atol=1e-3, rtol=0)


def test_modes_and_hooks_are_as_before():
    network = make_network().train()
    network[0].eval()
    data_init(network, minibatch())
    assert [m.training for m in network] == [False] + [True] * (len(network) - 1)
    assert not any(m._forward_pre_hooks for m in network.modules())
    assert all(p.requires_grad and p.grad is None for p in network.parameters())


def test_an_error_leaves_everything_as_before():
    network = make_network().train()
    network.append(nn.Linear(99, 1))  # does not fit
    before = copy.deepcopy(network.state_dict())
    with pytest.raises(RuntimeError):
        data_init(network, minibatch())
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert not any(m._forward_pre_hooks for m in network.modules())
    assert all(m.training for m in network.modules())


def test_constant_units_stay_finite_and_are_reported():
    network = normalize(nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)), "weight")

    class Dead(nn.Module):
        def forward(self, x):
            return torch.ones_like(x)

    network[1] = Dead()
    with pytest.warns(UserWarning, match="3 of 3 units of layer '2'"):
        data_init(network, torch.randn(50, 4))
    assert all(p.isfinite().all() for p in network.parameters())
    torch.testing.assert_close(network(torch.randn(2, 4)), torch.zeros(2, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(network[2].effective_weight().norm(dim=1), torch.ones(3))


def test_unreached_layers_are_reported():
    network = make_network()
    network.unused = None
    network[0].spare = WeightNormLinear(2, 2)
    with pytest.warns(UserWarning, match=r"not reach them: 0\.spare"):
        data_init(network, minibatch())


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (minibatch(1), "one example"),
        (minibatch(1).repeat(5, 1, 1, 1), "all examples of the minibatch are the same"),
        (minibatch(5) * math.nan, "not finite"),
    ],
)
def test_unusable_minibatches_are_refused(inputs, message):
    network = make_network()
    before = copy.deepcopy(network.state_dict())
    with pytest.raises(ValueError, match=message):
        data_init(network, inputs)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_a_plain_network_is_refused():
    with pytest.raises(ValueError, match="call normalize"):
        data_init(make_network("none"), minibatch())


@pytest.mark.parametrize(("norm", "units"), [("none", "sqrt"), ("weight", "sqrt"), ("weight", "paper")])
def test_he_uniform_takes_effect(norm, units):
    network = make_network(norm, units)
    he_uniform_(network, generator=torch.Generator().manual_seed(3))
    plain = make_network("none")
    he_uniform_(plain, generator=torch.Generator().manual_seed(3))
    x = minibatch()
    torch.testing.assert_close(network.eval()(x), plain.eval()(x), rtol=1e-4, atol=1e-5)
    for layer in (layer for layer in plain if list(layer.parameters())):
        bound = math.sqrt(3 / layer.weight[0].numel())
        assert 0.9 * bound < layer.weight.abs().max().item() <= bound
        assert (layer.bias == 0.1).all()


def test_he_uniform_needs_a_layer():
    with pytest.raises(ValueError, match="no linear"):
        he_uniform_(nn.ReLU())


@pytest.mark.parametrize("layer", [nn.Linear(3, 2), WeightNormLinear(3, 2)])
def test_set_weight(layer):
    weight = nn.init.orthogonal_(torch.empty(2, 3))
    set_weight_(layer, weight)
    torch.testing.assert_close(layer(torch.eye(3)) - layer.bias, weight.T)
