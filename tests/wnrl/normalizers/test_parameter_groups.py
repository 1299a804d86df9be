"""wnrl.normalizers.parameter_groups: what decays, and that decay of g is to the rows what decay of w is."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

import wnrl
from wnrl.normalizers.parameter_groups import parameter_groups


class Everything(nn.Module):
    """Every kind of layer, a tied weight, a shared layer and parameters of its own."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.position = nn.Parameter(torch.randn(1, 5, 4))
        self.temperature = nn.Parameter(torch.ones(()))
        self.words = nn.Embedding(7, 4)
        self.conv = nn.Conv1d(4, 4, 3)
        self.core = nn.LSTM(4, 4)
        self.attention = nn.MultiheadAttention(4, 2, add_bias_kv=True)
        self.layer_norm = nn.LayerNorm((5, 4))
        self.batch_norm = nn.BatchNorm1d(4)
        self.dense = nn.Linear(4, 4)
        self.tied = nn.Linear(4, 4)
        self.tied.weight = self.dense.weight
        self.again = self.dense
        self.out = nn.Linear(4, 2)


def names_with_decay(network, **keywords):
    with_decay, without = parameter_groups(network, 0.1, **keywords)
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    groups = [[names[id(parameter)] for parameter in group["params"]] for group in (with_decay, without)]
    assert sorted(groups[0] + groups[1]) == sorted(names.values())  # each parameter once
    order = list(names.values())
    assert all(group == sorted(group, key=order.index) for group in groups)
    assert (with_decay["weight_decay"], without["weight_decay"]) == (0.1, 0.0)
    return groups[0]


PLAIN = [
    *("position", "words.weight", "conv.weight", "core.weight_ih_l0", "core.weight_hh_l0"),
    *("attention.in_proj_weight", "attention.out_proj.weight", "dense.weight", "out.weight"),
]


def test_of_plain_networks_the_weights_decay():
    assert names_with_decay(Everything()) == PLAIN


@pytest.mark.parametrize("units", ["paper", "sqrt"])
def test_of_weight_normalized_layers_the_lengths_decay(units):
    network = wnrl.normalize(Everything(), "weight", layers=lambda name, layer: True, units=units)
    lengths = ["words.g", "conv.g", "core.g_ih_l0", "core.g_hh_l0", "attention.in_proj_g", "attention.out_proj.g"]
    assert names_with_decay(network) == ["position", *lengths, "dense.g", "out.g"]


def test_embeddings_that_stay_plain_decay():
    assert "words.weight" in names_with_decay(wnrl.normalize(Everything(), "weight"))


def test_in_log_units_nothing_decays():
    network = nn.Sequential(nn.Linear(3, 4), nn.LSTM(4, 2))
    assert names_with_decay(wnrl.normalize(network, "weight", units="log")) == []


@pytest.mark.parametrize(
    ("norm", "expected"),
    [
        ("mean-batch", ["0.g", "2.g"]),
        ("batch", ["0.weight", "2.weight"]),
        ("layer", ["0.weight", "2.weight"]),
        ("spectral", ["0.weight_orig", "2.weight"]),
        ("weight-clip", ["0.weight", "2.weight"]),
        ("projected", ["2.weight"]),
        ("layer+projected", ["2.weight"]),
        ("batch+projected", ["2.weight"]),
    ],
)
def test_of_other_normalizers_the_weights_decay_unless_their_norm_is_fixed(norm, expected):
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    assert names_with_decay(wnrl.normalize(network, norm)) == expected


def test_pruned_and_parametrized_g_and_v():
    network = wnrl.normalize(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 4)), "weight")
    prune.random_unstructured(network[0], "v", 0.5)
    prune.random_unstructured(network[0], "g", 0.5)
    parametrizations.orthogonal(network[1], "v")
    parametrize.register_parametrization(network[2], "g", nn.Softplus())
    assert names_with_decay(network) == ["0.g_orig", "1.g"]


def test_a_weight_decays_only_if_it_does_in_each_place():
    class Used(nn.Module):
        def __init__(self, layer):
            super().__init__()
            self.other = layer.v
            self.layer = layer

    assert names_with_decay(Used(wnrl.WeightNormLinear(2, 2))) == ["layer.g"]


def test_frozen_parameters_stay_in_their_groups_and_do_not_change():
    network = wnrl.normalize(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)), "weight")
    network[0].requires_grad_(False)
    assert names_with_decay(network) == ["0.g", "1.g"]
    before = copy.deepcopy(network.state_dict())
    optimizer = torch.optim.AdamW(parameter_groups(network, 0.5), lr=0.1)
    network(torch.ones(2, 3)).sum().backward()
    optimizer.step()
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"1.g", "1.v", "1.bias"}


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.AdamW, torch.optim.RMSprop])
def test_every_optimizer_takes_the_groups(kind):
    network = wnrl.normalize(Everything(), "weight")
    optimizer = kind(parameter_groups(network, 0.1, lr=0.25), lr=1.0)
    wnrl.check_optimizer(optimizer, network)
    assert [(group["lr"], group["weight_decay"]) for group in optimizer.param_groups] == [(0.25, 0.1), (0.25, 0.0)]
    again = kind(parameter_groups(network, 0.1), lr=1.0)
    again.load_state_dict(optimizer.state_dict())


@pytest.mark.parametrize("wrong", [-0.1, math.inf, math.nan])
def test_a_wrong_decay_is_refused(wrong):
    with pytest.raises(ValueError, match="weight_decay must be 0 or more and finite"):
        parameter_groups(nn.Linear(2, 2), wrong)


def test_lazy_layers_are_refused():
    with pytest.raises(ValueError, match=r"the weight of LazyLinear.* has no shape yet: call the network once"):
        parameter_groups(nn.Sequential(nn.LazyLinear(2)), 0.1)


def rows_of(layer):
    return layer.weight.detach().norm(dim=1)


@pytest.mark.parametrize("units", [None, "paper", "sqrt"])
def test_decoupled_decay_shrinks_rows_as_that_of_w(units):
    """Without a gradient of the loss, AdamW multiplies the plain rows by 1 − ηλ, and ours too, in both units."""
    torch.manual_seed(0)
    layer = nn.Linear(9, 4)
    if units is not None:
        wnrl.normalize(layer, "weight", units=units)
    before, directions = rows_of(layer), nn.functional.normalize(layer.weight.detach())
    optimizer = torch.optim.AdamW(parameter_groups(layer, 0.5), lr=0.1)
    (0.0 * layer(torch.ones(2, 9))).sum().backward()
    optimizer.step()
    torch.testing.assert_close(rows_of(layer), before * (1 - 0.1 * 0.5))
    torch.testing.assert_close(nn.functional.normalize(layer.weight.detach()), directions)


def learned_lengths(units, penalty):
    """Of rows that fit a target, by SGD with L2 decay to its end, and that target's lengths."""
    torch.manual_seed(0)
    layer = nn.Linear(4, 3, bias=False).double()
    target = 2.0 * layer.weight.detach().clone()
    if units is not None:
        wnrl.normalize(layer, "weight", units=units)
    optimizer = torch.optim.SGD(parameter_groups(layer, penalty), lr=0.1)
    for _ in range(400):
        optimizer.zero_grad()
        (0.5 * (layer.weight - target).square().sum()).backward()
        optimizer.step()
    return rows_of(layer), target.norm(dim=1)


@pytest.mark.parametrize(("units", "strength"), [(None, 1.0), ("paper", 1.0), ("sqrt", 1 / 4)])
def test_l2_decay_penalizes_lengths_as_that_of_w_but_in_sqrt_units_n_times_less(units, strength):
    """The minimum of ½(‖w‖ − ‖target‖)² + ½λ‖w‖² is at ‖target‖/(1 + λ)."""
    lengths, target = learned_lengths(units, 0.5)
    torch.testing.assert_close(lengths, target / (1 + 0.5 * strength))
    assert not torch.allclose(lengths, target, rtol=0.05)


def test_decay_of_v_would_leave_the_function_and_shrink_v():
    """What the groups avoid: v vanishes, and with it grows the effective learning rate, while w stays."""
    torch.manual_seed(0)
    layers = [wnrl.WeightNormLinear(4, 3) for _ in range(2)]
    for layer, parameters in zip(layers, (layers[0].parameters(), parameter_groups(layers[1], 0.5)), strict=True):
        optimizer = torch.optim.AdamW(parameters, lr=0.1, weight_decay=0.5)
        before = layer.weight.detach().clone(), layer.v.detach().norm()
        for _ in range(20):
            (0.0 * layer.weight).sum().backward()
            layer.g.grad = None  # only v is looked at
            optimizer.step()
        torch.testing.assert_close(layer.weight.detach(), before[0])
        shrunk = 0.95**20 if layer is layers[0] else 1.0
        torch.testing.assert_close(layer.v.detach().norm(), before[1] * shrunk)
