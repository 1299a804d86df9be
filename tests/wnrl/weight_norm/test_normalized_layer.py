"""wnrl.weight_norm.normalized_layer: the contract of every normalizer around every kind of layer."""

import copy
import pickle

import pytest
import safetensors.torch
import torch
from torch import nn
from torch.func import functional_call
from torch.nn.utils import parametrize

from wnrl.normalizers.conversions import NORMALIZERS, Options
from wnrl.normalizers.folding import fold, polyak, refresh, remove, unfold
from wnrl.normalizers.normalize import normalize
from wnrl.normalizers.projection import project
from wnrl.normalizers.state_dicts import torch_state_dict
from wnrl.weight_norm.normalized_layer import NormalizedLayer

NORMS = [name for name, normalizer in NORMALIZERS.items() if normalizer.hidden]
BATCH_NORMS = ("mean-batch", "batch", "batch+projected")
LAYER_NORMS = ("layer", "layer-channels", "layer+projected")

KINDS = {
    "linear": (lambda bias: nn.Linear(5, 4, bias=bias), [(6, 5)]),
    "time": (lambda bias: nn.Linear(5, 4, bias=bias), [(2, 3, 5)]),
    "bilinear": (lambda bias: nn.Bilinear(3, 5, 4, bias=bias), [(6, 3), (6, 5)]),
    "conv1d": (lambda bias: nn.Conv1d(4, 6, 3, groups=2, bias=bias, padding="same"), [(3, 4, 5)]),
    "conv2d": (lambda bias: nn.Conv2d(4, 6, (3, 2), 2, 1, groups=2, bias=bias, padding_mode="reflect"), [(3, 4, 5, 5)]),
    "conv3d": (lambda bias: nn.Conv3d(4, 6, 2, dilation=2, groups=2, bias=bias), [(3, 4, 4, 4, 3)]),
    "transposed1d": (lambda bias: nn.ConvTranspose1d(4, 6, 3, 2, groups=2, bias=bias), [(3, 4, 4)]),
    "transposed2d": (
        lambda bias: nn.ConvTranspose2d(4, 6, 3, 2, output_padding=1, groups=2, bias=bias),
        [(3, 4, 3, 2)],
    ),
    "transposed3d": (lambda bias: nn.ConvTranspose3d(4, 6, 2, groups=2, bias=bias), [(3, 4, 2, 2, 3)]),
}


def inputs(kind):
    return [torch.randn(shape) + 0.5 for shape in KINDS[kind][1]]


def make(norm, kind="linear", bias=True, seed=0):
    torch.manual_seed(seed)
    return NORMALIZERS[norm].hidden(KINDS[kind][0](bias), Options("sqrt"))


def trained(norm, kind="linear", bias=True):
    """A layer after some updates, with every parameter and statistic away from its start."""
    layer = make(norm, kind, bias)
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.05)
    for _ in range(4):
        optimizer.zero_grad()
        layer(*inputs(kind)).pow(3).sum().backward()
        optimizer.step()
        project(layer)
    return layer


@pytest.fixture(params=[True, False], ids=["bias", "no bias"])
def bias(request):
    return request.param


@pytest.fixture(params=NORMS)
def norm(request):
    return request.param


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


def test_fold_has_the_function_of_evaluation(norm, kind, bias):
    layer, x = trained(norm, kind, bias), inputs(kind)
    folded = layer.fold()
    assert type(folded) is (type(layer) if norm in LAYER_NORMS else type(KINDS[kind][0](bias)))
    torch.testing.assert_close(folded.eval()(*x), layer.eval()(*x), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(folded(*x), make(norm, kind, bias).eval()(*x), rtol=1e-3)  # it has learned
    if norm in BATCH_NORMS:
        assert not torch.allclose(layer.train()(*x), folded(*x), rtol=1e-3)


def test_folded_are_the_parameters_of_the_fold(norm, kind, bias):
    layer = trained(norm, kind, bias)
    folded, parameters = layer.folded(), dict(layer.fold().named_parameters())
    assert list(folded) == list(parameters)
    torch.testing.assert_close({name: t.detach() for name, t in folded.items()}, parameters, rtol=0, atol=0)
    assert any("bias" in name for name in folded) == (bias or norm in (*BATCH_NORMS, *LAYER_NORMS))


def test_folded_are_differentiable(norm, kind):
    layer, x = trained(norm, kind).eval(), inputs(kind)
    through = functional_call(layer.fold(), layer.folded(), tuple(x)).pow(2).sum()
    parameters = list(layer.parameters())
    actual = torch.autograd.grad(through, parameters)
    expected = torch.autograd.grad(layer(*x).pow(2).sum(), parameters)
    torch.testing.assert_close(actual, expected, rtol=1e-3, atol=1e-3)


def test_unfold_takes_the_function_back(norm, kind, bias):
    layer, other, x = trained(norm, kind, bias), make(norm, kind, bias, seed=5), inputs(kind)
    if norm == "spectral":  # its σ is found by and by
        for _ in range(200):
            layer(*x)
    expected, identities = layer.eval()(*x), [id(p) for p in other.parameters()]
    assert not torch.allclose(other.eval()(*x), expected, rtol=1e-2)
    parameters = {name: p.detach().clone() for name, p in layer.fold().named_parameters()}
    for target in (layer, other):
        target.unfold(parameters)
        torch.testing.assert_close(target(*x), expected, rtol=1e-3, atol=1e-3)
    assert [id(p) for p in other.parameters()] == identities
    for parameter in parameters.values():
        parameter.zero_()
    torch.testing.assert_close(other(*x), expected, rtol=1e-3, atol=1e-3)  # it keeps none of them


def test_fold_is_a_copy(norm):
    layer = trained(norm)
    folded, x = layer.fold(), inputs("linear")
    expected = folded(*x).detach()
    assert all(p.is_leaf and p.grad is None for p in folded.parameters())
    assert not {p.data_ptr() for p in folded.parameters()} & {p.data_ptr() for p in layer.parameters()}
    with torch.no_grad():
        for tensor in (*layer.parameters(), *layer.buffers()):
            tensor.zero_()
    assert torch.equal(folded(*x), expected)


@pytest.mark.parametrize("training", [True, False])
def test_the_training_flag_goes_along(norm, training):
    plain = nn.Linear(5, 4).train(training)
    layer = NORMALIZERS[norm].hidden(plain, Options("sqrt"))
    assert {m.training for m in layer.modules()} == {training}
    assert {m.training for m in layer.fold().modules()} == {training}
    assert {m.training for m in layer.train(not training).fold().modules()} == {not training}


@pytest.mark.parametrize("frozen", [(), ("weight",), ("bias",), ("weight", "bias")], ids=str)
def test_what_is_frozen_stays_frozen(norm, frozen):
    plain = nn.Linear(5, 4)
    for name in frozen:
        plain.get_parameter(name).requires_grad_(False)
    layer = NORMALIZERS[norm].hidden(plain, Options("sqrt"))
    if len(frozen) == 2:
        assert not any(p.requires_grad for p in layer.parameters())
    if not frozen:
        assert all(p.requires_grad for p in layer.parameters())
    folded = layer.fold()
    assert folded.weight.requires_grad == ("weight" not in frozen)
    assert folded.bias.requires_grad == ("bias" not in frozen)


def test_a_frozen_layer_gains_nothing_to_learn(norm):
    plain = nn.Linear(5, 4, bias=False).requires_grad_(False)
    layer = NORMALIZERS[norm].hidden(plain, Options("sqrt"))
    assert not any(p.requires_grad for p in (*layer.parameters(), *layer.fold().parameters()))


@pytest.mark.parametrize("zero", ["row", "weight"])
@pytest.mark.parametrize("kind", ["linear", "bilinear", "conv2d", "transposed2d"])
def test_zeros_stay_finite(norm, kind, zero):
    plain = KINDS[kind][0](True)
    with torch.no_grad():
        (plain.weight if zero == "weight" else plain.weight[:, 0] if "transposed" in kind else plain.weight[0]).zero_()
    layer, x = NORMALIZERS[norm].hidden(plain, Options("sqrt")), inputs(kind)
    for training in (True, False, True):
        y = layer.train(training)(*x)
        layer.zero_grad()
        y.pow(2).sum().backward()
        assert y.isfinite().all()
        assert all(p.grad.isfinite().all() for p in layer.parameters())
    assert all(t.isfinite().all() for t in (*layer.state_dict().values(), *layer.folded().values()))
    layer.unfold(dict(layer.fold().named_parameters()))
    assert layer(*x).isfinite().all()


@pytest.mark.parametrize("kind", ["linear", "transposed2d"])
def test_round_trips(norm, kind):
    layer, x = trained(norm, kind), inputs(kind)
    expected = layer.eval()(*x)
    state = safetensors.torch.load(safetensors.torch.save(layer.state_dict()))  # without torch's metadata
    assert all(entry.is_floating_point() for entry in state.values())
    other = make(norm, kind, seed=5).eval()
    assert not torch.allclose(other(*x), expected)
    assert other.load_state_dict(state, strict=True).missing_keys == []
    for twin in (other, copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(twin(*x), expected)
        assert not {t.data_ptr() for t in twin.state_dict().values()} & {
            t.data_ptr() for t in layer.state_dict().values()
        }


def test_keyword_arguments_reach_the_plain_layer(norm):
    layer = trained(norm, "transposed1d").eval()
    (x,) = inputs("transposed1d")
    assert layer(x).shape[-1] == 9
    y = layer(x, output_size=[10])
    assert y.shape[-1] == 10
    torch.testing.assert_close(layer.fold()(x, output_size=[10]), y, rtol=1e-4, atol=1e-5)


def make_network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, bias=False),
        nn.ReLU(),
        nn.ConvTranspose2d(4, 4, 2, groups=2),
        nn.BatchNorm2d(4),
        nn.Flatten(),
        nn.Linear(64, 6),
        nn.ReLU(),
        nn.Linear(6, 2),
    )


def images(batch=4):
    return torch.randn(batch, 3, 5, 5) + 0.5


def update(network, count=3):
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    for _ in range(count):
        optimizer.zero_grad()
        network(images()).square().sum().backward()
        optimizer.step()
        project(network)


def test_networks_fold_refresh_and_unfold(norm):
    network, x = normalize(make_network(), norm), images()
    target = fold(network)
    storages = {name: t.data_ptr() for name, t in target.state_dict().items()}
    assert any(isinstance(m, NormalizedLayer) for m in target.modules()) == (norm in LAYER_NORMS)
    update(network)
    network.eval(), target.eval()
    assert not torch.allclose(target(x), network(x), rtol=1e-2)
    refresh(target, network)
    torch.testing.assert_close(target(x), network(x), rtol=1e-4, atol=1e-5)
    assert {name: t.data_ptr() for name, t in target.state_dict().items()} == storages
    expected = network(x).detach()
    update(network.train())
    assert not torch.allclose(network.eval()(x), expected, rtol=1e-2)
    unfold(network, target)
    torch.testing.assert_close(network(x), expected, rtol=1e-2 if norm == "spectral" else 1e-4, atol=1e-3)


def test_soft_updates_average_what_acts(norm):
    network = normalize(make_network(), norm)
    target = fold(network)
    old = copy.deepcopy(target)
    update(network)
    polyak(target, network, 0.25)
    new = dict(fold(network).named_parameters())
    assert any(not torch.equal(new[name], p) for name, p in old.named_parameters())
    for name, parameter in old.named_parameters():
        torch.testing.assert_close(target.get_parameter(name), 0.75 * parameter + 0.25 * new[name])


@pytest.mark.parametrize("every", [2, pytest.param(1, marks=pytest.mark.slow)])
def test_compiled_equals_eager(every):
    """Fast: each of the normalizers as one of the two layers."""
    names = [norm for norm in NORMS if norm != "weight"]
    eager = nn.Sequential(
        *(NORMALIZERS[norm].hidden(nn.Conv2d(3, 3, 3, padding=1), Options("sqrt")) for norm in names[::every]),
        nn.Flatten(),
        nn.Linear(75, 4),
        *(NORMALIZERS[norm].hidden(nn.Linear(4, 4), Options("sqrt")) for norm in names[every - 1 :: every]),
    )
    network = copy.deepcopy(eager)
    compiled = torch.compile(network, fullgraph=True, dynamic=False, backend="aot_eager")
    for training, batch in ((True, 4), (True, 4), (False, 3)):
        x = images(batch)
        y, expected = compiled.train(training)(x), eager.train(training)(x)
        torch.testing.assert_close(y, expected)
        actual = torch.autograd.grad(y.square().sum(), list(network.parameters()))
        expected = torch.autograd.grad(expected.square().sum(), list(eager.parameters()))
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(dict(network.named_buffers()), dict(eager.named_buffers()))


def test_autocast(norm):
    layer, x = trained(norm, "conv2d"), inputs("conv2d")
    expected = copy.deepcopy(layer)(*x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = layer(*x)
        assert layer.fold().weight.dtype == torch.float32
    torch.testing.assert_close(y.float(), expected, rtol=5e-2, atol=5e-2)
    y.float().sum().backward()
    assert {t.dtype for t in (*layer.state_dict().values(), *(p.grad for p in layer.parameters()))} == {torch.float32}


class Doubled(nn.Module):
    """A parametrization: twice the parameter."""

    def forward(self, parameter):
        return 2 * parameter


@pytest.mark.parametrize("norm", [norm for norm in NORMS if norm not in LAYER_NORMS])
@pytest.mark.parametrize("which", ["weight", "bias"])
def test_parametrizations_become_permanent(norm, which):
    layer, x = trained(norm).eval(), inputs("linear")
    holder, name = {id(p): (part, name) for part in layer.modules() for name, p in part._parameters.items()}[
        id(layer.holders()[which])
    ]
    parametrize.register_parametrization(holder, name, Doubled())
    network = nn.Sequential(layer)
    y, original = network(*x), holder.parametrizations[name].original
    folded, state = fold(network), torch_state_dict(network, "plain")
    torch.testing.assert_close(folded(*x), y)
    torch.testing.assert_close(network(*x), y)  # torch's class of parametrized layers is one for all copies
    assert {key: t.tolist() for key, t in state.items()} == {key: t.tolist() for key, t in folded.state_dict().items()}
    assert {key for key, _ in folded.named_parameters()} == {"0.weight", "0.bias"}
    remove(network)
    torch.testing.assert_close(network(*x), y)
    assert {key for key, _ in network.named_parameters()} == {"0.weight", "0.bias"}
    assert type(layer) is nn.Linear
    if holder is layer:
        assert getattr(layer, which) is original
