"""wnrl.weight_norm.recurrent: weight-normalized recurrent layers and cells against torch's."""

import copy
import io
import math
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.version import Version
from torch import nn
from torch.func import functional_call
from torch.nn.utils import prune
from torch.nn.utils.parametrizations import weight_norm
from torch.nn.utils.rnn import pack_sequence

from tests.autocast import needs_autocast_lstm
from wnrl.normalizers.folding import fold, polyak, refresh, unfold
from wnrl.normalizers.layer_kinds import RECURRENT_WEIGHT_NORM_LAYERS as LAYERS
from wnrl.normalizers.normalize import normalize
from wnrl.normalizers.projection import ProjectedLayer, project
from wnrl.normalizers.stale_optimizers import check_optimizer
from wnrl.weight_norm import weight_norm_layer
from wnrl.weight_norm.effective_weight import EffectiveWeight
from wnrl.weight_norm.recurrent import WeightNormGRU, WeightNormLSTM, WeightNormLSTMCell, with_weights_computed

UNITS = ("sqrt", "paper", "log")
SEQUENCES = (nn.LSTM, nn.GRU, nn.RNN)
CELLS = (nn.LSTMCell, nn.GRUCell, nn.RNNCell)
KINDS = (*SEQUENCES, *CELLS)

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")  # torch's own


def make(kind, **keywords):
    """A layer from 3 to 4 units, plain or weight-normalized; always the same."""
    torch.manual_seed(0)
    layers = {"num_layers": 2, "bidirectional": True} if issubclass(kind, nn.RNNBase) else {}
    return kind(3, 4, **layers, **keywords)


def inputs(kind):
    """`[5, 2, 3]` and initial states for a sequence, `[2, 3]` and states for a cell."""
    torch.manual_seed(1)
    x, h = (torch.randn(5, 2, 3), torch.randn(4, 2, 4)) if kind in SEQUENCES else (torch.randn(2, 3), torch.randn(2, 4))
    return x, (h, -h) if kind in (nn.LSTM, nn.LSTMCell) else h


def tensors(result):
    """The tensors of what a recurrent layer returns, nested tuples."""
    return [result] if isinstance(result, torch.Tensor) else [t for part in result for t in tensors(part)]


def loss(result):
    return sum(t.float().square().sum() for t in tensors(result))


def differ(first, second):
    return not any(torch.allclose(a, b, rtol=1e-3) for a, b in zip(tensors(first), tensors(second), strict=True))


def weight_names(plain):
    return [name for name, _ in plain.named_parameters() if name.startswith("weight")]


def by_hand(layer, plain):
    """Effective weights and biases from g and v alone, by the plain layer's names."""
    parameters = dict(layer.named_parameters())
    for name in weight_names(plain):
        g, v = (parameters.pop(letter + name.removeprefix("weight")) for letter in "gv")
        lengths = {"log": g.exp(), "paper": g, "sqrt": g * math.sqrt(v.shape[1])}[layer.units]
        parameters[name] = lengths[:, None] * v / v.norm(dim=1, keepdim=True)
    return parameters


def disturb(module):
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))


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
    layer = LAYERS[kind].from_plain(plain, units=units)
    x = torch.randn(2, 3, sizes[0])
    torch.testing.assert_close(layer(x), plain(x), rtol=1e-4, atol=1e-5)
    folded = layer.fold()
    assert repr(folded) == repr(plain)
    assert list(folded.state_dict()) == list(plain.state_dict())
    torch.testing.assert_close(folded(x), layer(x))


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(CELLS), st.integers(1, 4), st.integers(1, 4), st.booleans(), st.sampled_from(UNITS))
def test_preserve_and_fold_keep_the_function_of_any_cell(kind, in_features, hidden, bias, units):
    plain = kind(in_features, hidden, bias=bias)
    layer = LAYERS[kind].from_plain(plain, units=units)
    x = torch.randn(2, in_features)
    torch.testing.assert_close(layer(x), plain(x), rtol=1e-4, atol=1e-5)
    folded = layer.fold()
    assert repr(folded) == repr(plain)
    torch.testing.assert_close(folded(x), layer(x))


@pytest.mark.parametrize("kind", KINDS)
def test_equal_to_torch_parametrization_of_every_weight(kind):
    plain, (x, h) = make(kind), inputs(kind)
    ours, names = LAYERS[kind].from_plain(plain, units="paper"), weight_names(plain)
    for name in names:
        weight_norm(plain, name)
    torch.testing.assert_close(ours(x, h), plain(x, h))
    loss(ours(x, h)).backward()
    loss(plain(x, h)).backward()
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
    plain, (x, h) = make(kind), inputs(kind)
    layer = LAYERS[kind].from_plain(plain, units=units)
    disturb(layer)
    expected = functional_call(plain, by_hand(layer, plain), (x, h))
    assert differ(plain(x, h), expected)
    torch.testing.assert_close(layer(x, h), expected)
    actual = torch.autograd.grad(loss(layer(x, h)), list(layer.parameters()))
    torch.testing.assert_close(actual, torch.autograd.grad(loss(expected), list(layer.parameters())))


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_lengths_directions_and_biases(kind):
    layer = LAYERS[kind](2, 2).double()
    names, parameters = zip(*layer.named_parameters(), strict=True)
    x = torch.randn(*[2] * (kind in SEQUENCES), 1, 2).double()

    def run(*values):
        return tuple(tensors(functional_call(layer, dict(zip(names, values, strict=True)), (x,))))

    assert torch.autograd.gradcheck(run, parameters)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("kind", SEQUENCES)
def test_every_kind_of_input_of_a_sequence(kind, batch_first):
    plain, h = make(kind, batch_first=batch_first), torch.randn(4, 2, 4)
    layer, x = LAYERS[kind].from_plain(plain), torch.randn(2, 2, 3)
    states, unbatched = ((h, -h), (h[:, 0], -h[:, 0])) if kind is nn.LSTM else (h, h[:, 0])
    packed = pack_sequence([torch.randn(2, 3), torch.randn(5, 3)], enforce_sorted=False)
    for call in [(x,), (x, states), (x[0],), (x[0], unbatched), (packed,), (packed, states)]:
        actual, expected = layer(*call), plain(*call)
        assert type(actual[0]) is type(expected[0])
        torch.testing.assert_close(actual, expected)
    torch.testing.assert_close(layer(input=x, hx=states), plain(x, states))
    with pytest.raises((ValueError, RuntimeError), match="input"):
        layer(torch.randn(2, 2, 7))


@pytest.mark.parametrize("kind", CELLS)
def test_every_kind_of_input_of_a_cell(kind):
    plain, h = make(kind), torch.randn(2, 4)
    layer, x = LAYERS[kind].from_plain(plain), torch.randn(2, 3)
    states, unbatched = ((h, -h), (h[0], -h[0])) if kind is nn.LSTMCell else (h, h[0])
    for call in [(x,), (x, states), (x[0],), (x[0], unbatched)]:
        torch.testing.assert_close(layer(*call), plain(*call))
    torch.testing.assert_close(layer(input=x, hx=states), plain(x, states))


def test_other_nonlinearities():
    for kind, x in ((nn.RNN, torch.randn(5, 2, 3)), (nn.RNNCell, torch.randn(2, 3))):
        plain, tanh = make(kind, nonlinearity="relu"), make(kind)
        layer = LAYERS[kind].from_plain(plain)
        torch.testing.assert_close(layer(x), plain(x))
        assert differ(layer(x), tanh(x))
        assert repr(layer.fold()) == repr(plain)


def test_dropout_between_layers_only_in_training():
    layer, x = WeightNormLSTM(3, 4, 2, dropout=0.5), torch.randn(5, 2, 3)
    outputs = []
    for module in (layer, layer.fold()):
        torch.manual_seed(0)
        outputs.append(module(x)[0])
    torch.testing.assert_close(*outputs)
    assert differ(layer(x), layer(x))
    layer.eval()
    torch.testing.assert_close(layer(x), layer(x), rtol=0, atol=0)


def test_a_fold_does_not_repeat_the_warnings_of_the_constructor():
    with pytest.warns(UserWarning, match="dropout"):
        layer = WeightNormGRU(3, 4, dropout=0.5)
    assert layer.fold().dropout == 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_construction_starts_like_the_plain_layer(kind):
    plain, layer = make(kind), make(LAYERS[kind])
    assert isinstance(layer, kind)
    torch.testing.assert_close(layer.folded(), dict(plain.named_parameters()))
    disturb(layer)
    torch.manual_seed(0)
    layer.reset_parameters()
    torch.testing.assert_close(layer.folded(), dict(plain.named_parameters()))


@pytest.mark.parametrize("kind", KINDS)
def test_each_gate_row_has_a_length_of_its_own(kind):
    layer = make(LAYERS[kind], units="paper")
    for name in weight_names(make(kind)):
        g, before = getattr(layer, f"g{name[6:]}"), getattr(layer, name).detach().clone()
        assert g.shape == before.shape[:1]
        with torch.no_grad():
            g[1] *= 3
        torch.testing.assert_close(layer.effective_weight(name)[1], 3 * before[1])
        assert torch.equal(layer.effective_weight(name)[[0, 2, 3]], before[[0, 2, 3]])


def test_parameters_of_a_bidirectional_lstm_with_projections():
    layer = WeightNormLSTM(3, 4, bidirectional=True, proj_size=2)
    suffixes = ["ih_l0", "hh_l0", "hr_l0", "ih_l0_reverse", "hh_l0_reverse", "hr_l0_reverse"]
    matrices = {f"{letter}_{suffix}" for letter in "gv" for suffix in suffixes}
    assert set(layer.state_dict()) == matrices | {f"bias_{s}" for s in suffixes if not s.startswith("hr")}
    assert [tuple(layer.get_parameter(name).shape) for name in ("g_ih_l0", "v_ih_l0")] == [(16,), (16, 3)]
    assert [tuple(layer.get_parameter(name).shape) for name in ("g_hr_l0", "v_hr_l0")] == [(2,), (2, 4)]


@pytest.mark.parametrize("units", UNITS)
@pytest.mark.parametrize("kind", KINDS)
def test_round_trips(kind, units):
    layer, (x, h) = make(LAYERS[kind], units=units), inputs(kind)
    expected = layer(x, h)
    stored = io.BytesIO()
    torch.save(layer.state_dict(), stored)
    stored.seek(0)
    other = copy.deepcopy(layer)
    other.reset_parameters()
    assert differ(other(x, h), expected)
    other.load_state_dict(torch.load(stored, weights_only=True))
    for twin in (other, copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        torch.testing.assert_close(twin(x, h), expected, rtol=0, atol=0)
        assert repr(twin) == repr(layer)
    assert all(entry.is_floating_point() for entry in layer.state_dict().values())
    assert {name[:2] for name in layer.state_dict()} == {"g_", "v_", "bi"}


@pytest.mark.parametrize("kind", KINDS)
def test_training_goes_on_after_loading(kind):
    def step(layer, optimizer):
        optimizer.zero_grad()
        loss(layer(*inputs(kind))).backward()
        optimizer.step()

    layer, loaded = make(LAYERS[kind]), LAYERS[kind].from_plain(make(kind))
    optimizer, loaded_optimizer = (torch.optim.Adam(module.parameters(), lr=0.1) for module in (layer, loaded))
    before = [p.detach().clone() for p in layer.parameters()]
    step(layer, optimizer)
    assert not any(torch.equal(old, p) for old, p in zip(before, layer.parameters(), strict=True))
    loaded.load_state_dict(copy.deepcopy(layer.state_dict()))
    loaded_optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    step(layer, optimizer)
    step(loaded, loaded_optimizer)
    assert all(torch.equal(p, q) for p, q in zip(layer.parameters(), loaded.parameters(), strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_a_change_of_dtype_leaves_nothing_behind(kind):
    layer, (x, _) = make(LAYERS[kind]), inputs(kind)
    expected = tensors(layer(x))[0].double()
    layer.double()
    for twin in (layer, copy.deepcopy(layer), copy.deepcopy(layer).to(torch.float64), layer.fold()):
        torch.testing.assert_close(tensors(twin(x.double()))[0], expected, rtol=1e-5, atol=1e-6)
    disturb(layer)
    assert differ(layer(x.double())[0], expected)


@pytest.mark.parametrize("kind", KINDS)
def test_effective_weights_are_computed_once_per_forward_pass(kind, monkeypatch):
    layer, calls, formula = make(LAYERS[kind]), [], weight_norm_layer.effective_weight
    monkeypatch.setattr(
        weight_norm_layer, "effective_weight", lambda *args, **options: calls.append(args) or formula(*args, **options)
    )
    layer(*inputs(kind))
    assert len(calls) == len(weight_names(make(kind)))


def step_by_step(layer, kind, x, states):
    """All that a layer returns when it is called at each of the five time steps."""
    results = []
    for step in range(5):
        result = layer(x[step : step + 1] if kind in SEQUENCES else x, states)
        states = result[1] if kind in SEQUENCES else result
        results.append(result)
    return results


@pytest.mark.parametrize("kind", KINDS)
def test_a_twin_called_at_each_step_computes_weights_once_with_the_same_gradients(kind, monkeypatch):
    layer, call, calls, formula = make(LAYERS[kind]), inputs(kind), [], weight_norm_layer.effective_weight
    monkeypatch.setattr(
        weight_norm_layer, "effective_weight", lambda *args, **options: calls.append(args) or formula(*args, **options)
    )
    matrices, parameters = len(weight_names(make(kind))), list(layer.parameters())
    expected = step_by_step(layer, kind, *call)
    assert len(calls) == 5 * matrices
    calls.clear()
    actual = step_by_step(with_weights_computed(layer), kind, *call)
    assert len(calls) == matrices
    torch.testing.assert_close(tensors(tuple(actual)), tensors(tuple(expected)), rtol=0, atol=0)
    actual, expected = (torch.autograd.grad(loss(tuple(results)), parameters) for results in (actual, expected))
    torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize("kind", KINDS)
def test_a_twin_keeps_its_weights_and_leaves_the_layer_alone(kind):
    layer, call = make(LAYERS[kind]), inputs(kind)
    before, expected = dict(vars(layer)), layer(*call)
    twin = with_weights_computed(layer)
    assert isinstance(twin, kind)
    assert with_weights_computed(twin) is twin
    assert vars(layer) == before
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            if not name.startswith("bias"):
                parameter.add_(0.1 * torch.randn_like(parameter))
    torch.testing.assert_close(twin(*call), expected, rtol=0, atol=0)
    assert differ(layer(*call), expected)
    torch.testing.assert_close(with_weights_computed(layer)(*call), layer(*call), rtol=0, atol=0)


def test_a_twin_has_the_hooks_of_the_layer():
    layer, called = make(WeightNormLSTM), []
    layer.register_forward_hook(lambda *_: called.append(1))
    twin = with_weights_computed(layer)
    for _ in range(3):
        twin(*inputs(nn.LSTM))
    assert called == [1, 1, 1]


def test_other_modules_are_their_own_twins():
    for module in (nn.LSTM(3, 4), nn.Linear(3, 4), ProjectedLayer.convert(nn.LSTM(3, 4))):
        assert with_weights_computed(module) is module


@pytest.mark.parametrize("kind", KINDS)
def test_a_forward_pass_leaves_the_layer_alone_so_that_threads_may_share_it(kind, monkeypatch):
    layer, during = make(LAYERS[kind]), []
    before = dict(vars(layer))

    def forward(*arguments):
        during.append(dict(vars(layer)))
        return kind.forward(*arguments)

    monkeypatch.setattr(LAYERS[kind], "_own_forward", forward)
    layer(*inputs(kind))
    assert [*during, vars(layer)] == [before, before]


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
    plain, (x, h) = make(nn.GRUCell), inputs(nn.GRUCell)
    with torch.no_grad():
        plain.weight_ih[1] = 0
    layer = LAYERS[nn.GRUCell].from_plain(plain, units=units)
    torch.testing.assert_close(layer(x, h), plain(x, h))
    assert not layer.weight_ih[1].any()
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    loss(layer(x, h)).backward()
    optimizer.step()
    assert layer.weight_ih[1].any()
    with torch.no_grad():
        layer.v_hh[2] = 0
    optimizer.zero_grad()
    loss(layer(x, h)).backward()
    assert all(p.grad.isfinite().all() for p in layer.parameters())


def test_the_attribute_is_the_effective_weight_and_writing_to_it_sets_g_and_v():
    layer = make(WeightNormLSTM)
    assert type(layer.weight_hh_l1_reverse) is EffectiveWeight
    assert torch.equal(layer.weight_ih_l0, layer.effective_weight("weight_ih_l0"))
    layer.weight_ih_l0.square().sum().backward()
    assert layer.g_ih_l0.grad.any()
    assert layer.all_weights[0][0].shape == (16, 3)
    parameters, x = {name: id(p) for name, p in layer.named_parameters()}, torch.randn(5, 2, 3)
    for write in (
        nn.init.orthogonal_,
        lambda weight: setattr(layer, "weight_ih_l0", torch.randn(16, 3)),
        lambda weight: setattr(layer, "weight_ih_l0", nn.Parameter(torch.randn(16, 3))),
        lambda weight: weight.data.mul_(3),
    ):
        before, others = layer(x)[0], layer.effective_weight("weight_hh_l0")
        write(layer.weight_ih_l0)
        assert differ(layer(x)[0], before)
        assert torch.equal(layer.effective_weight("weight_hh_l0"), others)
        torch.testing.assert_close(layer.fold()(x), layer(x))
    assert {name: id(p) for name, p in layer.named_parameters()} == parameters
    for value in (None, 1.0, torch.zeros(16, 4)):
        with pytest.raises((TypeError, ValueError), match=r"cannot be set|has shape"):
            layer.weight_ih_l0 = value
    with pytest.raises(AttributeError, match="weight_ih_l7"):
        _ = layer.weight_ih_l7


def test_a_bias_can_be_replaced():
    layer, x = make(WeightNormLSTM), torch.randn(5, 2, 3)
    before = layer(x)
    layer.bias_ih_l0 = nn.Parameter(torch.ones(16))
    assert differ(layer(x), before)
    torch.testing.assert_close(layer(x), layer.fold()(x))


@pytest.mark.parametrize("units", UNITS)
def test_set_weight_and_unfold(units):
    layer, source, (x, h) = make(WeightNormLSTM, units=units), make(nn.LSTM), inputs(nn.LSTM)
    weight = nn.init.orthogonal_(torch.empty(16, 3))
    layer.set_weight("weight_ih_l0", weight)
    torch.testing.assert_close(layer.effective_weight("weight_ih_l0"), weight)
    disturb(source)
    storages = {name: p.data_ptr() for name, p in layer.named_parameters()}
    assert differ(layer(x, h), source(x, h))
    layer.unfold(dict(source.named_parameters()))
    torch.testing.assert_close(layer(x, h), source(x, h))
    assert {name: p.data_ptr() for name, p in layer.named_parameters()} == storages
    with pytest.raises(ValueError, match="has shape"):
        layer.set_weight("weight_ih_l0", weight[:1])
    with pytest.raises(ValueError, match="choose among weight_ih_l0, weight_hh_l0"):
        layer.set_weight("bias_ih_l0", torch.zeros(16))


@pytest.mark.parametrize("kind", KINDS)
def test_autocast_takes_norms_in_float32_and_products_in_bfloat16(kind):
    needs_autocast_lstm(kind is nn.LSTM)
    layer, (x, h) = make(LAYERS[kind]), inputs(kind)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        weights, y, expected = layer.folded(), layer(x, h), layer.fold()(x, h)
    assert {weight.dtype for weight in weights.values()} == {torch.float32}
    torch.testing.assert_close(weights, layer.folded())
    torch.testing.assert_close(y, expected)
    assert differ([t.float() for t in tensors(y)], layer(x, h))
    loss(y).backward()
    assert {p.grad.dtype for p in layer.parameters()} == {torch.float32}


def test_half_precision_layers_take_norms_in_float32():
    layer = WeightNormLSTMCell(5000, 2, dtype=torch.bfloat16)
    expected = by_hand(copy.deepcopy(layer).float(), nn.LSTMCell(5000, 2))["weight_ih"].bfloat16()
    torch.testing.assert_close(layer.effective_weight("weight_ih"), expected, rtol=1e-2, atol=1e-4)
    assert layer.fold().weight_ih.dtype == torch.bfloat16


@pytest.mark.parametrize("kind", KINDS)
def test_compiled_equals_eager_forward_and_backward(kind):
    torch.compiler.reset()
    layer, (x, h) = make(LAYERS[kind]), inputs(kind)
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=kind in CELLS)  # torch refuses layers over time
    torch.testing.assert_close(compiled(x, h), layer(x, h))
    actual = torch.autograd.grad(loss(compiled(x, h)), list(layer.parameters()))
    torch.testing.assert_close(actual, torch.autograd.grad(loss(layer(x, h)), list(layer.parameters())))
    disturb(layer)
    torch.testing.assert_close(compiled(x, h), layer(x, h))


@pytest.mark.xfail(
    Version(torch.__version__) >= Version("2.15"), reason="torch 2.15 compiles the effective weights apart", strict=True
)
@pytest.mark.parametrize("kind", SEQUENCES)
def test_compiled_in_no_parts_where_torch_refuses(kind):
    for layer in (make(kind), make(LAYERS[kind])):
        torch.compiler.reset()
        graphs = []
        compiled = torch.compile(layer, backend=lambda graph, _, found=graphs: found.append(graph) or graph.forward)
        torch.testing.assert_close(compiled(*inputs(kind)), layer(*inputs(kind)))
        assert not graphs


def test_compiled_whole_where_torch_allows_it():
    torch.compiler.reset()
    layer, (x, h) = make(LAYERS[nn.RNN]), inputs(nn.RNN)
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    with torch._dynamo.config.patch(allow_rnn=True):
        torch.testing.assert_close(compiled(x, h), layer(x, h))


class Network(nn.Module):
    """A recurrent layer or cell between dense layers; always the same."""

    def __init__(self, kind):
        super().__init__()
        self.core = make(kind)
        self.first, self.last = nn.Linear(3, 3), nn.Linear(8 if kind in SEQUENCES else 4, 2)

    def forward(self, x, states):
        return self.last(tensors(self.core(self.first(x), states))[0])


def learn(network, call):
    optimizer = torch.optim.Adam(network.parameters(), lr=0.1)
    check_optimizer(optimizer, network)
    loss(network(*call)).backward()
    optimizer.step()


@pytest.mark.parametrize("norm", ["weight", "mean-batch", "projected"])
@pytest.mark.parametrize("kind", KINDS)
def test_normalize_fold_refresh_and_unfold(kind, norm):
    plain, call = Network(kind).eval(), inputs(kind)
    network, other = (normalize(copy.deepcopy(plain), norm) for _ in range(2))
    assert isinstance(network.core, kind)
    assert isinstance(network.core, ProjectedLayer if norm == "projected" else LAYERS[kind])
    if norm != "projected":
        torch.testing.assert_close(network(*call), plain(*call))
    folded = fold(network)
    assert type(folded.core) is kind
    torch.testing.assert_close(folded(*call), network(*call))
    storages = {name: tensor.data_ptr() for name, tensor in folded.state_dict().items()}
    learn(network, call)
    project(network)
    assert differ(folded(*call), network(*call))
    refresh(folded, network)
    torch.testing.assert_close(folded(*call), network(*call))
    assert {name: tensor.data_ptr() for name, tensor in folded.state_dict().items()} == storages
    assert differ(other(*call), network(*call))
    unfold(other, folded)
    torch.testing.assert_close(other(*call), network(*call))


@pytest.mark.parametrize("kind", KINDS)
def test_polyak_averages_weights_and_not_parameters(kind):
    network = normalize(Network(kind), "weight")
    folded = fold(network)
    old, averaged = copy.deepcopy(folded), copy.deepcopy(network)
    learn(network, inputs(kind))
    polyak(folded, network, 0.25)
    for name, weight in network.core.folded().items():
        torch.testing.assert_close(getattr(folded.core, name), 0.75 * getattr(old.core, name) + 0.25 * weight)
    for target, source in zip(averaged.parameters(), network.parameters(), strict=True):
        target.data.lerp_(source.data, 0.25)
    for name in weight_names(old.core):
        assert differ(averaged.core.effective_weight(name), getattr(folded.core, name))


@pytest.mark.parametrize("kind", KINDS)
def test_projected_rows_of_every_matrix_have_unit_length(kind):
    layer, call = ProjectedLayer.convert(make(kind)), inputs(kind)
    learn(layer, call)
    matrices = [p for name, p in layer.named_parameters() if "weight" in name]
    assert all(differ(matrix.norm(dim=1), torch.ones(len(matrix))) for matrix in matrices)
    project(layer)
    for matrix in matrices:
        torch.testing.assert_close(matrix.norm(dim=1), torch.ones(len(matrix)))
    torch.testing.assert_close(copy.deepcopy(layer)(*call), layer(*call))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device: cuDNN wants its weights in one chunk")
@pytest.mark.parametrize("kind", SEQUENCES)
def test_cudnn_finds_the_weights_in_one_chunk(kind):  # or else it warns, which is an error here
    layer, x = make(LAYERS[kind]).cuda(), inputs(kind)[0].cuda()
    storages = {name: p.data_ptr() for name, p in layer.named_parameters()}
    y = layer(x)
    assert {name: p.data_ptr() for name, p in layer.named_parameters()} == storages
    weights = {name: tensor.clone() for name, tensor in by_hand(layer, make(kind)).items()}
    expected = functional_call(make(kind).cuda(), weights, (x,))
    torch.testing.assert_close(y, expected)
    actual = torch.autograd.grad(loss(y), list(layer.parameters()))
    torch.testing.assert_close(actual, torch.autograd.grad(loss(expected), list(layer.parameters())))


def test_extra_repr_names_the_arguments():
    assert repr(WeightNormLSTM(3, 2, 2)) == "WeightNormLSTM(3, 2, num_layers=2, units=paper)"
    assert repr(WeightNormLSTMCell(3, 2, units="log")) == "WeightNormLSTMCell(3, 2, units=log)"


def test_errors():
    with pytest.raises(ValueError, match="units"):
        WeightNormLSTM(2, 2, units="metres")
    with pytest.raises(TypeError, match="WeightNormLSTM is made from a LSTM, got GRU"):
        WeightNormLSTM.from_plain(nn.GRU(2, 2))
    with pytest.raises(TypeError, match="got WeightNormLSTM"):
        WeightNormLSTM.from_plain(WeightNormLSTM(2, 2))
    with pytest.raises(ValueError, match="ParametrizedLSTM"):
        WeightNormLSTM.from_plain(weight_norm(nn.LSTM(2, 2), "weight_hh_l0"))
    computed = nn.LSTM(2, 2)
    del computed.weight_hh_l0
    computed.weight_hh_l0 = torch.zeros(8, 2)
    with pytest.raises(ValueError, match=r"the weight_hh_l0 of LSTM\(2, 2\) is not a parameter"):
        WeightNormLSTM.from_plain(computed)
    with pytest.raises(ValueError, match="prune or parametrize 'v_hh_l0' instead of 'weight_hh_l0'"):
        prune.l1_unstructured(WeightNormLSTM(2, 2), "weight_hh_l0", amount=0.5)
