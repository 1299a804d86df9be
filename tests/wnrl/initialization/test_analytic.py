"""wnrl.initialization.analytic: lengths of rows from the shapes of the layers (Arpit et al. 2019)."""

import copy
import itertools
import math

import pytest
import torch
from torch import nn

from wnrl.initialization.analytic import analytic_init
from wnrl.initialization.weighted_layers import weighted_layers
from wnrl.networks.actor_critic import RecurrentActorCritic
from wnrl.networks.architecture import Architecture
from wnrl.networks.lstm_core import LSTMCore
from wnrl.networks.policy_heads import PolicyHead, ValueHead
from wnrl.networks.q_network import q_network
from wnrl.networks.torsos import MLP, ImpalaCNN, ResidualBlock
from wnrl.normalizers.conversions import NORMALIZERS
from wnrl.normalizers.normalize import normalize
from wnrl.weight_norm.normalized_layer import NormalizedLayer
from wnrl.weight_norm.rows import row_norms

FREE = [norm for norm in NORMALIZERS if norm not in ("projected", "spectral")]
OF_WEIGHTS = [norm for norm in FREE if not NORMALIZERS[norm].of_outputs]  # noisy layers take no others


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def effective_weight(layer):
    """In evaluation mode, with the factors of a batch normalization."""
    return (layer.folded()["weight"] if isinstance(layer, NormalizedLayer) else layer.weight).detach()


def lengths(network):
    """The length of every layer's rows, by name; None where they differ within the layer."""
    found = {}
    for layer in weighted_layers(network):
        norms = row_norms(layer.layer, effective_weight(layer.layer))
        found[layer.name] = norms[0].item() if torch.allclose(norms, norms[0], rtol=1e-4) else None
    return found


class Block(nn.Module):
    def __init__(self, width, make=nn.Linear):
        super().__init__()
        self.first, self.last = make(width, width), make(width, width)

    @property
    def branch_output(self):
        return self.last

    def forward(self, x):
        return x + self.last(self.first(x).relu())


class Projecting(Block):
    """A block with a shortcut projection, which no ReLU follows."""

    def __init__(self, before, after):
        super().__init__(after)
        self.first, self.shortcut = nn.Linear(before, after), nn.Linear(before, after)

    @property
    def linear_layers(self):
        return (self.shortcut,)


# Lengths


@pytest.mark.parametrize("units", ["sqrt", "paper", "log", None])
@pytest.mark.parametrize(
    ("layer", "squared"),
    [
        (nn.Linear(4, 16), 2 * 4 / 16),
        (nn.Linear(16, 4), 2 * 16 / 4),
        (nn.Bilinear(2, 3, 4), 2 * 6 / 4),
        (nn.Conv1d(3, 12, 7), 2 * 3 / 12),
        (nn.Conv2d(3, 12, 5, stride=2), 2 * 3 / 12),
        (nn.Conv2d(6, 12, 3, groups=3), 2 * 6 / 12),
        (nn.Conv3d(4, 2, 2), 2 * 4 / 2),
        (nn.ConvTranspose2d(3, 12, 5), 2 * 3 / 12),
        (nn.ConvTranspose1d(4, 6, 3, groups=2), 2 * 4 / 6),
    ],
    ids=str,
)
def test_rows_have_the_root_of_gain_times_inputs_over_outputs(layer, squared, units):
    network = nn.ModuleList([copy.deepcopy(layer), nn.Linear(2, 2)])
    normalize(network, "weight", units=units) if units else None
    analytic_init(network)
    norms = row_norms(network[0], network[0].weight.detach().clone())
    torch.testing.assert_close(norms, torch.full_like(norms, math.sqrt(squared)))
    assert not network[0].bias.any()


def test_g_is_in_the_papers_units():
    network = normalize(nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 3)), "weight", units="paper")
    analytic_init(network)
    torch.testing.assert_close(network[0].g.detach(), torch.full((64,), 0.5))


@pytest.mark.parametrize("shape", [(8, 5), (5, 8), (6, 6)])
def test_directions_are_orthogonal(shape):
    network = normalize(nn.Sequential(nn.Linear(*shape), nn.Linear(shape[1], 1)), "weight")
    analytic_init(network)
    v = network[0].v.detach()  # [out, in]
    product = v @ v.T if len(v) <= v.shape[1] else v.T @ v
    torch.testing.assert_close(product, torch.eye(min(shape)), atol=1e-5, rtol=0)


@pytest.mark.parametrize("norm", FREE)
def test_every_normalizer_gets_the_weight_of_the_plain_network(norm):
    networks = []
    for each in ("none", norm):
        torch.manual_seed(0)
        layers = nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(36, 9), nn.ReLU(), nn.Linear(9, 2)
        networks.append(normalize(nn.Sequential(*layers), each, normalize_output=False))
        analytic_init(networks[-1], generator=seeded())
    plain, normalized = networks
    found = zip(weighted_layers(plain), weighted_layers(normalized), strict=True)
    for ours, theirs in found:
        torch.testing.assert_close(effective_weight(theirs.layer), effective_weight(ours.layer))
    assert lengths(plain) == {"0": pytest.approx(math.sqrt(1.5)), "3": pytest.approx(math.sqrt(8)), "5": None}
    if "layer" not in norm:
        x = torch.randn(5, 3, 5, 5)
        torch.testing.assert_close(normalized.eval()(x), plain(x))


@pytest.mark.parametrize("norm", ["mean-batch", "batch"])
def test_running_statistics_begin_anew(norm):
    network = normalize(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), norm)
    fresh = copy.deepcopy(dict(network.named_buffers()))
    network(torch.randn(20, 3) + 5)
    analytic_init(network)
    assert all(torch.equal(fresh[name], buffer) for name, buffer in network.named_buffers())
    assert not network[0].norm.bias.any()


# What it leaves


@pytest.mark.parametrize(
    ("norm", "architecture"),
    [
        *itertools.product(FREE, [Architecture()]),
        *itertools.product(OF_WEIGHTS, [Architecture(dueling=True, noisy=True)]),
    ],
)
def test_output_layers_stay(norm, architecture):
    network = normalize(q_network((4,), 3, hidden=(8,), architecture=architecture), norm)
    outputs = {part for layer in network.output_layers for part in layer.modules()}
    before = copy.deepcopy(network.state_dict())
    analytic_init(network)
    for layer in weighted_layers(network):
        same = all(torch.equal(before[f"{layer.name}.{k}"], t) for k, t in layer.layer.state_dict().items())
        assert same == (layer.layer in outputs)


def test_recurrent_and_frozen_layers_stay():
    network = RecurrentActorCritic(MLP((5,), (8, 8)), LSTMCore(8, 6), PolicyHead(6, 3), ValueHead(6))
    normalize(network, "weight")
    network.torso.layers[1].requires_grad_(False)
    before = copy.deepcopy(network.state_dict())
    analytic_init(network)
    changed = {name for name, tensor in network.state_dict().items() if not torch.equal(before[name], tensor)}
    assert changed == {"torso.layers.3.g", "torso.layers.3.v", "torso.layers.3.bias"}


def test_parameters_stay_the_same_objects_and_dtypes():
    for dtype in (torch.float64, torch.bfloat16):
        network = normalize(nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 2)), "weight").to(dtype)
        before = [(id(parameter), dtype) for parameter in network.parameters()]
        analytic_init(network)
        assert [(id(parameter), parameter.dtype) for parameter in network.parameters()] == before
        assert lengths(network.double())["0"] == pytest.approx(math.sqrt(12 / 5), rel=1e-2)


def test_the_generator_decides_and_the_global_one_is_left_alone():
    draws = []
    for seed, noise in ((1, 10), (1, 20), (2, 30)):
        network = MLP((4,), (8, 8))
        torch.manual_seed(noise)
        state = torch.get_rng_state()
        analytic_init(network, seeded(seed))
        assert torch.equal(torch.get_rng_state(), state)
        draws.append(network.layers[1].weight.detach())
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


# Residual networks


@pytest.mark.parametrize("norm", ["none", "weight", "batch"])
@pytest.mark.parametrize("blocks", [1, 2, 3])
def test_branches_of_the_impala_network(norm, blocks):
    network = nn.Sequential(ImpalaCNN((2, 16, 16), 8, width=2, blocks=blocks), nn.Linear(8, 3))
    analytic_init(normalize(network, norm))
    found, residual = lengths(network), 0
    for name, module in network.named_modules():
        if isinstance(module, ResidualBlock):
            assert found[f"{name}.conv1"] == pytest.approx(math.sqrt(2))
            assert found[f"{name}.conv2"] == pytest.approx(math.sqrt(1 / blocks))
            residual += 1
    assert residual == 3 * blocks
    stages = [name for name, module in network.named_modules() if module in network[0].linear_layers]
    inputs_per_output = {2 / 32, 32 / 64, 64 / 64}  # no ReLU follows the stages' first convolutions: gain 1
    assert {round(found[name] ** 2, 6) for name in stages} == inputs_per_output
    assert found[f"0.layers.{len(network[0].layers) - 2}"] == pytest.approx(math.sqrt(2 * 64 * 4 / 8))


@pytest.mark.parametrize(
    ("network", "stages"),
    [
        (nn.Sequential(Block(4), Block(4), Block(4)), [3, 3, 3]),
        (nn.Sequential(Block(4), nn.ReLU(), Block(4)), [2, 2]),
        (nn.Sequential(Block(4), nn.Linear(4, 4), Block(4), Block(4)), [1, 2, 2]),
        (nn.Sequential(nn.Sequential(Block(4), Block(4)), nn.Sequential(Block(4))), [2, 2, 1]),
        (nn.ModuleList([Block(4), Block(4), nn.Linear(4, 2)]), [2, 2]),
        (nn.ModuleDict({"one": Block(4), "two": Block(4)}), [2, 2]),
        (Block(4), [1]),
        (nn.Sequential(Block(4), nn.Sequential(Block(4), nn.Sequential(Block(4), Block(4)))), [1, 1, 2, 2]),
    ],
)
def test_a_stage_is_the_blocks_that_follow_each_other_in_one_container(network, stages):
    network = nn.ModuleDict({"torso": network, "head": nn.Linear(4, 2)})
    analytic_init(normalize(network, "weight"))
    branches = [length for name, length in lengths(network).items() if name.endswith("last")]
    assert branches == pytest.approx([math.sqrt(1 / blocks) for blocks in stages])


def test_a_block_used_twice_counts_twice():
    block = Block(4)
    network = nn.Sequential(block, block, nn.Linear(4, 2))
    analytic_init(network)
    assert lengths(nn.Sequential(block))["0.last"] == pytest.approx(math.sqrt(1 / 2))


def test_layers_that_no_relu_follows_have_gain_1():
    network = normalize(nn.Sequential(Projecting(4, 8), Projecting(8, 8), nn.Linear(8, 2)), "weight")
    analytic_init(network)
    found = lengths(network[:2])
    expected = {
        "0.first": 2 * 4 / 8,
        "0.last": 1 / 2,
        "0.shortcut": 4 / 8,
        "1.first": 2,
        "1.last": 1 / 2,
        "1.shortcut": 1,
    }
    assert found == pytest.approx({name: math.sqrt(value) for name, value in expected.items()})


def test_a_block_alone_is_a_stage():
    network = Projecting(4, 8)  # its last layer registered, so its output, is the shortcut
    analytic_init(network)
    assert lengths(network) == {"first": pytest.approx(1.0), "last": pytest.approx(1.0), "shortcut": None}


def test_a_submodule_called_linear_layers_says_nothing():
    network = nn.Module()
    network.linear_layers = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])
    network.head = nn.Linear(4, 2)
    analytic_init(network)
    assert lengths(network.linear_layers) == pytest.approx({"0": math.sqrt(2), "1": math.sqrt(2)})


# Gains by name


@pytest.mark.parametrize("norm", FREE)
def test_gains_by_name_come_first(norm):
    network = normalize(nn.Sequential(Block(4), Block(4), nn.Linear(4, 4), nn.Linear(4, 4)), norm)
    analytic_init(network, gains={"0.last": 0.0, "1.first": 9.0, "3": 4.0})
    expected = {"0.first": 2, "0.last": 0, "1.first": 9, "1.last": 1 / 2, "2": 2, "3": 4}
    assert lengths(network) == pytest.approx({name: math.sqrt(value) for name, value in expected.items()})


@pytest.mark.parametrize(
    ("gains", "message"),
    [
        ({"0.lst": 1.0}, r"unknown layer in gains '0\.lst' \(nearest: 0\.last"),
        ({"q": 1.0}, r"'q'; known: 0\.first, 0\.last, 1"),
        ({"0.last": -1.0}, r"at least 0 and finite, got -1\.0 for '0\.last'"),
        ({"0.last": math.inf}, "got inf"),
        ({"0.last": math.nan}, "got nan"),
    ],
)
def test_gains_that_make_no_sense_are_refused(gains, message):
    network = nn.Sequential(Block(4), nn.Linear(4, 2))
    before = copy.deepcopy(network.state_dict())
    with pytest.raises(ValueError, match=message):
        analytic_init(network, gains=gains)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize("norm", ["projected", "spectral"])
def test_lengths_that_a_method_gives_are_refused(norm):
    with pytest.raises(ValueError, match=r"analytic_init sets the lengths of rows, but .* take 'preserve' or 'he'"):
        analytic_init(normalize(MLP((4,), (8, 8)), norm))


@pytest.mark.parametrize(
    ("network", "message"),
    [(nn.Linear(3, 2), "Linear has no hidden layer to initialize"), (nn.ReLU(), "ReLU has no dense or convolutional")],
)
def test_networks_without_hidden_layers_are_refused(network, message):
    with pytest.raises(ValueError, match=message):
        analytic_init(network)


# What it is for


def norm_ratio(network, x):
    """‖output‖/‖input‖ over a batch."""
    return (network(x).norm() / x.norm()).item()


def deep(layers, width, norm="weight"):
    torch.manual_seed(0)
    hidden = [part for _ in range(layers) for part in (nn.Linear(width, width, bias=False), nn.ReLU())]
    return normalize(nn.Sequential(*hidden, nn.Linear(width, 1)), norm, normalize_output=False)


@pytest.mark.parametrize("norm", ["none", "weight"])
def test_a_deep_network_keeps_the_norm_which_the_default_does_not(norm):
    network, x = deep(50, 64, norm), torch.randn(256, 64, generator=seeded())
    assert norm_ratio(network[:-1], x) < 1e-15
    analytic_init(network, seeded())
    assert 1 / 3 < norm_ratio(network[:-1], x) < 3


@pytest.mark.parametrize("kind", [nn.Conv2d, nn.ConvTranspose2d])
def test_a_deep_convolutional_network_of_changing_width_keeps_the_norm(kind):
    torch.manual_seed(0)
    channels = [32, 64, 48, 96, 32] * 2
    hidden = [
        part
        for before, after in itertools.pairwise(channels)
        for part in (kind(before, after, 3, padding=1, bias=False), nn.ReLU())
    ]
    network, x = nn.Sequential(*hidden, nn.Linear(1, 1)), torch.randn(8, 32, 16, 16, generator=seeded())
    normalize(network, "weight")
    assert norm_ratio(network[:-1], x) < 1e-3
    analytic_init(network, seeded())
    assert 1 / 3 < norm_ratio(network[:-1], x) < 3


def test_a_deep_residual_network_keeps_the_norm_within_e():
    torch.manual_seed(0)
    network, x = (
        nn.Sequential(*(Block(64) for _ in range(40)), nn.Linear(64, 1)),
        torch.randn(256, 64, generator=seeded()),
    )
    normalize(network, "weight")
    analytic_init(network, seeded())
    assert 1 < norm_ratio(network[:-1], x) < math.e
    analytic_init(network, seeded(), gains={f"{i}.last": 1.0 for i in range(40)})
    assert norm_ratio(network[:-1], x) > 1_000
