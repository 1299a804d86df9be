"""torch's own tests of its modules (test/test_modules.py there), of their weight-normalized layers.

Constructors and inputs are those of torch's table of modules. A weight-normalized layer may fail a check only where
torch's own layer fails it too.
"""

import copy
import io
import itertools
import os
import warnings
from unittest import mock

import pytest
import torch
from torch import nn
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

import wnrl
from tests.products import mostly_slow
from wnrl.normalizers.layer_kinds import (
    EMBEDDING_WEIGHT_NORM_LAYERS,
    RECURRENT_WEIGHT_NORM_LAYERS,
    WEIGHT_NORM_LAYERS,
)
from wnrl.weight_norm.weight_norm_layer import WeightNormLayer

OURS = WEIGHT_NORM_LAYERS | RECURRENT_WEIGHT_NORM_LAYERS | EMBEDDING_WEIGHT_NORM_LAYERS
LAYERS = [kind.__name__ for kind in OURS]
NETWORKS = ["TransformerEncoderLayer", "TransformerDecoderLayer"]  # of several layers
MODES = [pytest.param(True, id="training"), pytest.param(False, id="evaluation")]
LONG = ["LSTM", "GRU", "MultiheadAttention"]  # whose second derivatives are slow tests; the cells are fast
TRAINED = [MODES[0], pytest.param(False, id="evaluation", marks=pytest.mark.slow)]
FEW = 4  # inputs of a kind that the fast tests take; the slow ones take all

module_names = pytest.mark.parametrize("name", LAYERS + NETWORKS)
alone_or_slow = pytest.mark.parametrize("name", [*LAYERS, *(pytest.param(n, marks=pytest.mark.slow) for n in NETWORKS)])
layer_names = pytest.mark.parametrize("name", LAYERS)
modes = pytest.mark.parametrize("training", MODES)


@pytest.fixture(scope="session")
def table():
    """torch's table of modules; what its import would change in the process is prevented or undone."""
    pytest.importorskip("expecttest")
    called = torch._C.ScriptFunction.__call__, torch._C.ScriptMethod.__call__
    environment = dict(os.environ)
    with warnings.catch_warnings(), mock.patch.object(torch.backends, "disable_global_flags"):
        warnings.simplefilter("ignore")
        try:
            from torch.testing._internal import common_modules
        except ImportError as error:
            pytest.skip(f"this torch has its table of modules elsewhere: {error}")
    torch._C.ScriptFunction.__call__, torch._C.ScriptMethod.__call__ = called
    os.environ.clear()
    os.environ.update(environment)
    by_class = {info.module_cls: info for info in common_modules.module_db}
    by_class.setdefault(nn.EmbeddingBag, embedding_bag_info(common_modules))
    assert OURS.keys() <= by_class.keys()
    return {kind.__name__: info for kind, info in by_class.items()}


def embedding_bag_info(common):
    """The entry that torch's table lacks."""

    def inputs(info, device, dtype, requires_grad, training, **_):
        bags, flat, offsets = torch.tensor([[0, 1, 1], [3, 2, 0]]), torch.tensor([0, 3, 1, 1]), torch.tensor([0, 3])
        factors = torch.rand(4, device=device, dtype=dtype).requires_grad_(requires_grad)
        options = {"num_embeddings": 4, "embedding_dim": 3, "device": device, "dtype": dtype}
        for mode, call in (
            ("sum", common.FunctionInput(bags.to(device))),
            ("mean", common.FunctionInput(flat.to(device), offsets.to(device))),
            ("sum", common.FunctionInput(flat.to(device), offsets.to(device), factors)),
            ("max", common.FunctionInput(bags.to(device))),
        ):
            yield common.ModuleInput(common.FunctionInput(mode=mode, **options), call)

    return common.ModuleInfo(nn.EmbeddingBag, module_inputs_func=inputs)


def some(entries, most):
    """At most so many, spread over all."""
    return entries if most is None else entries[:: -(-len(entries) // most)]


@pytest.fixture
def cases(table, name):
    """A function of the mode: the plain module, the normalized one and the inputs, for each entry of the table."""

    def make(training, *, requires_grad=False, most=None, device="cpu"):
        info = table[name]
        arguments = {"device": device, "dtype": torch.float64, "requires_grad": requires_grad, "training": training}
        entries = list(info.module_inputs_func(info, **arguments))
        entries = [entry for entry in entries if entry.forward_input is not None]
        assert entries
        for entry in some(entries, most):
            made = entry.constructor_input
            plain = info.module_cls(*made.args, **made.kwargs).to(device, torch.float64).train(training)
            yield plain, normalized(plain), (tuple(entry.forward_input.args), dict(entry.forward_input.kwargs))

    return make


def normalized(plain):
    """A weight-normalized copy: all layers in it."""
    layer = copy.deepcopy(plain)
    wnrl.normalize(layer, "weight", normalize_output=True, layers=lambda name, part: True, units="sqrt")
    assert any(isinstance(part, WeightNormLayer) for part in layer.modules())
    return layer


def call(module, inputs):
    """With the same random numbers at each call."""
    arguments, keywords = inputs
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return module(*arguments, **keywords)


def tensors(tree):
    return [leaf for leaf in tree_flatten(tree)[0] if isinstance(leaf, torch.Tensor)]


def differentiable(tree):
    return [leaf for leaf in tensors(tree) if leaf.requires_grad]


def gradients(module, inputs, output, weights=None):
    """The gradients for `weights` of the outputs, of the inputs and of the parameters."""
    outputs = differentiable(output)
    weights = [torch.linspace(-1, 1, y.numel()).to(y).view_as(y) for y in outputs] if weights is None else weights
    wanted = [*differentiable(inputs), *module.parameters()]
    return torch.autograd.grad(outputs, wanted, weights, allow_unused=True, retain_graph=True)


def where_torch_passes(check, ours, plain):
    """Call `check` with our module; it may fail only if it fails with torch's own, with an error of the same kind."""
    try:
        check(ours)
    except Exception as failure:
        try:
            check(plain)
        except Exception as error:
            if type(error) is type(failure):
                return
        raise


def assert_dtype(module, dtype):
    assert {t.dtype for t in (*module.parameters(), *module.buffers()) if t.is_floating_point()} == {dtype}


def test_the_table_names_every_kind(table):
    assert {*LAYERS} == {"Linear", "Bilinear", "LSTM", "GRU", "RNN", "LSTMCell", "GRUCell", "RNNCell"} | {
        *("Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"),
        *("MultiheadAttention", "Embedding", "EmbeddingBag"),
    }
    assert {*LAYERS, *NETWORKS} <= table.keys()
    torch.backends.cudnn.benchmark = torch.backends.cudnn.benchmark  # refused if the import's freeze were in force


@module_names
@modes
def test_forward(cases, training):
    for plain, layer, inputs in cases(training, most=2 * FEW):
        torch.testing.assert_close(call(layer, inputs), call(plain, inputs))
        with torch.no_grad():
            for _ in range(2):  # with factors computed, and kept
                torch.testing.assert_close(call(layer, inputs), call(plain, inputs))
        for dtype in (torch.float32, torch.float64):
            assert_dtype(layer.to(dtype), dtype)
            cast = tree_map(lambda t, d=dtype: t.to(d) if torch.is_tensor(t) and t.is_floating_point() else t, inputs)
            outputs = [t for t in tensors(call(layer, cast)) if t.is_floating_point()]
            assert {t.dtype for t in outputs} == {dtype}


@module_names
@modes
def test_gradients_equal_those_of_the_plain_module(cases, training):
    """With respect to the inputs and biases."""
    for plain, layer, inputs in cases(training, requires_grad=True, most=2 * FEW):
        expected = gradients(plain, inputs, call(plain, inputs))
        actual = gradients(layer, inputs, call(layer, inputs))
        count = len(differentiable(inputs))
        torch.testing.assert_close(actual[:count], expected[:count])
        biases = {n: d for (n, _), d in zip(plain.named_parameters(), expected[count:], strict=True) if "bias" in n}
        ours = {n: d for (n, _), d in zip(layer.named_parameters(), actual[count:], strict=True) if "bias" in n}
        torch.testing.assert_close(ours, biases)


@layer_names
@pytest.mark.parametrize("training", TRAINED)
def test_factory_keywords(table, name, training):
    """`device` and `dtype` of the constructor reach every parameter, and so does `torch.device` as a context."""
    info = table[name]
    kind = OURS[info.module_cls]
    arguments = {"device": "cpu", "dtype": torch.float64, "requires_grad": False, "training": training}
    for entry in some(list(info.module_inputs_func(info, **arguments)), FEW):
        made = entry.constructor_input
        keywords = {**made.kwargs, "device": "cpu", "dtype": torch.float64}
        layer = kind(*made.args, **keywords).train(training)
        assert_dtype(layer, torch.float64)
        without = {key: value for key, value in keywords.items() if key != "device"}
        with torch.device("meta"):
            on_meta = kind(*made.args, **without)
        assert {t.device.type for t in on_meta.parameters()} == {"meta"}
        for here, there in zip(layer.parameters(), on_meta.parameters(), strict=True):
            assert (here.shape, here.dtype, here.stride(), here.requires_grad) == (
                *(there.shape, there.dtype, there.stride(), there.requires_grad),
            )
        empty = on_meta.to_empty(device="cpu").train(training)
        empty.load_state_dict(layer.state_dict())
        inputs = tuple(entry.forward_input.args), dict(entry.forward_input.kwargs)
        torch.testing.assert_close(call(empty, inputs), call(layer, inputs), rtol=0, atol=0)
        assert {t.device.type for t in kind(*made.args, **{**keywords, "device": "meta"}).parameters()} == {"meta"}


@module_names
def test_repr(cases):
    for plain, layer, _ in cases(True, most=FEW):
        text = str(layer)
        assert text == repr(layer)
        assert "units=sqrt" in text
        for line in str(plain).splitlines():  # what torch prints of its layers is there too
            inner = line.partition(": ")[2] or line
            assert inner.strip("() ").partition("(")[2].strip(")") in text


@module_names
@pytest.mark.parametrize("training", TRAINED)
def test_pickle_and_deepcopy(cases, training):
    for _, layer, inputs in cases(training, most=FEW):
        expected = call(layer, inputs)
        buffer = io.BytesIO()
        torch.save(layer, buffer)
        buffer.seek(0)
        copies = [torch.load(buffer, weights_only=False), copy.deepcopy(layer)]
        for other in copies:
            assert type(other) is type(layer)
            torch.testing.assert_close(call(other, inputs), expected, rtol=0, atol=0)
            torch.testing.assert_close(dict(other.named_parameters()), dict(layer.named_parameters()), rtol=0, atol=0)


@module_names
def test_state_dict(cases):
    for plain, layer, inputs in cases(False, most=FEW):
        other = normalized(plain)
        with torch.no_grad():
            for parameter in other.parameters():
                parameter.add_(torch.rand_like(parameter))
        pairs = zip(tensors(call(other, inputs)), tensors(call(layer, inputs)), strict=True)
        assert not all(torch.allclose(a, b) for a, b in pairs)
        assert other.load_state_dict(layer.state_dict(), strict=True) == ([], [])
        torch.testing.assert_close(call(other, inputs), call(layer, inputs), rtol=0, atol=0)
        assert other.load_state_dict(plain.state_dict(), strict=True) == ([], [])
        torch.testing.assert_close(call(other, inputs), call(plain, inputs))
        torch.testing.assert_close(wnrl.fold(layer).state_dict(), plain.state_dict())


@module_names
@pytest.mark.parametrize("training", TRAINED)
def test_noncontiguous_tensors(cases, training):
    def spread(t):
        if not isinstance(t, torch.Tensor) or t.dim() == 0:
            return t
        return torch.repeat_interleave(t, 2, dim=-1)[..., ::2].detach().requires_grad_(t.requires_grad)

    for plain, layer, inputs in cases(training, requires_grad=True, most=FEW):

        def check(module, inputs=inputs):
            output = call(module, inputs)
            weights = [torch.rand_like(y) for y in differentiable(output)]
            expected = gradients(module, inputs, output, weights)
            spread_weights = [spread(w) for w in weights]
            for arguments, of_outputs in itertools.product(
                (inputs, tree_map(spread, inputs)), (weights, spread_weights)
            ):
                again = call(module, arguments)
                torch.testing.assert_close(again, output)
                torch.testing.assert_close(gradients(module, arguments, again, of_outputs), expected)

        where_torch_passes(check, layer, plain)


def check_derivatives(module, inputs, check):
    """As torch's test: of inputs and parameters together, and of each parameter alone."""
    parameters = list(module.parameters())
    flat, spec = tree_flatten((inputs, parameters))
    places = [index for index, leaf in enumerate(flat) if isinstance(leaf, torch.Tensor)]

    def function(*given):
        leaves = list(flat)
        for index, leaf in zip(places, given, strict=True):
            leaves[index] = leaf
        arguments, _ = tree_unflatten(leaves, spec)  # the parameters are perturbed in place
        return tuple(y for y in tensors(call(module, arguments)) if y.requires_grad)

    given = tuple(flat[index] for index in places)
    assert check(function, given, check_batched_grad=True, fast_mode=True)
    for own in parameters:
        for parameter in parameters:
            parameter.requires_grad_(parameter is own)
        assert check(function, given, fast_mode=True)
    for parameter in parameters:
        parameter.requires_grad_()


def derivatives(cases, training, check, most):
    for plain, layer, inputs in cases(training, requires_grad=True, most=most):
        where_torch_passes(lambda module, inputs=inputs: check_derivatives(module, inputs, check), layer, plain)


@alone_or_slow
@pytest.mark.parametrize("training", TRAINED)
def test_gradients(cases, training):
    derivatives(cases, training, torch.autograd.gradcheck, 2)


@pytest.mark.parametrize("name", mostly_slow(LAYERS + NETWORKS, *(name for name in LAYERS if name not in LONG)))
@pytest.mark.parametrize("training", TRAINED)
def test_second_derivatives(cases, training):
    derivatives(cases, training, torch.autograd.gradgradcheck, 1)


@pytest.mark.slow
@module_names
@modes
@pytest.mark.parametrize("check", [torch.autograd.gradcheck, torch.autograd.gradgradcheck])
def test_derivatives_for_all_inputs(cases, training, check):
    derivatives(cases, training, check, None)


def memory_formats(module, inputs):
    """Those of the inputs, and of the parameters; torch refuses the formats for images on weights of other ranks."""
    dims = {t.dim() for t in tensors(inputs)} & {p.dim() for p in module.parameters()}
    last = [torch.channels_last] * (4 in dims) + [torch.channels_last_3d] * (5 in dims)
    return [torch.contiguous_format, *last], [torch.preserve_format, torch.contiguous_format, *last]


def in_format(memory_format, tree):
    dim = {torch.channels_last: 4, torch.channels_last_3d: 5}.get(memory_format)

    def convert(t):
        if not isinstance(t, torch.Tensor):
            return t
        same = dim is not None and t.dim() != dim
        return (t.clone() if same else t.clone(memory_format=memory_format)).detach().requires_grad_(t.requires_grad)

    return tree_map(convert, tree)


@module_names
@pytest.mark.parametrize("training", TRAINED)
def test_memory_formats(cases, training):
    """Values and gradients as in the contiguous format, outputs and gradients in the formats of torch's own layer."""
    for plain, layer, inputs in cases(training, requires_grad=True, most=FEW):
        of_inputs, of_modules = memory_formats(layer, inputs)
        output = call(layer, inputs)
        expected = gradients(layer, inputs, output)
        for input_format, module_format in itertools.product(of_inputs, of_modules):
            arguments = in_format(input_format, inputs)
            layer.to(memory_format=module_format), plain.to(memory_format=module_format)
            result, torchs = call(layer, arguments), call(plain, arguments)
            torch.testing.assert_close(result, output)
            actual, own = (gradients(m, arguments, y) for m, y in ((layer, result), (plain, torchs)))
            torch.testing.assert_close(actual, expected)
            assert [t.stride() for t in tensors(result)] == [t.stride() for t in tensors(torchs)]
            count = len(differentiable(arguments))
            assert [t.stride() for t in actual[:count]] == [t.stride() for t in own[:count]]
            for parameter, gradient in zip(layer.parameters(), actual[count:], strict=True):
                if gradient is not None and parameter.dim() > 3 and module_format != torch.preserve_format:
                    assert gradient.is_contiguous(memory_format=module_format)


@module_names
def test_training_mode_matters_where_it_does_to_torch(cases):
    """Layers without a mode of their own do not read `training`."""
    for plain, layer, inputs in cases(True, most=FEW):

        def reads_it(module, inputs=inputs):
            module = copy.deepcopy(module)
            del module.training
            try:
                call(module, inputs)
            except AttributeError as error:
                if "'training'" in str(error):
                    return True
                raise
            return False

        assert reads_it(layer) == reads_it(plain)


@layer_names
@modes
def test_errors(table, name, training):
    """The same bad arguments and inputs are refused with the same errors."""
    info = table[name]
    if info.module_error_inputs_func is None:
        pytest.skip("torch's table has no bad inputs for it")
    kind = OURS[info.module_cls]
    arguments = {"device": "cpu", "dtype": torch.float64, "requires_grad": False, "training": training}
    for error in info.module_error_inputs_func(info, **arguments):
        made, given = error.module_error_input.constructor_input, error.module_error_input.forward_input
        if error.error_on.name == "CONSTRUCTION_ERROR":
            with pytest.raises(error.error_type, match=error.error_regex):
                kind(*made.args, **made.kwargs)
            continue
        for layer in (kind(*made.args, **made.kwargs), normalized(info.module_cls(*made.args, **made.kwargs))):
            with pytest.raises(error.error_type, match=error.error_regex):
                layer(*given.args, **given.kwargs)
            with torch.no_grad(), pytest.raises(error.error_type, match=error.error_regex):
                layer(*given.args, **given.kwargs)


@module_names
def test_what_differs_from_torch(cases):
    """A weight is no parameter: it is computed from one, v, and lengths g, and has no gradient of its own."""
    for plain, layer, inputs in cases(True, requires_grad=True, most=1):
        weights = [name for name, p in plain.named_parameters() if "weight" in name and p.ndim > 1]
        names = {name for name, _ in layer.named_parameters()}
        assert weights
        assert not {*weights} & names
        assert len(names) == len(dict(plain.named_parameters())) + len(weights)
        for name in weights:
            path, _, own = name.rpartition(".")
            part = layer.get_submodule(path)
            assert not isinstance(getattr(part, own), nn.Parameter)
            with pytest.raises(RuntimeError, match="gradients are in"):
                _ = getattr(part, own).grad
            with pytest.raises(RuntimeError, match="computed from g and v, so gradients would not reach"):
                setattr(part, own, nn.Parameter(torch.ones_like(getattr(plain.get_submodule(path), own))) * 1.0)
        assert gradients(layer, inputs, call(layer, inputs))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="compares with a CUDA device")
@module_names
@modes
def test_cpu_and_cuda_agree(cases, training):
    for _, layer, inputs in cases(training, requires_grad=True, most=FEW):
        there, given = copy.deepcopy(layer).cuda(), tree_map(lambda t: t.cuda() if torch.is_tensor(t) else t, inputs)
        with torch.backends.cudnn.flags(enabled=training):  # cuDNN has no gradients in evaluation mode
            output = call(there, given)
            torch.testing.assert_close(output, call(layer, inputs), check_device=False)
            actual = torch.autograd.grad([y.sum() for y in differentiable(output)], list(there.parameters()))
        expected = torch.autograd.grad([y.sum() for y in differentiable(call(layer, inputs))], list(layer.parameters()))
        torch.testing.assert_close(actual, expected, check_device=False)
        back = there.cpu()
        torch.testing.assert_close(call(back, inputs), call(layer, inputs))
