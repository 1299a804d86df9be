"""What torch's compilers, exporters, transforms and training tools make of each normalizer and each kind of layer."""

import copy
import importlib
import io
import warnings

import pytest
import torch
from torch import nn
from torch.ao.quantization import quantize_dynamic
from torch.func import functional_call, stack_module_state, vmap
from torch.nn.utils import parametrize
from torch.testing import assert_close
from torch.utils.checkpoint import checkpoint

import wnrl
from tests.autocast import needs_autocast_lstm
from tests.wnrl.onnx_operators import operators_translated_once  # noqa: F401
from tests.wnrl.weight_norm.normalized_networks import (
    NORMS,
    ROWS,
    gradients,
    loss,
    make,
    state,
    tensors,
    where_torch_can,
)
from wnrl.normalizers.folding import normalized_layers

pytestmark = [
    pytest.mark.filterwarnings("ignore:There is a performance drop"),  # of vmap, where torch's own layers loop
    pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor"),
    pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:FutureWarning"),  # from torch 2.15 on
]

replication = importlib.import_module("torch.nn.parallel.replicate")  # the name is a function's too
BATCH = ("batch", "mean-batch", "batch+projected")


def mostly_slow(*fast, rows=ROWS):
    """The rows; those that are not named are tested with the slow tests."""
    cases = [pytest.param(row, marks=() if row in fast else pytest.mark.slow) for row in rows]
    return pytest.mark.parametrize("case", cases, indirect=True)


@pytest.fixture(params=ROWS)
def case(request):
    torch.compiler.reset()
    return make(request.param)


def step(network, inputs, *, call=None, autocast=False):
    """A step of learning; the loss before it."""
    optimizer = torch.optim.Adam(network.parameters(), lr=0.05)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        output = (network if call is None else call)(*inputs)
    before = loss(output)
    before.backward()
    optimizer.step()
    wnrl.project(network)
    return before.detach()


def compare_compiled(case, network, *, backend, fullgraph, **options):
    """Outputs, gradients and buffers, in training and evaluation mode, with gradients and without."""
    eager = copy.deepcopy(network)
    compiled = torch.compile(network, backend=backend, fullgraph=fullgraph)
    for training in (True, False):
        network.train(training), eager.train(training)
        y, expected = compiled(*case.inputs), eager(*case.inputs)
        assert_close(y, expected, **options)
        actual = torch.autograd.grad(loss(y), list(network.parameters()), allow_unused=True)
        assert_close(
            actual, torch.autograd.grad(loss(expected), list(eager.parameters()), allow_unused=True), **options
        )
        assert_close(dict(network.named_buffers()), dict(eager.named_buffers()), **options)
        with torch.no_grad():
            assert_close(compiled(*case.inputs), eager(*case.inputs), **options)


@mostly_slow("weight", "batch", "weight, lstm", "weight, embedding")
def test_compile(case):
    """Without graph breaks wherever torch's own network compiles so."""
    where_torch_can(lambda network: compare_compiled(case, network, backend="aot_eager", fullgraph=True), case)


@pytest.mark.parametrize("case", ["weight, lstm", "weight, gru"], indirect=True)
def test_compile_in_parts(case):
    """Layers over time, which torch compiles only so."""
    compare_compiled(case, case.network, backend="aot_eager", fullgraph=False)


@pytest.mark.slow
def test_compile_with_inductor(case):
    compare_compiled(case, case.network, backend="inductor", fullgraph=False, rtol=1e-4, atol=1e-5)


@mostly_slow("weight", "batch", "weight, lstm", "weight, attention", "weight, embedding")
@pytest.mark.parametrize("strict", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_export(case, strict):
    """The program has the network's parameters, under their names."""

    def check(network):
        network.eval()
        program = torch.export.export(network, case.inputs, strict=strict)
        assert dict(program.named_parameters()).keys() == dict(network.named_parameters()).keys()
        assert_close(program.module()(*case.inputs), network(*case.inputs))

    where_torch_can(check, case)


@pytest.mark.parametrize(
    "case", ["weight", *(pytest.param(row, marks=pytest.mark.slow) for row in NORMS[1:])], indirect=True
)
@pytest.mark.parametrize("strict", [True, False])
def test_export_for_any_batch(case, strict):
    network = case.network.eval()
    program = torch.export.export(network, case.inputs, dynamic_shapes=({0: torch.export.Dim("batch")},), strict=strict)
    for batch in (2, 7):
        x = torch.randn(batch, 3, 5, 5)
        assert_close(program.module()(x), network(x))


@pytest.mark.parametrize("with_gradients", [True, False])
def test_trace(case, with_gradients):
    """The traced network shares the parameters: it follows their changes."""

    def check(network):
        network.eval()
        with torch.set_grad_enabled(with_gradients), warnings.catch_warnings():
            warnings.simplefilter("ignore", torch.jit.TracerWarning)
            network(*case.inputs)  # so that there are kept factors
            traced = torch.jit.trace(network, case.inputs, check_trace=False)  # which torch's attention fails
            assert_close(traced(*case.inputs), network(*case.inputs))
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.mul_(1.5).add_(0.1)
        assert_close(traced(*case.inputs), network(*case.inputs))
        assert dict(traced.named_parameters()).keys() == dict(network.named_parameters()).keys()

    where_torch_can(check, case)


def test_trace_warns_only_as_torch(case):
    if case.row in ("layer", "layer+projected"):
        pytest.skip("torch's GroupNorm warns itself")

    def check(network):
        torch.jit.trace(network.eval(), case.inputs)

    where_torch_can(check, case)


@mostly_slow("weight", "batch", "weight, lstm")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_tensorboard_graph(case, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    def check(network):
        with SummaryWriter(tmp_path) as writer:
            writer.add_graph(network.eval(), case.inputs)
        events = EventAccumulator(str(tmp_path)).Reload()
        assert events.Tags()["graph"]
        assert len(events.Graph().node) > 3

    where_torch_can(check, case)


def check_onnx(case, dynamo):
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")

    def check(network):
        network.eval()
        expected = tensors(network(*case.inputs))
        buffer = io.BytesIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(network, case.inputs, buffer, dynamo=dynamo, verbose=False)
        session = runtime.InferenceSession(buffer.getvalue(), providers=["CPUExecutionProvider"])
        names = [node.name for node in session.get_inputs()]
        given = {name: x.numpy() for name, x in zip(names, case.inputs, strict=True)}
        assert_close([torch.tensor(y) for y in session.run(None, given)], expected, rtol=1e-3, atol=1e-5)

    where_torch_can(check, case)


@mostly_slow("weight", "weight, lstm")
def test_onnx(case):
    """onnxruntime computes the same."""
    check_onnx(case, dynamo=True)


def test_onnx_by_tracing(case):
    check_onnx(case, dynamo=False)


def test_script_is_refused(case):
    with pytest.raises(
        TypeError, match=r"cannot compile a normalized layer: script wnrl\.fold\(network\), or trace it"
    ):
        torch.jit.script(case.network)


def test_script_of_the_folded_network(case):
    def check(network):
        folded = wnrl.fold(network.eval()).eval()
        whole = nn.Sequential(folded) if len(case.inputs) == 1 else folded  # torch calls no LSTM of its own alone
        assert_close(torch.jit.script(whole)(*case.inputs), network(*case.inputs), rtol=1e-4, atol=1e-5)

    if normalized_layers(wnrl.fold(case.network)):
        with pytest.raises(TypeError, match="cannot compile a normalized layer"):
            torch.jit.script(wnrl.fold(case.network))
        return
    where_torch_can(check, case)


def test_dynamic_quantization_of_the_folded_network(case):
    kinds = {nn.Linear, nn.LSTM, nn.GRU, nn.LSTMCell, nn.GRUCell}

    def check(network):
        network.eval()
        folded = wnrl.fold(network).eval()
        quantized = quantize_dynamic(folded, kinds)
        replaceable = [name for name, part in folded.named_modules() if type(part) in kinds]
        for name in filter(None, replaceable):  # the network itself is never replaced
            assert "quantized" in type(quantized.get_submodule(name)).__module__
        assert_close(quantized(*case.inputs), network(*case.inputs), rtol=0.1, atol=0.1)

    where_torch_can(check, case)


def test_functional_call(case):
    """Gradients through `functional_call` with g and v are those of the network."""
    network = case.network
    parameters = {name: p.detach().clone().requires_grad_() for name, p in network.named_parameters()}
    buffers = {name: b.clone() for name, b in network.named_buffers()}
    through = loss(functional_call(network, (parameters, buffers), case.inputs))
    actual = torch.autograd.grad(through, list(parameters.values()))
    assert_close(list(actual), gradients(network, case.inputs))
    moved = {name: p.detach() * 1.5 + 0.1 for name, p in parameters.items()}
    other = copy.deepcopy(network).eval()
    with torch.no_grad():
        for name, parameter in other.named_parameters():
            parameter.copy_(moved[name])
    with torch.no_grad():
        buffers = dict(network.eval().named_buffers())
        network(*case.inputs)  # so that there are kept factors
        for name, buffer in other.named_buffers():
            buffer.copy_(buffers[name])
        assert_close(functional_call(network, (moved, buffers), case.inputs), other(*case.inputs))


def test_ensemble(case):
    """`stack_module_state` and vmap: each member as alone, with gradients of each."""

    def check(network):
        networks = [copy.deepcopy(network).eval() for _ in range(3)]
        with torch.no_grad():
            for member in networks:
                for parameter in member.parameters():
                    parameter.add_(torch.rand_like(parameter))
        parameters, buffers = stack_module_state(networks)
        base = copy.deepcopy(networks[0])

        def one(own, statistics):
            return tuple(tensors(functional_call(base, (own, statistics), case.inputs)))

        together = vmap(one)(parameters, buffers)
        for index, member in enumerate(networks):
            assert_close([y[index] for y in together], tensors(member(*case.inputs)), rtol=1e-4, atol=1e-5)
        each = vmap(torch.func.grad(lambda own, statistics: loss(one(own, statistics))))(parameters, buffers)
        for index, member in enumerate(networks):
            expected = gradients(member, case.inputs)
            assert_close([g[index] for g in each.values()], expected, rtol=1e-3, atol=1e-4)

    where_torch_can(check, case)


class Doubled(nn.Module):
    """A parametrization: twice the parameter."""

    def forward(self, x):
        return 2 * x

    def right_inverse(self, x):
        return x / 2


def test_parametrized_bias(case):
    """`nn.utils.parametrize` of another parameter leaves the function as it was, and is undone."""
    network, kinds = case.network, {}
    expected = case.network.eval()(*case.inputs)
    for name, part in network.named_modules():
        for own, parameter in list(part.named_parameters(recurse=False)):
            if "bias" in own and parameter.ndim == 1:
                kinds.setdefault(name, type(part))
                parametrize.register_parametrization(part, own, Doubled())
    if not kinds:
        pytest.skip("has no bias")
    assert_close(network(*case.inputs), expected)
    with torch.no_grad():
        assert_close(network(*case.inputs), expected)
    step(network, case.inputs)
    changed = network(*case.inputs)
    for name, kind in kinds.items():
        part = network.get_submodule(name)
        for own in list(part.parametrizations):
            parametrize.remove_parametrizations(part, own)
        assert type(part) is kind
    assert_close(network(*case.inputs), changed)


@pytest.mark.parametrize("use_reentrant", [True, False])
def test_activation_checkpoint(case, use_reentrant):
    network, twin = case.network, copy.deepcopy(case.network)
    inputs = tuple(x.requires_grad_() if x.is_floating_point() else x for x in case.inputs)
    if use_reentrant and not any(x.requires_grad for x in inputs):
        pytest.skip("torch: the reentrant variant needs an input with a gradient")
    if case.row in BATCH or case.row == "spectral":
        network.eval(), twin.eval()  # as torch's: the state would be updated twice
    loss(checkpoint(lambda *xs: tuple(tensors(network(*xs))), *inputs, use_reentrant=use_reentrant)).backward()
    assert_close([p.grad for p in network.parameters()], gradients(twin, case.inputs))


def test_autocast(case):
    """The outputs have the dtype that torch's have, parameters and gradients stay in float32."""
    needs_autocast_lstm(any(isinstance(module, nn.LSTM) for module in case.network.modules()))
    network = case.network
    expected = copy.deepcopy(network)(*case.inputs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output, torchs = network(*case.inputs), case.plain(*case.inputs)
    if not any(name in case.row for name in ("batch", "layer")):  # normalization of outputs has dtypes of its own
        assert [y.dtype for y in tensors(output)] == [y.dtype for y in tensors(torchs)]
    assert_close([y.float() for y in tensors(output)], tensors(expected), rtol=0.1, atol=0.1)
    loss(output).backward()
    assert {p.grad.dtype for p in network.parameters()} == {torch.float32}
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        network.eval()
        for _ in range(2):
            assert [y.dtype for y in tensors(network(*case.inputs))] == [y.dtype for y in tensors(output)]


@mostly_slow("weight", "weight, lstm")
def test_autocast_and_compile(case):
    def check(network):
        eager = copy.deepcopy(network)
        compiled = torch.compile(network, backend="aot_eager")
        for _ in range(2):
            actual = step(network, case.inputs, call=compiled, autocast=True)
            assert_close(actual, step(eager, case.inputs, autocast=True), rtol=2e-2, atol=2e-2)

    where_torch_can(check, case)


def test_gradient_scaler(case):
    """A scaled step is the unscaled one; one with infinite gradients is skipped."""
    network, twin = case.network, copy.deepcopy(case.network)
    scaler, optimizer = torch.amp.GradScaler("cpu", init_scale=2.0**10), torch.optim.SGD(network.parameters(), lr=0.1)
    scaler.scale(loss(network(*case.inputs))).backward()
    scaler.unscale_(optimizer)
    assert_close([p.grad for p in network.parameters()], gradients(twin, case.inputs), rtol=1e-4, atol=1e-6)
    scaler.step(optimizer)
    scaler.update()
    torch.optim.SGD(twin.parameters(), lr=0.1).step()
    assert_close(dict(network.named_parameters()), dict(twin.named_parameters()))
    optimizer.zero_grad()
    scaler.scale(loss(network(*case.inputs)) * torch.inf).backward()
    scaler.step(optimizer)
    assert_close(dict(network.named_parameters()), dict(twin.named_parameters()))


def test_gradient_clipping(case):
    network = case.network
    before = gradients(network, case.inputs)
    norm = torch.stack([g.square().sum() for g in before]).sum().sqrt()
    assert_close(nn.utils.clip_grad_norm_(network.parameters(), float(norm) / 2), norm)
    after = torch.stack([p.grad.square().sum() for p in network.parameters()]).sum().sqrt()
    assert_close(after, norm / 2, rtol=1e-4, atol=1e-6)


def test_lbfgs(case):
    network = case.network.eval()
    optimizer = torch.optim.LBFGS(network.parameters(), max_iter=8, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        value = loss(network(*case.inputs))
        value.backward()
        return value

    first = closure().item()
    for _ in range(2):  # an optimizer that lacked g would be refused at its second step
        optimizer.step(closure)
    assert closure().item() < 0.9 * first


def test_replicas(case, monkeypatch):
    """Those of `nn.DataParallel`, here on the CPU: they have tensors for parameters, with gradients to the network."""
    monkeypatch.setattr(
        replication,
        "_broadcast_coalesced_reshape",
        lambda given, devices, detach=False: [
            [t.detach().clone() if detach else t.clone() for t in given] for _ in devices
        ],
    )
    monkeypatch.setattr(replication, "_get_device_index", lambda device, optional: device)

    def check(network):
        network.eval()
        expected = gradients(network, case.inputs)
        network.zero_grad()
        replicas = replication.replicate(network, [0, 1])
        for replica in replicas:
            assert_close(replica(*case.inputs), network(*case.inputs))
        loss(replicas[1](*case.inputs)).backward()
        assert_close([p.grad for p in network.parameters()], expected)
        with torch.no_grad():
            for replica in replication.replicate(network, [0, 1], detach=True):
                assert_close(replica(*case.inputs), network(*case.inputs))

    where_torch_can(check, case)


def test_averaged_model(case):
    """`AveragedModel` starts as the network and is stepped by it."""
    averaged = torch.optim.swa_utils.AveragedModel(case.network, use_buffers=True)
    assert_close(averaged.eval()(*case.inputs), case.network.eval()(*case.inputs))
    step(case.network, case.inputs)
    averaged.update_parameters(case.network)
    assert_close(state(averaged.module), state(case.network))  # the first update copies


def test_shared_memory_and_state(case):
    network = case.network.share_memory()
    assert all(p.is_shared() for p in network.parameters())
    twin = copy.deepcopy(network)
    step(network, case.inputs)
    twin.load_state_dict(network.state_dict())
    assert_close(twin.eval()(*case.inputs), network.eval()(*case.inputs))
