"""wnrl.recurrent: weight-normalized recurrent layers and cells against torch's."""

import copy
import io
import math
import pickle
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call
from torch.nn.utils.parametrizations import weight_norm
from torch.nn.utils.rnn import pack_sequence

import wnrl.recurrent
from wnrl.folding import fold, polyak, refresh, unfold
from wnrl.formulas import EffectiveWeight
from wnrl.normalizers import normalize
from wnrl.projection import ProjectedLayer, project
from wnrl.recurrent import RECURRENT_WEIGHT_NORM_LAYERS, WeightNormGRU, WeightNormLSTM, WeightNormLSTMCell
from wnrl.stale_parameters import check_optimizer

UNITS = ("sqrt", "paper", "log")
KINDS = list(RECURRENT_WEIGHT_NORM_LAYERS)
SEQUENCES, CELLS = KINDS[:3], KINDS[3:]


def tensors(result):
    """The tensors of what a recurrent layer returns, nested tuples."""
    return [result] if isinstance(result, torch.Tensor) else [t for part in result for t in tensors(part)]


def make(kind, **keywords):
    torch.manual_seed(0)
    layers = {"num_layers": 2, "bidirectional": True} if kind in SEQUENCES else {}
    return kind(3, 4, **layers, **keywords)


def example(kind, dtype=torch.float32):
    torch.manual_seed(1)
    return torch.randn(*[5] * (kind in SEQUENCES), 2, 3, dtype=dtype)


def loss(result):
    return sum(t.square().sum() for t in tensors(result))


def weight_names(plain):
    return [name for name, _ in plain.named_parameters() if name.startswith("weight")]


def by_hand(layer, plain):
    """Effective weights and biases from g and v alone, as functional_call takes them."""
    parameters = dict(layer.named_parameters())
    for name in weight_names(plain):
        g, v = (parameters.pop(letter + name.removeprefix("weight")) for letter in "gv")
        lengths = {"log": g.exp(), "paper": g, "sqrt": g * math.sqrt(v.shape[1])}[layer.units]
        parameters[name] = lengths[:, None] * v / v.norm(dim=1, keepdim=True)
    return parameters


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(SEQUENCES),
    sizes=st.tuples(st.integers(1, 4), st.integers(2, 4)),
    projection=st.integers(0, 1),
    num_layers=st.integers(1, 2),
    bias=st.booleans(),
    batch_first=st.booleans(),
    bidirectional=st.booleans(),
    units=st.sampled_from(UNITS),
)
def test_preserve_and_fold_keep_the_function_of_any_sequence(kind, sizes, projection, units, **arguments):
    plain = kind(*sizes, **arguments, **({"proj_size": projection} if kind is nn.LSTM else {}))
    layer = RECURRENT_WEIGHT_NORM_LAYERS[kind].from_plain(plain, units=units)
    x = torch.randn(2, 3, sizes[0])
    torch.testing.assert_close(layer(x), plain(x), rtol=1e-4, atol=1e-5)
    folded = layer.fold()
    assert repr(folded) == repr(plain)
    assert list(folded.state_dict()) == list(plain.state_dict())
    torch.testing.assert_close(folded(x), layer(x))


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(CELLS), st.integers(1, 4), st.integers(1, 4), st.booleans(), st.sampled_from(UNITS))
def test_preserve_and_fold_keep_the_function_of_any_cell(kind, inputs, hidden, bias, units):
    plain = kind(inputs, hidden, bias=bias)
    layer = RECURRENT_WEIGHT_NORM_LAYERS[kind].from_plain(plain, units=units)
    x = torch.randn(2, inputs)
    torch.testing.assert_close(layer(x), plain(x), rtol=1e-4, atol=1e-5)
    folded = layer.fold()
    assert repr(folded) == repr(plain)
    torch.testing.assert_close(folded(x), layer(x))


@pytest.mark.parametrize("kind", KINDS)
def test_equal_to_torch_parametrization_of_every_weight(kind):
    plain, x = make(kind), example(kind)
    ours = RECURRENT_WEIGHT_NORM_LAYERS[kind].from_plain(plain, units="paper")
    names = weight_names(plain)
    for name in names:
        weight_norm(plain, name)
    torch.testing.assert_close(ours(x), plain(x))
    loss(ours(x)).backward()
    loss(plain(x)).backward()
    gradients = {name: p.grad for name, p in ours.named_parameters()}
    for name in names:
        original = plain.parametrizations[name]
        torch.testing.assert_close(gradients.pop(f"g{name[6:]}"), original.original0.grad.flatten())
        torch.testing.assert_close(gradients.pop(f"v{name[6:]}"), original.original1.grad)
    assert len(gradients) == len(names)  # the biases
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, getattr(plain, name).grad)


@pytest.mark.parametrize("units", UNITS)
@pytest.mark.parametrize("kind", KINDS)
def test_equal_to_weights_computed_by_hand(kind, units):
    plain, x = make(kind), example(kind)
    layer = RECURRENT_WEIGHT_NORM_LAYERS[kind].from_plain(plain, units=units)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    expected = functional_call(plain, by_hand(layer, plain), (x,))
    torch.testing.assert_close(layer(x), expected)
    actual = torch.autograd.grad(loss(layer(x)), list(layer.parameters()))
    torch.testing.assert_close(actual, torch.autograd.grad(loss(expected), list(layer.parameters())))
    assert not torch.allclose(tensors(plain(x))[0], tensors(expected)[0])


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_lengths_directions_and_biases(kind):
    layer = RECURRENT_WEIGHT_NORM_LAYERS[kind](2, 2).double()
    names, parameters = zip(*layer.named_parameters(), strict=True)
    x = torch.randn(*[2] * (kind in SEQUENCES), 1, 2).double()

    def run(*values):
        return tuple(tensors(functional_call(layer, dict(zip(names, values, strict=True)), (x,))))

    assert torch.autograd.gradcheck(run, parameters)


@pytest.mark.parametrize("kind", SEQUENCES)
def test_every_kind_of_input_of_a_sequence(kind):
    for batch_first in (False, True):
        plain = make(kind, batch_first=batch_first)
        layer = RECURRENT_WEIGHT_NORM_LAYERS[kind].from_plain(plain)
        h = torch.randn(4, 2, 4)
        states = (h, -h) if kind is nn.LSTM else h
        unbatched = (h[:, 0], -h[:, 0]) if kind is nn.LSTM else h[:, 0]
        packed = pack_sequence([torch.randn(2, 3), torch.randn(5, 3)], enforce_sorted=False)
        x = torch.randn(2, 2, 3)
        calls = [(x,), (x, states), (x[0],), (x[0], unbatched), (packed,), (packed, states)]
        for call in calls:
            actual, expected = layer(*call), plain(*call)
            assert type(actual[0]) is type(expected[0])
            torch.testing.assert_close(actual, expected)
        torch.testing.assert_close(layer(input=x, hx=states), plain(x, states))
        with pytest.raises((ValueError, RuntimeError), match="input"):
            layer(torch.randn(2, 2, 7))


@pytest.mark.parametrize("kind", CELLS)
def test_every_kind_of_input_of_a_cell(kind):
    plain = make(kind)
    layer, x, h = RECURRENT_WEIGHT_NORM_LAYERS[kind].from_plain(plain), torch.randn(2, 3), torch.randn(2, 4)
    states, unbatched = ((h, -h), (h[0], -h[0])) if kind is nn.LSTMCell else (h, h[0])
    for call in [(x,), (x, states), (x[0],), (x[0], unbatched)]:
        torch.testing.assert_close(layer(*call), plain(*call))


def test_dropout_between_layers_only_in_training():
    layer, x = WeightNormLSTM(3, 4, 2, dropout=0.5), example(nn.LSTM)
    outputs = []
    for module in (layer, layer.fold()):
        torch.manual_seed(0)
        outputs.append(module(x)[0])
    torch.testing.assert_close(*outputs)
    assert not torch.equal(layer(x)[0], layer(x)[0])
    layer.eval()
    assert torch.equal(layer(x)[0], layer(x)[0])


def test_a_fold_does_not_repeat_the_warnings_of_the_constructor():
    with pytest.warns(UserWarning, match="dropout"):
        layer = WeightNormGRU(3, 4, dropout=0.5)
    assert layer.fold().dropout == 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_construction_starts_like_the_plain_layer(kind):
    plain, layer = make(kind), make(RECURRENT_WEIGHT_NORM_LAYERS[kind])
    layer = RECURRENT_WEIGHT_NORM_LAYERS[kind](3, 4)
    torch.manual_seed(0)
    plain = kind(3, 4)
    torch.manual_seed(0)
    layer.reset_parameters()
    torch.testing.assert_close(layer.folded(), dict(plain.named_parameters()))
    torch.manual_seed(0)
    torch.testing.assert_close(RECURRENT_WEIGHT_NORM_LAYERS[kind](3, 4).folded(), dict(plain.named_parameters()))
    assert isinstance(layer, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_each_gate_row_has_a_length_of_its_own(kind):
    plain = make(kind)
    layer = RECURRENT_WEIGHT_NORM_LAYERS[kind].from_plain(plain, units="paper")
    for name in weight_names(plain):
        g, before = getattr(layer, f"g{name[6:]}"), getattr(layer, name).detach()
        assert g.shape == before.shape[:1]
        with torch.no_grad():
            g[1] *= 3
        torch.testing.assert_close(getattr(layer, name)[1], 3 * before[1])
        assert torch.equal(getattr(layer, name)[[0, 2]], before[[0, 2]])


def test_parameters_of_a_projected_bidirectional_lstm():
    layer = WeightNormLSTM(3, 4, bidirectional=True, proj_size=2)
    suffixes = ["ih_l0", "hh_l0", "hr_l0", "ih_l0_reverse", "hh_l0_reverse", "hr_l0_reverse"]
    matrices = {f"{letter}_{suffix}" for letter in "gv" for suffix in suffixes}
    assert set(layer.state_dict()) == matrices | {f"bias_{s}" for s in suffixes if not s.startswith("hr")}
    assert [tuple(layer.get_parameter(name).shape) for name in ("g_ih_l0", "v_ih_l0")] == [(16,), (16, 3)]
    assert [tuple(layer.get_parameter(name).shape) for name in ("g_hr_l0", "v_hr_l0")] == [(2,), (2, 4)]


@pytest.mark.parametrize("units", UNITS)
@pytest.mark.parametrize("kind", KINDS)
def test_round_trips(kind, units):
    layer, x = make(RECURRENT_WEIGHT_NORM_LAYERS[kind], units=units), example(kind)
    expected = layer(x)
    stored = io.BytesIO()
    torch.save(layer.state_dict(), stored)
    stored.seek(0)
    other = copy.deepcopy(layer)
    other.reset_parameters()
    assert not torch.equal(tensors(other(x))[0], tensors(expected)[0])
    other.load_state_dict(torch.load(stored, weights_only=True))
    for twin in (other, copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        torch.testing.assert_close(twin(x), expected, rtol=0, atol=0)
        assert repr(twin) == repr(layer)
    assert all(entry.is_floating_point() for entry in layer.state_dict().values())
    assert not any(name.startswith("weight") for name in layer.state_dict())


@pytest.mark.parametrize("kind", KINDS)
def test_training_goes_on_after_loading(kind):
    def step(layer, optimizer):
        optimizer.zero_grad()
        loss(layer(example(kind))).backward()
        optimizer.step()

    layer, after = make(RECURRENT_WEIGHT_NORM_LAYERS[kind]), RECURRENT_WEIGHT_NORM_LAYERS[kind]
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.1)
    before = {name: p.detach().clone() for name, p in layer.named_parameters()}
    step(layer, optimizer)
    assert all(not torch.equal(before[name], p) for name, p in layer.named_parameters())
    loaded = make(after)
    loaded_optimizer = torch.optim.Adam(loaded.parameters(), lr=0.1)
    loaded.load_state_dict(copy.deepcopy(layer.state_dict()))
    loaded_optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    step(layer, optimizer)
    step(loaded, loaded_optimizer)
    assert all(torch.equal(p, q) for p, q in zip(layer.parameters(), loaded.parameters(), strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_a_change_of_dtype_leaves_nothing_behind(kind):
    layer = make(RECURRENT_WEIGHT_NORM_LAYERS[kind])
    expected = tensors(layer(example(kind)))[0]
    layer.double()
    x = example(kind).double()
    torch.testing.assert_close(tensors(layer(x))[0], expected.double())
    for twin in (copy.deepcopy(layer), copy.deepcopy(layer).to(torch.float64), layer.fold()):
        assert torch.equal(tensors(twin(x))[0], tensors(layer(x))[0])
    with torch.no_grad():
        layer.get_parameter(next(n for n in layer.state_dict() if n.startswith("g"))).mul_(2)
    assert not torch.allclose(tensors(layer(x))[0], expected.double())


@pytest.mark.parametrize("kind", KINDS)
def test_effective_weights_are_computed_once_per_forward_pass(kind, monkeypatch):
    layer, calls = make(RECURRENT_WEIGHT_NORM_LAYERS[kind]), []
    formula = wnrl.recurrent.effective_weight
    monkeypatch.setattr(wnrl.recurrent, "effective_weight", lambda *args: calls.append(args) or formula(*args))
    before = dict(vars(layer))
    layer(example(kind))
    assert len(calls) == len(weight_names(layer.plain_class(3, 4))) * (4 if kind in SEQUENCES else 1)
    assert vars(layer) == before


def test_from_plain_copies_and_keeps_the_settings():
    plain = make(nn.LSTM).double().eval()
    plain.weight_hh_l1.requires_grad_(False)
    layer = WeightNormLSTM.from_plain(plain)
    assert not layer.training
    assert {name for name, p in layer.named_parameters() if not p.requires_grad} == {"g_hh_l1", "v_hh_l1"}
    assert {name for name, p in layer.fold().named_parameters() if not p.requires_grad} == {"weight_hh_l1"}
    assert {p.dtype for p in layer.parameters()} == {torch.float64}
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
    assert all(p.any() for p in plain.parameters())


@pytest.mark.parametrize("units", ["sqrt", "paper"])
def test_zero_rows_are_preserved_and_train(units):
    plain, x = make(nn.GRUCell), example(nn.GRUCell)
    with torch.no_grad():
        plain.weight_ih[1] = 0
    layer = RECURRENT_WEIGHT_NORM_LAYERS[nn.GRUCell].from_plain(plain, units=units)
    torch.testing.assert_close(layer(x), plain(x))
    assert not layer.weight_ih[1].any()
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    loss(layer(x)).backward()
    optimizer.step()
    assert layer.weight_ih[1].any()
    with torch.no_grad():
        layer.v_hh[2] = 0
    loss(layer(x, torch.ones(2, 4))).backward()
    assert all(p.grad.isfinite().all() for p in layer.parameters())


def test_attribute_is_the_effective_weight_read_only():
    layer = make(WeightNormLSTM)
    assert type(layer.weight_hh_l1_reverse) is EffectiveWeight
    assert torch.equal(layer.weight_ih_l0, layer.effective_weight("weight_ih_l0"))
    layer.weight_ih_l0.square().sum().backward()
    assert layer.g_ih_l0.grad.any()
    assert layer.all_weights[0][0].shape == (16, 3)
    with pytest.raises(TypeError, match="set_weight"):
        nn.init.orthogonal_(layer.weight_ih_l0)
    for value in (torch.zeros(16, 3), nn.Parameter(torch.zeros(16, 3))):
        with pytest.raises(AttributeError, match="set_weight"):
            layer.weight_ih_l0 = value
    with pytest.raises(AttributeError, match="weight_ih_l7"):
        _ = layer.weight_ih_l7
    layer.bias_ih_l0 = nn.Parameter(torch.ones(16))
    torch.testing.assert_close(layer(example(nn.LSTM)), layer.fold()(example(nn.LSTM)))


@pytest.mark.parametrize("units", UNITS)
def test_set_weight_and_unfold(units):
    layer, source = make(WeightNormLSTM, units=units), nn.LSTM(3, 4, 2, bidirectional=True)
    weight = nn.init.orthogonal_(torch.empty(16, 3))
    layer.set_weight("weight_ih_l0", weight)
    torch.testing.assert_close(layer.effective_weight("weight_ih_l0"), weight)
    storages = {name: p.data_ptr() for name, p in layer.named_parameters()}
    layer.unfold(dict(source.named_parameters()))
    torch.testing.assert_close(layer(example(nn.LSTM)), source(example(nn.LSTM)))
    assert {name: p.data_ptr() for name, p in layer.named_parameters()} == storages
    with pytest.raises(ValueError, match="has shape"):
        layer.set_weight("weight_ih_l0", weight[:1])
    with pytest.raises(ValueError, match="choose among weight_ih_l0, weight_hh_l0"):
        layer.set_weight("bias_ih_l0", torch.zeros(16))


def test_autocast_takes_norms_in_float32_and_products_in_bfloat16():
    for kind in KINDS:
        layer, x = make(RECURRENT_WEIGHT_NORM_LAYERS[kind]), example(kind)
        plain = layer.fold()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            weights, y, expected = layer.folded(), layer(x), plain(x)
        assert {weight.dtype for weight in weights.values()} == {torch.float32}
        torch.testing.assert_close(weights, layer.folded())
        torch.testing.assert_close(y, expected)
        loss([t.float() for t in tensors(y)]).backward()
        assert {p.grad.dtype for p in layer.parameters()} == {torch.float32}


def test_half_precision_layers_take_norms_in_float32():
    layer = WeightNormLSTMCell(5000, 2, dtype=torch.bfloat16)
    expected = by_hand(copy.deepcopy(layer).float(), nn.LSTMCell(5000, 2))["weight_ih"].bfloat16()
    torch.testing.assert_close(layer.effective_weight("weight_ih"), expected, rtol=1e-2, atol=1e-4)
    assert layer.fold().weight_ih.dtype == torch.bfloat16


@pytest.mark.parametrize("kind", KINDS)
def test_compiled_equals_eager_forward_and_backward(kind):
    torch.compiler.reset()
    layer, x = make(RECURRENT_WEIGHT_NORM_LAYERS[kind]), example(kind)
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=kind in CELLS)  # torch's own sequences break the graph
    torch.testing.assert_close(compiled(x), layer(x))
    actual = torch.autograd.grad(loss(compiled(x)), list(layer.parameters()))
    torch.testing.assert_close(actual, torch.autograd.grad(loss(layer(x)), list(layer.parameters())))
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.mul_(1.5)
    torch.testing.assert_close(compiled(x), layer(x))


class Network(nn.Module):
    """A recurrent layer or cell between dense layers."""

    def __init__(self, kind):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(3, 3), nn.Linear(8 if kind in SEQUENCES else 4, 2)
        self.core = make(kind)

    def forward(self, x):
        return self.last(tensors(self.core(self.first(x)))[0])


def learn(network, x):
    optimizer = torch.optim.Adam(network.parameters(), lr=0.1)
    check_optimizer(optimizer, network)
    loss(network(x)).backward()
    optimizer.step()


@pytest.mark.parametrize("norm", ["weight", "mean-batch", "projected"])
@pytest.mark.parametrize("kind", KINDS)
def test_normalize_fold_refresh_and_unfold(kind, norm):
    network, x = Network(kind).eval(), example(kind)
    expected = network(x)
    normalize(network, norm)
    assert type(network.core) is (ProjectedLayer if norm == "projected" else RECURRENT_WEIGHT_NORM_LAYERS[kind])
    if norm != "projected":
        torch.testing.assert_close(network(x), expected)
    folded, plain = fold(network), Network(kind)
    assert type(folded.core) is kind
    torch.testing.assert_close(folded(x), network(x))
    storages = {name: tensor.data_ptr() for name, tensor in folded.state_dict().items()}
    learn(network, x)
    project(network)
    assert not torch.allclose(folded(x), network(x))
    refresh(folded, network)
    torch.testing.assert_close(folded(x), network(x))
    assert {name: tensor.data_ptr() for name, tensor in folded.state_dict().items()} == storages
    other = normalize(plain.eval(), norm)
    assert not torch.allclose(other(x), network(x))
    unfold(other, folded)
    torch.testing.assert_close(other(x), network(x))


@pytest.mark.parametrize("kind", KINDS)
def test_polyak_averages_weights_and_not_parameters(kind):
    network = normalize(Network(kind), "weight")
    folded = fold(network)
    old, averaged = copy.deepcopy(folded), copy.deepcopy(network)
    learn(network, example(kind))
    polyak(folded, network, 0.25)
    for name, weight in network.core.folded().items():
        expected = 0.75 * getattr(old.core, name) + 0.25 * weight
        torch.testing.assert_close(getattr(folded.core, name), expected)
    for target, source in zip(averaged.parameters(), network.parameters(), strict=True):
        target.data.lerp_(source.data, 0.25)
    names = weight_names(old.core)
    assert not any(torch.allclose(getattr(averaged.core, n), getattr(folded.core, n), rtol=1e-3) for n in names)


@pytest.mark.parametrize("kind", KINDS)
def test_projected_rows_of_every_matrix_have_unit_length(kind):
    layer, x = ProjectedLayer(make(kind)), example(kind)
    learn(layer, x)
    matrices = [p for name, p in layer.named_parameters() if "weight" in name]
    assert not any(torch.allclose(matrix.norm(dim=1), torch.ones(len(matrix))) for matrix in matrices)
    project(layer)
    for matrix in matrices:
        torch.testing.assert_close(matrix.norm(dim=1), torch.ones(len(matrix)))
    torch.testing.assert_close(copy.deepcopy(layer)(x), layer(x))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device: cuDNN's chunk of weights")
@pytest.mark.parametrize("kind", SEQUENCES)
def test_cudnn_finds_the_weights_in_one_chunk(kind):
    layer, x = make(RECURRENT_WEIGHT_NORM_LAYERS[kind]).cuda(), example(kind).cuda()
    storages = {name: p.data_ptr() for name, p in layer.named_parameters()}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        y = layer(x)
    expected = functional_call(layer.plain_class(3, 4, 2, bidirectional=True).cuda(), layer.folded(), (x,))
    torch.testing.assert_close(y, expected)
    actual = torch.autograd.grad(loss(y), list(layer.parameters()))
    torch.testing.assert_close(actual, torch.autograd.grad(loss(expected), list(layer.parameters())))
    assert {name: p.data_ptr() for name, p in layer.named_parameters()} == storages


def test_extra_repr_names_the_arguments():
    assert repr(WeightNormLSTM(3, 2, 2)) == "WeightNormLSTM(3, 2, num_layers=2, units='sqrt')"
    assert repr(WeightNormLSTMCell(3, 2, units="log")) == "WeightNormLSTMCell(3, 2, units='log')"


def test_errors():
    with pytest.raises(ValueError, match="units"):
        WeightNormLSTM(2, 2, units="metres")
    with pytest.raises(TypeError, match="WeightNormLSTM is made from a LSTM, got GRU"):
        WeightNormLSTM.from_plain(nn.GRU(2, 2))
    with pytest.raises(TypeError, match="got WeightNormLSTM"):
        WeightNormLSTM.from_plain(WeightNormLSTM(2, 2))
    with pytest.raises(TypeError, match="ParametrizedLSTM"):
        WeightNormLSTM.from_plain(weight_norm(nn.LSTM(2, 2), "weight_hh_l0"))
    with pytest.warns(FutureWarning):
        hooked = nn.utils.weight_norm(nn.LSTM(2, 2), "weight_hh_l0")
    with pytest.raises(ValueError, match="weight_hh_l0 of LSTM.* is not a parameter"):
        WeightNormLSTM.from_plain(hooked)
    hooked = nn.LSTM(2, 2)
    hooked.register_forward_hook(lambda *_: None)
    with pytest.raises(ValueError, match="hooks"):
        WeightNormLSTM.from_plain(hooked)
