"""wnrl.weight_norm.factors: what a layer keeps between passes without gradients, and when it computes it again."""

import copy
import pickle
import threading

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils._pytree import tree_map

import wnrl
from tests.cuda import nothing_waits
from wnrl.weight_norm import factors, weight_norm_layer
from wnrl.weight_norm.factors import keep_on_any_device, kept_factors, outdate
from wnrl.weight_norm.weight_norm_layer import WeightNormLayer

KINDS = {
    "linear": (lambda **k: nn.Linear(6, 5, **k), torch.rand(3, 6)),
    "bilinear": (lambda **k: nn.Bilinear(6, 2, 5, **k), (torch.rand(3, 6), torch.rand(3, 2))),
    "conv1d": (lambda **k: nn.Conv1d(4, 6, 3, padding_mode="reflect", padding=1, groups=2, **k), torch.rand(3, 4, 7)),
    "conv2d": (lambda **k: nn.Conv2d(4, 6, 3, **k), torch.rand(3, 4, 7, 7)),
    "conv3d": (lambda **k: nn.Conv3d(4, 6, 2, **k), torch.rand(3, 4, 4, 4, 4)),
    "transposed": (lambda **k: nn.ConvTranspose2d(4, 6, 3, groups=2, **k), torch.rand(3, 4, 5, 5)),
    "lstm": (lambda **k: nn.LSTM(6, 5, **k), torch.rand(4, 3, 6)),
    "cell": (lambda **k: nn.GRUCell(6, 5, **k), torch.rand(3, 6)),
    "attention": (lambda **k: nn.MultiheadAttention(6, 2, **k), (torch.rand(4, 3, 6),) * 3),
}
UNITS = ("paper", "sqrt", "log")


@pytest.fixture(params=["factors", "small weights"], autouse=True)
def least(request, monkeypatch):
    """Once with the factors of the rows, as of large weights, and once with w itself."""
    monkeypatch.setattr(weight_norm_layer, "LEAST_WEIGHTS", 0 if request.param == "factors" else 2**17)
    return request.param


def make(kind, units="paper", **keywords):
    torch.manual_seed(0)
    build, inputs = KINDS[kind]
    layer = wnrl.normalize(nn.ModuleList([build(**keywords)]), "weight", units=units)[0]
    return layer, inputs if isinstance(inputs, tuple) else (inputs,)


def tensors(output):
    return [output] if isinstance(output, torch.Tensor) else [t for part in output for t in tensors(part)]


def exact(layer, inputs):
    """The outputs with gradients, where nothing is kept."""
    with torch.enable_grad():
        return [t.detach() for t in tensors(copy.deepcopy(layer)(*inputs))]


def check(layer, inputs):
    with torch.no_grad():
        for own, expected in zip(tensors(layer(*inputs)), exact(layer, inputs), strict=True):
            torch.testing.assert_close(own, expected)


def names(layer):
    return [layer.pair_names(name) for name in layer.weight_names]


def is_stale(layer, inputs):
    with torch.no_grad():
        pairs = zip(tensors(layer(*inputs)), exact(layer, inputs), strict=True)
        return not all(torch.allclose(own, expected, rtol=1e-4, atol=1e-6) for own, expected in pairs)


def in_place(layer):
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.mul_(1.5).add_(0.1)


def whole_by_data(layer):
    for v, g in names(layer):
        getattr(layer, v).data.mul_(2.0).add_(0.1)
        getattr(layer, g).data.add_(0.1)


def lengths_by_data(layer):
    for _, g in names(layer):
        getattr(layer, g).data[0] += 1.0


def directions_by_data(layer):
    for v, _ in names(layer):
        getattr(layer, v).data.add_(0.3)


def row_by_data(layer):
    rows = layer.pair_names(layer.weight_names[0])[0]
    row = getattr(layer, rows).data
    (row[:, 0] if isinstance(layer, nn.ConvTranspose2d) else row[0]).add_(0.7)


def other_storage(layer):
    for name in (name for pair in names(layer) for name in pair):
        getattr(layer, name).data = torch.rand_like(getattr(layer, name)) + 0.5


def other_parameters(layer):
    for name in (name for pair in names(layer) for name in pair):
        setattr(layer, name, nn.Parameter(torch.rand_like(getattr(layer, name)) + 0.5))


def by_loading(layer, assign=False):
    layer.load_state_dict({name: torch.rand_like(t) + 0.5 for name, t in layer.state_dict().items()}, assign=assign)


def by_weight(layer):
    with torch.no_grad():
        for name in layer.weight_names:
            nn.init.normal_(getattr(layer, name))


def by_a_step(layer):
    optimizer = torch.optim.SGD(layer.parameters(), 0.5)
    sum(parameter.square().sum() for parameter in layer.parameters()).backward()
    optimizer.step()


CHANGES = {
    "in place": in_place,
    "whole tensors by .data": whole_by_data,
    "one length by .data": lengths_by_data,
    "v by .data": directions_by_data,
    "a row of v by .data": row_by_data,
    "another storage": other_storage,
    "other parameters": other_parameters,
    "load_state_dict": by_loading,
    "load_state_dict(assign=True)": lambda layer: by_loading(layer, assign=True),
    "init": by_weight,
    "a step of an optimizer": by_a_step,
    "to another dtype and back": lambda layer: layer.double().float(),
    "weights are set": lambda layer: [layer.write(n, torch.rand_like(layer.pair(n)[0])) for n in layer.weight_names],
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_change_is_seen(kind, change):
    layer, inputs = make(kind)
    check(layer, inputs)
    check(layer, inputs)
    change(layer)
    check(layer, inputs)
    change(layer)
    check(layer, inputs)


@pytest.mark.parametrize("units", UNITS)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_the_function_is_that_with_gradients(kind, bias, units):
    layer, inputs = make(kind, units, bias=bias)
    for _ in range(3):
        check(layer, inputs)
        in_place(layer)


@pytest.mark.parametrize("kind", KINDS)
def test_factors_are_reused_while_nothing_changes(kind):
    layer, inputs = make(kind)
    with torch.no_grad():
        layer(*inputs)
        first = {name: kept_factors(layer, name) for name in layer.weight_names}
        layer(*inputs)
        assert all(kept_factors(layer, name) is kept for name, kept in first.items())
    layer(*inputs)
    assert "_factors" not in vars(layer)  # dropped by the pass with gradients


def test_single_entries_written_through_data_are_not_seen_unless_outdated():
    layer, inputs = make("linear")
    check(layer, inputs)
    watched = layer.watched_entries("weight").data_ptr()
    for column in layer.v.data.unbind(1):
        if column.data_ptr() != watched:
            column.mul_(3.0)
    assert is_stale(layer, inputs)  # as documented
    outdate(nn.Sequential(layer))
    check(layer, inputs)


@pytest.mark.parametrize("kind", ["linear", "conv2d", "transposed"])
def test_the_watched_entries_are_not_zeros(kind):
    layer, inputs = make(kind)
    with torch.no_grad():
        layer.v.flatten(1)[:, :-1] = 0.0  # a whole tensor of them would not change when it is scaled
    check(layer, inputs)
    layer.v.data.add_(1.0)
    check(layer, inputs)
    assert layer.watched_entries("weight").all()


@pytest.mark.parametrize("size", [2.0**100, 2.0**-100])
def test_rows_with_which_products_would_overflow_have_no_factors(size, least):
    layer, (x,) = make("linear")
    layer.v.data.mul_(size)
    with torch.no_grad():
        assert (kept_factors(layer) is None) == (least == "factors")
    check(layer, (1e10 * x,))


def test_nested_tensors_are_computed_without():
    layer, _ = make("linear")
    x = torch.nested.nested_tensor([torch.rand(2, 6), torch.rand(5, 6)], layout=torch.jagged)
    with torch.no_grad():
        torch.testing.assert_close(layer(x).values(), layer(x.values()))


def test_fx_records_the_layers_as_it_does_torchs():
    layers = (nn.Conv1d(2, 4, 1), nn.ConvTranspose1d(4, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(6, 2))
    network = wnrl.normalize(nn.Sequential(*layers), "weight")
    traced, x = torch.fx.symbolic_trace(network), torch.rand(3, 2, 3)
    in_place(network[0])
    torch.testing.assert_close(traced(x), network(x))
    assert [node.op for node in traced.graph.nodes] == ["placeholder", *["call_module"] * 5, "output"]


def test_the_wrong_answer_without_the_comparison_of_bytes(monkeypatch):
    layer, inputs = make("linear")
    with torch.no_grad():
        layer(*inputs)
        layer._factors["weight"].array = None  # as on a device that the host would wait for
        layer.g.data.mul_(2.0)
        assert is_stale(layer, inputs)


@pytest.fixture
def not_compared(monkeypatch):
    """Values are not compared, as on a GPU."""
    monkeypatch.setattr(factors, "is_compared", lambda tensor: False)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("kind", ["linear", "conv2d", "lstm"])
def test_where_values_are_not_compared_every_change_is_seen(kind, change, not_compared):
    layer, inputs = make(kind)
    for _ in range(2):
        check(layer, inputs)
        change(layer)
    check(layer, inputs)
    assert "_factors" not in vars(layer)


@pytest.mark.parametrize("kind", KINDS)
def test_where_values_are_not_compared_owners_outdate_layers(kind, not_compared):
    layer, inputs = make(kind)
    keep_on_any_device(layer)
    check(layer, inputs)
    assert "_factors" in vars(layer)
    in_place(layer)
    check(layer, inputs)
    whole_by_data(layer)
    assert is_stale(layer, inputs)  # as documented
    outdate(layer)
    check(layer, inputs)


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
def test_copies_have_no_owner_that_outdates_them(duplicate, not_compared):
    layer, inputs = make("linear")
    keep_on_any_device(layer)
    twin = duplicate(layer)
    check(twin, inputs)
    whole_by_data(twin)
    check(twin, inputs)


def test_a_plain_layer_has_no_owner_that_outdates_it():
    layer, _ = make("linear")
    keep_on_any_device(layer)
    assert vars(wnrl.remove(nn.Sequential(layer))[0]).keys() == vars(nn.Linear(6, 5)).keys()


NORMS = ["weight", "mean-batch", "batch", "spectral"]


@pytest.mark.parametrize("norm", NORMS)
def test_where_values_are_not_compared_every_normalizer_sees_every_change(norm, not_compared):
    network, inputs = normalized(norm), (torch.rand(3, 6),)
    check(network, inputs)
    for tensor in (*network.parameters(), *network.buffers()):
        tensor.data.mul_(1.5).add_(0.1)
    check(network, inputs)


@pytest.mark.parametrize("norm", NORMS)
def test_nothing_that_was_kept_comes_into_a_graph(norm, not_compared, monkeypatch):
    network, x = normalized(norm), torch.rand(3, 6)
    for layer in network:
        keep_on_any_device(layer)
    with torch.no_grad():
        kept = network(x)
        spoil(network)
        assert not torch.allclose(network(x), kept)
        monkeypatch.setattr(factors, "is_captured", lambda tensor: True)
        torch.testing.assert_close(network(x), kept)
        outdate(network)
        torch.testing.assert_close(network(x), kept)
    assert not {"_factors", "_kept"} & vars(network[0]).keys()  # nor is anything kept that a graph computes


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("gradients", [True, False])
@pytest.mark.parametrize("norm", ["mean-batch", "batch"])
def test_running_statistics_that_training_moves_are_seen(norm, gradients, compiled, not_compared):
    network, x = normalized(norm), torch.rand(3, 6)
    keep_on_any_device(network[0])
    passed = torch.compile(network, backend="aot_eager") if compiled else network
    for _ in range(2):
        check(network, (x,))
        assert "_kept" in vars(network[0])
        with torch.set_grad_enabled(gradients):
            network.train()
            passed(x)
            network.eval()
    check(network, (x,))


def normalized(norm):
    torch.manual_seed(0)
    return wnrl.normalize(nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 5)), norm, normalize_output=False).eval()[:1]


def spoil(network):
    """Make what is kept wrong."""
    with torch.no_grad():
        for layer in network:
            for made in vars(layer).get("_factors", {}).values():
                made.factor.fill_(1e6)
            if "_kept" in vars(layer):
                tree_map(lambda value: value.fill_(1e6), layer._kept._last[2])


def test_a_layer_that_keeps_no_factors():
    layer, inputs = make("linear")
    vars(layer)["_keeps_no_factors"] = True  # as in target networks
    with torch.no_grad():
        layer(*inputs)
        layer.v.data[:, 1:] *= 3.0
    check(layer, inputs)
    assert "_factors" not in vars(layer)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
@pytest.mark.parametrize("kind", KINDS)
def test_copies_and_pickles_have_none(kind, duplicate):
    layer, inputs = make(kind)
    check(layer, inputs)
    assert "_factors" in vars(layer)
    other = duplicate(layer)
    assert "_factors" not in vars(other)
    in_place(other)
    check(other, inputs)
    check(layer, inputs)


def test_forward_hooks_run():
    layer, inputs = make("linear")
    calls = []
    layer.register_forward_hook(lambda *call: calls.append("after"))
    layer.register_forward_pre_hook(lambda *call: calls.append("before"))
    with torch.no_grad():
        for _ in range(2):
            layer(*inputs)
    assert calls == ["before", "after"] * 2


@pytest.mark.parametrize("kind", ["linear", "conv2d", "lstm"])
def test_threads_see_every_change(kind):
    """One thread writes whole tensors and waits for the other to see them; none may see a mixture afterwards."""
    layer, inputs = make(kind)
    wrong, stop = [], threading.Event()

    def predict():
        with torch.no_grad():
            while not stop.is_set():
                layer(*inputs)

    threads = [threading.Thread(target=predict) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(100):
        in_place(layer)
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter.clamp_(-2.0, 2.0)
        wrong.append(is_stale(layer, inputs))
    stop.set()
    for thread in threads:
        thread.join()
    assert not any(wrong)


def test_the_counters_are_read_before_the_values(monkeypatch):
    layer, inputs = make("linear")
    factor = WeightNormLayer.factor

    def written_meanwhile(self, *arguments):
        result = factor(self, *arguments)
        with torch.no_grad():
            self.g.mul_(2.0)  # by another thread, after the values were read
        return result

    with torch.no_grad():
        monkeypatch.setattr(WeightNormLayer, "factor", written_meanwhile)
        layer(*inputs)
        monkeypatch.undo()
    check(layer, inputs)


@pytest.mark.parametrize("kind", ["linear", "conv2d", "lstm", "attention"])
def test_off_where_a_pass_is_recorded(kind):
    layer, inputs = make(kind)
    check(layer, inputs)
    kept = dict(layer._factors)
    with torch.no_grad():
        if kind in ("linear", "conv2d"):
            traced = torch.jit.trace(layer, inputs, check_trace=False)
            in_place(layer)
            own = tensors(traced(*inputs))
            for output, expected in zip(own, exact(layer, inputs), strict=True):
                torch.testing.assert_close(output, expected)  # the graph computes w from g and v
        state = {name: torch.rand_like(parameter) + 0.5 for name, parameter in layer.named_parameters()}
        other = copy.deepcopy(layer)
        other.load_state_dict(state)
        called = tensors(torch.func.functional_call(layer, state, inputs))
        for output, expected in zip(called, exact(other, inputs), strict=True):
            torch.testing.assert_close(output, expected)
    assert kept.keys() == {*layer.weight_names}


def test_vmap_over_lengths():
    layer, (x,) = make("linear")
    lengths = torch.rand(4, 5)
    with torch.no_grad():
        layer(x)
        call = torch.func.vmap(lambda g: torch.func.functional_call(layer, {"g": g}, (x,)))
        expected = [F.linear(x, wnrl.effective_weight(layer.v, g), layer.bias) for g in lengths]
        torch.testing.assert_close(call(lengths), torch.stack(expected))


@pytest.mark.parametrize("kind", ["linear", "conv2d", "lstm"])
def test_inference_mode(kind):
    layer, inputs = make(kind)
    with torch.inference_mode():
        layer(*inputs)
        layer(*inputs)
    check(layer, inputs)
    in_place(layer)
    with torch.inference_mode():
        own = [t.clone() for t in tensors(layer(*inputs))]
    for output, expected in zip(own, exact(layer, inputs), strict=True):
        torch.testing.assert_close(output, expected)
    with torch.inference_mode():
        born, inputs = make(kind)  # its parameters have no version counters
        first = tensors(born(*inputs))[0].clone()
        born.pair(born.weight_names[0])[1].mul_(2.0)
        assert not torch.equal(tensors(born(*inputs))[0], first)


@pytest.mark.parametrize("kind", ["linear", "conv2d", "transposed"])
def test_autocast_gives_its_dtype(kind):
    layer, inputs = make(kind)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        output = layer(*inputs)
    assert output.dtype is torch.bfloat16
    torch.testing.assert_close(output.float(), exact(layer, inputs)[0], rtol=0.05, atol=0.05)


@pytest.mark.parametrize("kind", ["linear", "conv2d", "transposed", "lstm"])
@pytest.mark.parametrize("size", [0.0, 1e-30, 1e-20, 1e25])
def test_rows_of_any_size(kind, size):
    layer, inputs = make(kind)
    with torch.no_grad():
        for name in layer.weight_names:
            v, g = layer.pair(name)
            (v[:, :1] if kind == "transposed" else v[:1]).mul_(size)
            g.fill_(0.5)
    check(layer, inputs)
    check(layer, inputs)


def test_half_precision_keeps_none():
    layer, (x,) = make("linear")
    layer.bfloat16()
    with torch.no_grad():
        layer(x.bfloat16())
        assert kept_factors(layer) is None


def test_a_subclass_acts_with_factors_through_its_parent():
    class Shifted(nn.Linear):
        def forward(self, input):
            return super().forward(input + 1.0)

    layer = wnrl.normalize(nn.Sequential(Shifted(6, 5)), "weight")[0]
    inputs = (torch.rand(3, 6),)
    check(layer, inputs)
    assert "_factors" in vars(layer)
    in_place(layer)
    check(layer, inputs)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("owned", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_on_a_gpu_by_counters_without_waiting(kind, owned, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)  # TF32 has three digits
    layer, inputs = make(kind)
    layer, inputs = layer.cuda(), tuple(x.cuda() for x in inputs)
    if owned:
        keep_on_any_device(layer)
    check(layer, inputs)
    assert ("_factors" in vars(layer)) == owned
    in_place(layer)
    with nothing_waits(), torch.no_grad():
        layer(*inputs)
        layer(*inputs)
    check(layer, inputs)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("norm", NORMS)
def test_a_graph_computes_weights_that_were_kept_before(norm):
    network, x = normalized(norm).cuda(), torch.rand(3, 6, device="cuda")
    for layer in network:
        keep_on_any_device(layer)
    graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream()
    with torch.no_grad():
        with torch.cuda.stream(stream):
            network(x)
        torch.cuda.synchronize()
        with torch.cuda.graph(graph, stream=stream):
            output = network(x)
    for parameter in network.parameters():
        parameter.data.mul_(1.5).add_(0.1)
    graph.replay()
    torch.testing.assert_close(output, exact(network, (x,))[0])
