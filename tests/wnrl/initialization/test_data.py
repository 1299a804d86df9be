"""wnrl.initialization.data: the paper's data-dependent initialization."""

import copy
import math
import warnings
from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from wnrl.initialization.data import data_init, within_layer_init
from wnrl.initialization.weighted_layers import weighted_layers
from wnrl.networks.actor_critic import RecurrentActorCritic
from wnrl.networks.architecture import Architecture
from wnrl.networks.lstm_core import LSTMCore
from wnrl.networks.policy_heads import PolicyHead, ValueHead
from wnrl.networks.q_network import q_network
from wnrl.networks.torsos import MLP
from wnrl.normalizers.conversions import NORMALIZERS
from wnrl.normalizers.folding import fold
from wnrl.normalizers.layer_kinds import WEIGHT_NORM_LAYERS
from wnrl.normalizers.layer_norm import LayerNormalized
from wnrl.normalizers.normalize import normalize
from wnrl.weight_norm.dense import WeightNormLinear

FREE = [norm for norm in NORMALIZERS if norm not in ("projected", "spectral")]
CONVOLUTIONS = [kind for kind in WEIGHT_NORM_LAYERS if kind not in (nn.Linear, nn.Bilinear)]


def make_network(norm="weight", **options):
    torch.manual_seed(0)
    blocks = [layer for _ in range(4) for layer in (nn.Conv2d(4, 4, 3, padding=1), nn.ReLU())]
    network = nn.Sequential(*blocks, nn.Dropout(0.5), nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 3))
    return normalize(network, norm, **options)


def minibatch(batch=200):
    return torch.rand(batch, 4, 4, 4, generator=torch.Generator().manual_seed(1))


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def preactivations(network, *inputs, **keywords):
    """Outputs `[out, values]` in evaluation mode of the first call of every weighted layer, before any layer norm."""
    outputs = {}

    def note(name, values, dim):
        outputs.setdefault(name, values.movedim(dim, 0).flatten(1).detach().double())

    def watch(layer):
        name, norm = layer.name, layer.layer.norm if isinstance(layer.layer, LayerNormalized) else None
        if norm is None:
            return layer.layer.register_forward_hook(lambda _, inputs, output: note(name, output, layer.channel_dim))
        dim = 1 if isinstance(norm, nn.GroupNorm) else -1
        return norm.register_forward_pre_hook(lambda _, inputs: note(name, inputs[0], dim))

    handles = [watch(layer) for layer in weighted_layers(network)]
    network.eval()(*inputs, **keywords)
    for handle in handles:
        handle.remove()
    return outputs


def assert_standard(outputs, mean=1e-4, variance=1e-3):
    assert outputs
    for t in outputs.values():
        torch.testing.assert_close(t.mean(1), torch.zeros_like(t[:, 0]), atol=mean, rtol=0)
        torch.testing.assert_close(t.var(1, correction=0), torch.ones_like(t[:, 0]), atol=variance, rtol=0)


def is_standard(outputs):
    return all((t.mean(1).abs() < 0.01).all() and ((t.var(1, correction=0) - 1).abs() < 0.01).all() for t in outputs)


# What it does


@pytest.mark.parametrize("norm", FREE)
@pytest.mark.parametrize("units", ["sqrt", "paper", "log"])
def test_every_preactivation_has_mean_0_and_variance_1_under_every_normalizer(norm, units):
    network, x = make_network(norm, units=units), minibatch()
    assert not is_standard(preactivations(network, x).values())
    data_init(network, x)
    outputs = preactivations(network, x)
    assert list(outputs) == ["0", "2", "4", "6", "10", "12"]
    assert_standard(outputs)


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(CONVOLUTIONS),
    units=st.sampled_from(["sqrt", "paper", "log", None]),
    groups=st.integers(1, 3),
    sizes=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    kernel=st.integers(1, 3),
    stride=st.integers(1, 2),
    batch=st.integers(5, 20),
)
def test_convolutions_of_every_kind_and_shape(kind, units, groups, sizes, kernel, stride, batch):
    torch.manual_seed(0)
    before, after = (groups * size for size in sizes)
    layer = kind(before, after, kernel, stride=stride, groups=groups)
    layer = normalize(layer, "weight", units=units) if units else layer
    x = torch.randn(batch, before, *[4] * int(kind.__name__[-2])) * 3 + 2
    data_init(layer, x, generator=seeded())
    assert_standard(preactivations(layer, x))


@settings(max_examples=30, deadline=None)
@given(
    sizes=st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9)),
    units=st.sampled_from(["sqrt", "paper", "log", None]),
    lead=st.lists(st.integers(1, 4), min_size=0, max_size=2),
    scale=st.sampled_from([1e-3, 1.0, 1e3]),
)
def test_dense_and_bilinear_layers_of_every_shape(sizes, units, lead, scale):
    torch.manual_seed(0)
    before, other, after = sizes
    x, y = (torch.randn(12, *lead, size) * scale + scale for size in (before, other))
    for layer, inputs in ((nn.Linear(before, after), (x,)), (nn.Bilinear(before, other, after), (x, y))):
        layer = normalize(layer, "weight", units=units) if units else layer
        data_init(layer, *inputs, generator=seeded())
        assert_standard(preactivations(layer, *inputs), mean=1e-3)


def test_lengths_and_biases_are_equations_5_and_6_with_small_normal_directions():
    layer = WeightNormLinear(400, 50, units="paper", dtype=torch.float64)
    x = torch.randn(300, 400, dtype=torch.float64) * 3 + 1
    data_init(layer, x, generator=seeded(5))
    assert layer.v.std().item() == pytest.approx(0.05, rel=0.02)
    assert layer.v.mean().item() == pytest.approx(0.0, abs=1e-3)
    t = x @ layer.v.detach().T / layer.v.detach().norm(dim=1)
    torch.testing.assert_close(layer.g.detach(), 1 / t.std(0, correction=0), rtol=1e-9, atol=0)
    torch.testing.assert_close(layer.bias.detach(), -t.mean(0) / t.std(0, correction=0), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("norm", ["none", "weight", "layer", "mean-batch"])
def test_within_layer_is_the_algorithm_of_its_paper(norm):
    network, x = make_network(norm), minibatch()
    within_layer_init(network, x, generator=seeded(5))
    assert_standard(preactivations(network, x))
    drawn = torch.empty(4, 4, 3, 3).normal_(generator=seeded(5))
    z = nn.functional.conv2d(x, drawn, padding=1)
    deviation, mean = z.std((0, 2, 3), correction=0), z.mean((0, 2, 3))
    torch.testing.assert_close(network[0].weight.detach(), drawn / deviation.view(-1, 1, 1, 1), rtol=1e-4, atol=1e-6)
    if norm == "weight":
        torch.testing.assert_close(network[0].v.detach(), drawn, rtol=0, atol=0)
    if norm != "mean-batch":
        torch.testing.assert_close(network[0].bias.detach(), -mean / deviation, rtol=1e-3, atol=1e-5)


def test_plain_networks_and_any_units_start_with_the_same_function():
    x, outputs = minibatch(), []
    for norm, units in (("none", "sqrt"), ("weight", "sqrt"), ("weight", "paper"), ("weight", "log")):
        network = make_network(norm, units=units).eval()
        data_init(network, x, generator=seeded(2))
        outputs.append(network(x))
    for other in outputs[1:]:
        torch.testing.assert_close(other, outputs[0], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("norm", ["mean-batch", "batch"])
def test_running_statistics_are_those_of_the_minibatch(norm):
    network, x = normalize(nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 2)), norm), torch.randn(100, 5) + 3
    with torch.no_grad():
        network[0].norm.bias.fill_(9.0)
        network[0].norm.running_mean.fill_(9.0)
    data_init(network, x)
    layer = network[0]
    t = layer.before_norm(x).detach()
    torch.testing.assert_close(layer.norm.running_mean, t.mean(0), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(t.var(0, correction=0), torch.ones(4), atol=1e-3, rtol=0)
    assert not layer.norm.bias.any()
    torch.testing.assert_close(network.eval()(x), network.train()(x), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(fold(network)(x), network.eval()(x), atol=1e-4, rtol=1e-4)


def test_without_bias_the_length_alone_is_set():
    layer, x = WeightNormLinear(8, 4, bias=False), torch.randn(500, 8) + 2
    data_init(layer, x)
    torch.testing.assert_close(layer(x).var(0, correction=0).detach(), torch.ones(4), atol=1e-3, rtol=0)
    assert (layer(x).mean(0).abs() > 0.1).any()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("norm", ["none", "weight"])
def test_statistics_of_half_precision_are_taken_in_float32(norm, dtype):
    layer = normalize(nn.Linear(20, 8), norm).to(dtype)
    x = (torch.randn(4_000, 20, generator=seeded()) + 1).to(dtype)
    data_init(layer, x, generator=seeded())
    assert all(parameter.dtype == dtype for parameter in layer.parameters())
    assert_standard(preactivations(layer, x), mean=0.02, variance=0.02)
    single = normalize(nn.Linear(20, 8), norm)
    data_init(single, x.float(), generator=seeded())
    torch.testing.assert_close(layer(x).float(), single(x.float()), atol=0.1, rtol=0.1)


@pytest.mark.parametrize("norm", ["none", "weight", "mean-batch", "batch"])
def test_large_offsets_are_no_constants_in_float64(norm):
    network = normalize(nn.Sequential(nn.Linear(20, 8), nn.Tanh(), nn.Linear(8, 3)), norm).double()
    x = 3e7 + torch.randn(300, 20, generator=seeded(), dtype=torch.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data_init(network, x, generator=seeded())
    assert_standard(preactivations(network, x), mean=1e-6, variance=1e-4 if norm == "batch" else 1e-6)


@pytest.mark.parametrize("scale", [1e-5, 1e-3, 1e3])
def test_half_precision_stays_finite_at_any_scale(scale):
    layer, x = WeightNormLinear(20, 8, dtype=torch.float16, units="paper"), torch.randn(100, 20, generator=seeded())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data_init(layer, (x * scale).half())
    assert all(parameter.isfinite().all() for parameter in layer.parameters())


# Any network


class Branches(nn.Module):
    """Two inputs, an image and a vector, that meet in a bilinear layer."""

    def __init__(self):
        super().__init__()
        self.left = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 5), nn.ReLU())
        self.right = nn.Linear(4, 6)
        self.join = nn.Bilinear(5, 6, 7)
        self.head = nn.Linear(7 + 6, 2)

    def forward(self, image, vector, scale=1.0):
        left, right = self.left(image.float() / 255), self.right(vector * scale).tanh()
        return self.head(torch.cat([self.join(left, right).relu(), right], dim=1))


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(6, 6)
        self.branches = nn.ModuleList(nn.Sequential(nn.ReLU(), nn.Linear(6, 6)) for _ in range(3))

    def forward(self, x):
        x = self.first(x)
        for branch in self.branches:
            x = x + branch(x)
        return x


class OfTree(nn.Module):
    """Takes its inputs from a dictionary of tensors and tuples."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, tree):
        return self.inner(*tree["parts"], scale=tree["scale"])


class Observation(NamedTuple):
    image: torch.Tensor
    vector: torch.Tensor


def two_inputs(batch=100):
    images = torch.randint(0, 256, (batch, 2, 4, 4), dtype=torch.uint8, generator=seeded())
    return images, torch.randn(batch, 4, generator=seeded())


@pytest.mark.parametrize("norm", FREE)
def test_branches_with_two_inputs(norm):
    network, inputs = normalize(Branches(), norm), two_inputs()
    data_init(network, *inputs, generator=seeded())
    outputs = preactivations(network, *inputs)
    assert set(outputs) == {"left.0", "left.3", "right", "join", "head"}
    assert_standard(outputs)


def test_inputs_in_trees_and_by_name():
    networks, (images, vectors) = [OfTree(Branches()), OfTree(Branches()), Branches()], two_inputs()
    data_init(networks[0], {"parts": (images, vectors), "scale": 1.0}, generator=seeded())
    data_init(networks[1], tree={"parts": Observation(images, vectors), "scale": 1.0}, generator=seeded())
    data_init(networks[2], vector=vectors, image=images, generator=seeded())
    states = [dict(networks[0].inner.state_dict()), dict(networks[1].inner.state_dict()), networks[2].state_dict()]
    assert all(torch.equal(states[0][name], state[name]) for state in states for name in state)
    assert_standard(preactivations(networks[2], images, vectors))


@pytest.mark.parametrize("norm", FREE)
def test_residual_sums(norm):
    network, x = normalize(Residual(), norm), torch.randn(200, 6)
    data_init(network, x)
    outputs = preactivations(network, x)
    assert len(outputs) == 4
    assert_standard(outputs)


@pytest.mark.parametrize("norm", FREE)
def test_a_shared_layer_is_initialized_by_its_first_call(norm):
    shared = nn.Linear(6, 6)
    network = nn.Sequential(shared, nn.ReLU(), shared, nn.Linear(6, 2))
    network, x = normalize(network, norm), torch.randn(300, 6)
    data_init(network, x)
    outputs = preactivations(network, x)
    assert list(outputs) == ["0", "3"]
    assert_standard(outputs)


@pytest.mark.parametrize("norm", ["none", "weight"])
def test_tied_weights_are_initialized_by_their_first_call(norm):
    layers = [normalize(nn.Linear(6, 6), norm) for _ in range(2)]
    name = "weight" if norm == "none" else "v"
    setattr(layers[1], name, getattr(layers[0], name))
    network, x = nn.Sequential(layers[0], nn.ReLU(), layers[1]), torch.randn(300, 6)
    bias = layers[1].bias.detach().clone()
    data_init(network, x)
    assert_standard({"0": preactivations(network, x)["0"]})
    assert torch.equal(layers[1].bias.detach(), bias)


@pytest.mark.parametrize("norm", ["none", "weight"])
def test_a_weight_that_an_embedding_has_too_stays_with_a_warning(norm):
    embedding, output = nn.Embedding(50, 6), nn.Linear(6, 50)
    output.weight = embedding.weight
    network = nn.Sequential(embedding, nn.Linear(6, 6), nn.Tanh(), output)
    network, x = normalize(network, norm, layers=lambda name, layer: True), torch.randint(50, (300, 2))
    before = copy.deepcopy([embedding.state_dict(), output.state_dict()])
    with pytest.warns(UserWarning, match="not initialized, .* have the same weight: 3$"):
        data_init(network, x)
    for old, new in zip(before, [embedding.state_dict(), output.state_dict()], strict=True):
        assert all(torch.equal(old[name], new[name]) for name in old)
    assert_standard({"1": preactivations(network, x)["1"]})


def test_images_of_bytes_and_every_kind_of_head():
    obs = torch.randint(0, 256, (60, 2, 36, 36), dtype=torch.uint8, generator=seeded())
    for architecture in (
        Architecture(dueling=True, distribution="categorical", atoms=5),
        Architecture(torso="impala", noisy=True, distribution="quantile", quantiles=5),
    ):
        network = q_network((2, 36, 36), 3, hidden=(16,), architecture=architecture, norm="weight")
        data_init(network, obs)
        outputs = preactivations(network, obs)
        assert len(outputs) == len(weighted_layers(network))
        assert_standard(outputs, mean=1e-3)


@pytest.mark.parametrize("norm", ["none", "weight"])
def test_recurrent_layers_stay_as_they_are(norm):
    network = RecurrentActorCritic(MLP((5,), (8,)), LSTMCore(8, 6), PolicyHead(6, 3), ValueHead(6))
    normalize(network, norm)
    before = copy.deepcopy(network.core.state_dict())
    obs, first = torch.randn(7, 40, 5, generator=seeded()), torch.zeros(7, 40)
    data_init(network, obs, network.initial_state(40), first)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.core.state_dict().items())
    outputs = preactivations(network, obs, network.initial_state(40), first)
    assert list(outputs) == ["torso.layers.1", "policy.layer", "value.layer"]
    assert_standard(outputs)


def test_one_step_of_many_environments_is_a_minibatch():
    network = RecurrentActorCritic(MLP((5,), (8,)), LSTMCore(8, 6), PolicyHead(6, 3), ValueHead(6))
    inputs = torch.randn(1, 40, 5), tuple(torch.randn(2, 40, 6)), torch.zeros(1, 40)
    inputs = inputs[0], type(network.initial_state(1))(*inputs[1]), inputs[2]
    data_init(network, *inputs)
    assert_standard(preactivations(network, *inputs))


@pytest.mark.parametrize("norm", FREE)
def test_frozen_layers_stay_as_they_are(norm):
    network, x = make_network(norm), minibatch()
    for module in (network[0], network[2]):
        module.requires_grad_(False)
    before = copy.deepcopy([network[0].state_dict(), network[2].state_dict()])
    data_init(network, x)
    for old, new in zip(before, [network[0].state_dict(), network[2].state_dict()], strict=True):
        assert all(torch.equal(old[name], new[name]) for name in old)
    outputs = preactivations(network, x)
    assert_standard({name: t for name, t in outputs.items() if name not in ("0", "2")})


@pytest.mark.parametrize("norm", ["projected", "spectral"])
def test_lengths_that_a_method_gives_are_refused(norm):
    with pytest.raises(ValueError, match=r"data_init sets the lengths of rows, but layer .* take 'preserve' or 'he'"):
        data_init(make_network(norm), minibatch())


# What it leaves


def test_the_generator_decides_and_the_global_one_is_left_alone():
    x, draws = minibatch(), []
    for seed, noise in ((1, 10), (1, 20), (2, 30)):
        network = make_network()
        torch.manual_seed(noise)
        state = torch.get_rng_state()
        data_init(network, x, generator=seeded(seed))
        assert torch.equal(torch.get_rng_state(), state)
        draws.append(network[0].v.detach())
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


@pytest.mark.parametrize("grad", [True, False])
def test_modes_hooks_and_gradients_are_as_before(grad):
    network = make_network().train()
    network[0].eval()
    calls = []
    network[2].register_forward_pre_hook(lambda *_: calls.append(1))
    with torch.set_grad_enabled(grad):
        data_init(network, minibatch())
    assert [m.training for m in network] == [False] + [True] * (len(network) - 1)
    assert [len(m._forward_pre_hooks) for m in network] == [int(m is network[2]) for m in network]
    assert all(p.requires_grad and p.grad is None for p in network.parameters())
    assert calls == [1]


def test_parameters_stay_the_same_objects():
    for norm in FREE:
        network = make_network(norm)
        before = [id(tensor) for tensor in (*network.parameters(), *network.buffers())]
        data_init(network, minibatch())
        assert [id(tensor) for tensor in (*network.parameters(), *network.buffers())] == before


class Counter(nn.Module):
    """Counts its calls, once in place and once by a new tensor."""

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))
        self.register_buffer("replaced", torch.zeros(1), persistent=False)

    def forward(self, x):
        self.calls += 1
        self.replaced = self.replaced + 1
        return x


@pytest.mark.parametrize("norm", FREE)
def test_an_error_leaves_everything_as_before(norm):
    network = make_network(norm).train().insert(0, Counter())
    network.append(nn.Linear(99, 1))  # does not fit
    before = copy.deepcopy([*network.parameters(), *network.buffers()])
    held = [id(tensor) for tensor in (*network.parameters(), *network.buffers())]
    with pytest.raises(RuntimeError):
        data_init(network, minibatch())
    after = [*network.parameters(), *network.buffers()]
    assert all(torch.equal(*pair) for pair in zip(before, after, strict=True))
    assert [id(tensor) for tensor in after] == held
    assert not any(m._forward_pre_hooks for m in network.modules())
    assert all(m.training for m in network.modules())


def test_a_compiled_network_is_initialized_as_it_is():
    network = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))
    torch._dynamo.reset()
    compiled, x = torch.compile(network, backend="eager"), torch.randn(50, 4)
    with torch.no_grad():  # makes a graph without hooks, which would do for the pass of data_init
        compiled.eval()(x)
    data_init(compiled, x)
    for y in (network(x), compiled(x)):
        torch.testing.assert_close(y.mean(0), torch.zeros(3), atol=1e-4, rtol=0)
        torch.testing.assert_close(y.std(0, correction=0), torch.ones(3))


# Minibatches that say nothing


class Dead(nn.Module):
    def forward(self, x):
        return torch.ones_like(x)


@pytest.mark.parametrize("norm", FREE)
def test_constant_units_stay_finite_and_are_reported(norm):
    network = nn.Sequential(nn.Linear(4, 5), Dead(), nn.Linear(5, 3), nn.GRU(3, 3))  # the dense layers are hidden ones
    normalize(network, norm)
    with pytest.warns(UserWarning, match="3 of 3 units of layer '2' are constant over the minibatch: .* length 1"):
        data_init(network, torch.randn(50, 4))
    assert all(tensor.isfinite().all() for tensor in (*network.parameters(), *network.buffers()))
    (_, layer) = weighted_layers(network)
    outputs = preactivations(network, torch.randn(2, 4))["2"].float()
    torch.testing.assert_close(outputs, torch.zeros(3, 2), atol=1e-5, rtol=0)
    torch.testing.assert_close(layer.layer.weight.detach().clone().norm(dim=1), torch.ones(3))


def test_units_are_counted_and_the_others_are_right():
    layer, x = nn.Conv2d(4, 4, 3, groups=4), minibatch()
    x[:, 1:3] = 7.0  # two groups see a constant
    with pytest.warns(UserWarning, match="2 of 4 units of the network itself are constant"):
        data_init(layer, x)
    t = layer(x).detach().movedim(1, 0).flatten(1)
    torch.testing.assert_close(t.mean(1), torch.zeros(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(t.var(1, correction=0), torch.tensor([1.0, 0.0, 0.0, 1.0]), atol=1e-3, rtol=0)


@pytest.mark.parametrize(("dtype", "noise"), [(torch.float64, 1e-12), (torch.float32, 1e-3), (torch.bfloat16, 3.0)])
def test_units_that_vary_by_rounding_alone_are_constant(dtype, noise):
    noise = noise * torch.randn(50, 1, generator=seeded(), dtype=torch.float64)
    x, layer = 1_000.0 + noise, nn.Linear(1, 8).to(dtype)
    with pytest.warns(UserWarning, match="8 of 8 units"):
        data_init(layer, x.to(dtype))
    assert layer.weight.abs().max() <= 1.001


def test_unreached_layers_are_reported():
    network = make_network()
    network[0].spare = WeightNormLinear(2, 2)
    with pytest.warns(UserWarning, match=r"not reach them: 0\.spare$"):
        data_init(network, minibatch())


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ((minibatch(1),), "got one example"),
        ((minibatch(0),), "got one example or none"),
        ((), "got one example or none"),
        ((minibatch(1).repeat(5, 1, 1, 1),), "all examples of the minibatch are the same"),
        ((minibatch(5) * math.nan,), "the pre-activations of layer '0' are not finite"),
        ((minibatch(5) * 1e30,), "the pre-activations of layer '0' are not finite"),
    ],
)
def test_unusable_minibatches_are_refused(inputs, message):
    network = make_network()
    before = copy.deepcopy(network.state_dict())
    with pytest.raises(ValueError, match=message):
        data_init(network, *inputs)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_a_network_without_layers_is_refused():
    with pytest.raises(ValueError, match="LSTM has no dense or convolutional layer to initialize"):
        data_init(nn.LSTM(3, 3), torch.randn(4, 5, 3))
