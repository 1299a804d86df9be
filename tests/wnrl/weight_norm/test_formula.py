"""wnrl.weight_norm.formula: equations 2 and 3 of the paper, and the product that never forms w against that with w."""

import importlib.util
import io
import math
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.functional import hessian, jacobian
from torch.nn import functional as F

from tests.products import mostly_slow
from wnrl.weight_norm import formula as formulas
from wnrl.weight_norm.dense import WeightNormLinear
from wnrl.weight_norm.formula import effective_weight, row_norm, weight_norm_linear

# Equations 2 and 3


@pytest.fixture(params=[1.0, math.sqrt(12)], ids=["paper", "sqrt"])
def tensors(request):
    torch.manual_seed(1)
    v = torch.randn(5, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    g = torch.randn(5, dtype=torch.float64, requires_grad=True)
    return v, g, request.param


def traced_weight(v, g, scale):
    """The equation as a transform or the compiler traces it: an ensemble of one."""
    return torch.vmap(lambda v, g: effective_weight(v, g, scale))(v[None], g[None])[0]


@pytest.fixture(params=["eager", "traced"])
def formula(request):
    """Both ways to compute the effective weight."""
    return {"eager": effective_weight, "traced": traced_weight}[request.param]


def test_eager_and_traced_take_different_ways(tensors):
    assert "FusedWeight" in type(effective_weight(*tensors).grad_fn).__name__
    history = [traced_weight(*tensors).grad_fn]
    for node in history:
        history += [before for before, _ in node.next_functions if before is not None]
    assert not any("FusedWeight" in type(node).__name__ for node in history)


def test_both_eager_formulas_agree(tensors):
    v, g, scale = tensors
    fused = effective_weight(v, g, scale)
    composed = effective_weight(v.to(memory_format=torch.channels_last), g, scale)
    torch.testing.assert_close(fused, composed, check_stride=False)
    *_, norm = fused.grad_fn.saved_tensors
    torch.testing.assert_close(norm, composed.grad_fn.saved_tensors[-1], check_stride=False)
    assert norm.shape == (len(v), 1, 1, 1)


def test_effective_weight_is_equation_2(tensors, formula):
    v, g, scale = tensors
    for i, row in enumerate(formula(v, g, scale)):
        torch.testing.assert_close(row, scale * g[i] * v[i] / v[i].norm())
        torch.testing.assert_close(row.norm(), scale * g[i].abs())


@settings(max_examples=60, deadline=None)
@given(
    shape=st.lists(st.integers(1, 5), min_size=2, max_size=5),
    dtype=st.sampled_from([torch.float64, torch.float32, torch.bfloat16, torch.float16]),
    dim=st.integers(-2, 1),
    seed=st.integers(0, 99),
)
def test_equation_2_over_shapes_types_and_dimensions(shape, dtype, dim, seed):
    generator = torch.Generator().manual_seed(seed)
    v = torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)
    g = torch.randn(shape[dim], generator=generator, dtype=torch.float64).to(dtype)
    w = effective_weight(v, g, 2.0, dim)
    assert (w.shape, w.dtype) == (v.shape, dtype)
    rows = zip(w.double().unbind(dim), v.double().unbind(dim), g.double(), strict=True)
    for row, direction, length in rows:
        torch.testing.assert_close(row.to(dtype), (2 * length * direction / direction.norm()).to(dtype))


def test_the_norm_of_half_precision_rows_is_a_float32_number():
    v = torch.full((2, 4000), 2000.0, dtype=torch.float16)  # of norm 126,491; the greatest float16 is 65,504
    w = effective_weight(v, torch.tensor([1.0, -2.0], dtype=torch.float16))
    expected = torch.tensor([[1.0], [-2.0]]) / math.sqrt(4000)
    torch.testing.assert_close(w, expected.half().expand(2, 4000))


@pytest.mark.parametrize(("v", "g"), [((5, 3), (1,)), ((5, 3), (3,)), ((5, 3), (5, 1)), ((5, 3), ()), ((5,), (5,))])
def test_shapes_that_do_not_fit_are_named(v, g):
    message = f"v must be rows along dimension 0, g a number for each, got {[*v]} and {[*g]}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        effective_weight(torch.ones(v), torch.ones(g))


def test_gradients_are_equation_3_and_its_projection_equation_4(tensors, formula):
    v, g, scale = tensors
    dw = torch.randn_like(v)
    w = formula(v, g, scale)
    dv, dg = torch.autograd.grad(w, (v, g), dw)
    length = scale * g.detach()  # the paper's g
    for i in range(5):
        vi, wi, di, norm = v[i].detach().ravel(), w[i].detach().ravel(), dw[i].ravel(), v[i].detach().norm()
        paper_dg = di @ vi / norm
        torch.testing.assert_close(dg[i], scale * paper_dg)  # the chain rule's constant
        torch.testing.assert_close(dv[i].ravel(), length[i] / norm * di - length[i] * paper_dg / norm**2 * vi)
        projection = torch.eye(len(wi), dtype=wi.dtype) - torch.outer(wi, wi) / (wi @ wi)
        torch.testing.assert_close(dv[i].ravel(), length[i] / norm * projection @ di)


def test_first_and_second_derivatives_are_numerically_right(tensors, formula):
    v, g, scale = tensors
    assert torch.autograd.gradcheck(lambda v, g: formula(v, g, scale), (v, g))
    assert torch.autograd.gradgradcheck(lambda v, g: formula(v, g, scale), (v, g))


@pytest.mark.parametrize("layout", ["channels_last", "output dimension 1"])
def test_other_layouts_have_the_same_gradients(tensors, layout):
    v, g, scale = tensors
    dw = torch.randn_like(v)
    expected = torch.autograd.grad(effective_weight(v, g, scale), (v, g), dw)
    if layout == "channels_last":
        other = v.detach().to(memory_format=torch.channels_last).requires_grad_()
        w = effective_weight(other, g, scale)
        assert w.is_contiguous(memory_format=torch.channels_last)
        actual = torch.autograd.grad(w, (other, g), dw)
    else:
        other = v.detach().transpose(0, 1).contiguous().requires_grad_()
        dv, dg = torch.autograd.grad(effective_weight(other, g, scale, dim=1), (other, g), dw.transpose(0, 1))
        actual = dv.transpose(0, 1), dg
    torch.testing.assert_close(actual, expected)


def test_vmap_and_grad_over_an_ensemble(tensors):
    v, g, scale = tensors
    v, g = torch.stack([v, -2 * v]).detach(), torch.stack([g, 3 * g]).detach()

    def loss(v, g):
        return (effective_weight(v, g, scale) ** 3).sum()

    together = torch.vmap(torch.func.grad(loss, (0, 1)))(v, g)
    for i in range(2):
        vi, gi = v[i].clone().requires_grad_(), g[i].clone().requires_grad_()
        torch.testing.assert_close((together[0][i], together[1][i]), torch.autograd.grad(loss(vi, gi), (vi, gi)))


def test_zero_row_is_finite_forward_and_backward(tensors, formula):
    v, g, scale = tensors
    with torch.no_grad():
        v[2] = 0
    for create_graph in (False, True):  # both formulas of the backward pass
        w = formula(v, g, scale)
        dv, dg = torch.autograd.grad(w, (v, g), torch.ones_like(w), create_graph=create_graph)
        assert not w[2].any()
        assert not dv[2].any()
        assert dg[2] == 0
        assert all(t.isfinite().all() for t in (w, dv, dg))
        assert dv[1].any()


@pytest.mark.parametrize("dim", [0, 1])
@pytest.mark.parametrize("g_dtype", [torch.float64, torch.complex128])
def test_complex_weights_and_gradients_are_those_of_autograd(dim, g_dtype):
    torch.manual_seed(0)
    v = torch.randn(4, 3, 2, dtype=torch.complex128, requires_grad=True)
    g = torch.randn(v.shape[dim], dtype=g_dtype, requires_grad=True)

    def equation(v, g):
        by_row = v.movedim(dim, 0)
        return (2 * g.view(-1, 1, 1) * by_row / by_row.abs().square().sum((1, 2), keepdim=True).sqrt()).movedim(0, dim)

    w, expected, dw = effective_weight(v, g, 2.0, dim), equation(v, g), torch.randn_like(v)
    torch.testing.assert_close(w, expected)
    torch.testing.assert_close(torch.autograd.grad(w, (v, g), dw), torch.autograd.grad(expected, (v, g), dw))
    assert torch.autograd.gradcheck(lambda v, g: effective_weight(v, g, 2.0, dim), (v, g))
    assert torch.autograd.gradgradcheck(lambda v, g: effective_weight(v, g, 2.0, dim), (v, g))


@pytest.mark.parametrize("shape", [(4, 3, 2, 2), (4, 8, 1, 1), (4, 1, 3, 3), (1, 4, 3, 3)])
@pytest.mark.parametrize("of_gradient", [torch.contiguous_format, torch.channels_last])
def test_memory_format_is_that_of_v(shape, of_gradient):
    v = torch.randn(shape).to(memory_format=torch.channels_last).requires_grad_()
    w = effective_weight(v, torch.ones(shape[0], requires_grad=True))
    assert w.stride() == v.stride() == (v * 2.0).stride()
    x = torch.randn(2, shape[1], 5, 5)
    assert F.conv2d(x, w).stride() == F.conv2d(x, v).stride()
    dw = torch.randn(shape).contiguous(memory_format=of_gradient)
    for create_graph in (False, True):
        (dv,) = torch.autograd.grad(w, v, dw, retain_graph=True, create_graph=create_graph)
        assert dv.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0), (0, 2, 3, 3), (2, 0, 3, 3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.complex64])
@pytest.mark.parametrize("dim", [0, 1])
def test_without_rows_or_inputs_weights_are_empty_and_gradients_zero(shape, dtype, dim):
    v = torch.zeros(shape, dtype=dtype, requires_grad=True)
    g = torch.ones(shape[dim], dtype=dtype, requires_grad=True)
    w = effective_weight(v, g, 2.0, dim)
    assert (w.shape, w.dtype) == (v.shape, dtype)
    dv, dg = torch.autograd.grad(w.abs().sum(), (v, g))
    assert dv.shape == v.shape
    assert torch.equal(dg, torch.zeros_like(g))
    with pytest.raises(ValueError, match="a number for each"):
        effective_weight(v, torch.ones(shape[dim] + 1), 2.0, dim)


# The product that never forms w


@pytest.fixture(autouse=True, scope="module")
def however_few_weights():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(formulas, "LEAST_WEIGHTS", 0)
        yield


def product_tensors(lead=(3,), inputs=7, outputs=4, bias=True, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()  # noqa: E731
    return draw(*lead, inputs), draw(outputs, inputs), draw(outputs), draw(outputs) if bias else None


def naive(x, v, g, bias, scale):
    return F.linear(x, effective_weight(v, g, scale), bias)


def gradients(function, x, v, g, bias, scale, dy):
    wanted = [tensor for tensor in (x, v, g, bias) if tensor is not None]
    return torch.autograd.grad(function(x, v, g, bias, scale), wanted, dy)


@settings(max_examples=60, deadline=None)
@given(
    lead=st.lists(st.integers(1, 4), min_size=0, max_size=3),
    inputs=st.integers(1, 20),
    outputs=st.integers(1, 6),
    bias=st.booleans(),
    sqrt=st.booleans(),
)
def test_equal_to_the_product_with_w(lead, inputs, outputs, bias, sqrt):
    arguments = product_tensors(tuple(lead), inputs, outputs, bias)
    scale = math.sqrt(inputs) if sqrt else 1.0
    y = weight_norm_linear(*arguments, scale)
    torch.testing.assert_close(y, naive(*arguments, scale))
    dy = torch.randn_like(y)
    torch.testing.assert_close(
        gradients(weight_norm_linear, *arguments, scale, dy), gradients(naive, *arguments, scale, dy)
    )


def test_gradients_of_the_product_are_equation_3():
    x, v, g, bias = product_tensors()
    dy = torch.randn(3, 4, dtype=torch.float64)
    _, dv, dg, _ = gradients(weight_norm_linear, x, v, g, bias, 1.0, dy)
    for i in range(4):
        dw, norm = (dy[:, i : i + 1] * x).sum(0), v[i].norm()
        paper_dg = dw @ v[i] / norm
        torch.testing.assert_close(dg[i], paper_dg)
        torch.testing.assert_close(dv[i], g[i] / norm * dw - g[i] * paper_dg / norm**2 * v[i])


@pytest.mark.parametrize("bias", [True, False])
def test_first_and_second_derivatives_of_the_product_are_numerically_right(bias):
    arguments = [tensor for tensor in product_tensors(bias=bias) if tensor is not None]

    def function(x, v, g, bias=None):
        return weight_norm_linear(x, v, g, bias, 1.5)

    assert "ScaledLinear" in type(function(*arguments).grad_fn).__name__
    assert torch.autograd.gradcheck(function, arguments)
    assert torch.autograd.gradgradcheck(function, arguments)


def test_a_zero_row_is_zero_forward_and_backward():
    x, v, g, bias = product_tensors()
    with torch.no_grad():
        v[1] = 0
    y = weight_norm_linear(x, v, g, bias)
    assert torch.equal(y[:, 1], bias[1].expand(3))
    dx, dv, dg, _ = gradients(weight_norm_linear, x, v, g, bias, 1.0, torch.ones_like(y))
    assert not dv[1].any()
    assert dg[1] == 0
    assert torch.isfinite(dx).all()


def test_frozen_inputs_and_parameters_get_no_gradient():
    x, v, g, bias = product_tensors()
    expected = gradients(weight_norm_linear, x, v, g, bias, 1.0, torch.ones(3, 4, dtype=torch.float64))
    for frozen in (x, v, g, bias):
        frozen.requires_grad_(False)
        weight_norm_linear(x, v, g, bias).sum().backward()
        assert frozen.grad is None
        for parameter, gradient in zip((x, v, g, bias), expected, strict=True):
            if parameter is not frozen:
                torch.testing.assert_close(parameter.grad, gradient)
            parameter.grad = None
        frozen.requires_grad_(True)


def test_autocast_runs_the_product_in_bfloat16_and_the_rest_in_float32(monkeypatch):
    x, v, g, bias = product_tensors((8,), 600, 5, dtype=torch.float32)
    seen = []
    plain = F.linear
    monkeypatch.setattr(formulas.F, "linear", lambda a, b, *c: seen.append((a.dtype, b.dtype)) or plain(a, b, *c))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = weight_norm_linear(x, v, g, bias, math.sqrt(600))
    assert seen == [(torch.bfloat16, torch.bfloat16)]
    assert y.dtype == torch.bfloat16
    exact = naive(x, v, g, bias, math.sqrt(600))
    assert (y - exact).norm() < 5e-3 * exact.norm()
    dv, dg = torch.autograd.grad(y.float().square().sum(), (v, g))
    assert dv.dtype == dg.dtype == torch.float32
    assert (dv * v).sum(1).abs().max() < 1e-3 * (dv.norm(dim=1) * v.norm(dim=1)).max()  # projected away from v
    unprojected = torch.autograd.grad(exact.square().sum(), (v, g))
    assert (dv - unprojected[0]).norm() < 2e-2 * unprojected[0].norm()


def test_half_precision_parameters_take_norms_in_float32():
    x, v, g, bias = product_tensors((2,), 6000, 3, dtype=torch.bfloat16)
    y = weight_norm_linear(x, v, g, bias)
    exact = naive(*(tensor.double() for tensor in (x, v, g, bias)), 1.0)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.double(), exact, rtol=1e-2, atol=2e-2)
    dv = torch.autograd.grad(y.sum(), v)[0]
    assert dv.dtype == torch.bfloat16


def test_the_product_takes_the_norm_of_half_precision_rows_in_float32():
    v = torch.full((2, 4000), 2000.0, dtype=torch.float16)  # of norm 126,491; the greatest float16 is 65,504
    y = weight_norm_linear(torch.full((1, 4000), 1e-3).half(), v, torch.ones(2).half(), None)
    torch.testing.assert_close(y, torch.full((1, 2), 1e-3 * math.sqrt(4000)).half())


@pytest.mark.parametrize("examples", [3, 900])
@pytest.mark.parametrize("autocast", [False, True])
def test_types_are_those_of_the_plain_product(autocast, examples):
    x, v, g, bias = product_tensors((examples,), 20, 5)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        y = weight_norm_linear(x, v, g, bias)
        assert y.dtype == F.linear(x, v, bias).dtype == torch.float64
        for other in (x.float(), x.long()):
            with pytest.raises(RuntimeError, match="same dtype"):
                weight_norm_linear(other, v, g, bias)
    torch.testing.assert_close(y, naive(x, v, g, bias, 1.0))


def test_an_exported_layer_takes_any_batch():
    layer = WeightNormLinear(6, 5)
    exported = torch.export.export(layer, (torch.randn(2, 6),), dynamic_shapes=({0: torch.export.Dim("batch")},))
    for examples in (1, 2, 50):
        x = torch.randn(examples, 6)
        torch.testing.assert_close(exported.module()(x), layer(x))


@pytest.mark.parametrize("lead", mostly_slow([(3,), (2, 3)]))
def test_compiled_equals_eager(lead):
    arguments = product_tensors(lead, dtype=torch.float32)
    compiled = torch.compile(weight_norm_linear, fullgraph=True)
    y = compiled(*arguments, 2.0)
    torch.testing.assert_close(y, weight_norm_linear(*arguments, 2.0))
    dy = torch.randn_like(y)
    torch.testing.assert_close(
        gradients(compiled, *arguments, 2.0, dy), gradients(weight_norm_linear, *arguments, 2.0, dy)
    )


def test_few_examples_never_form_the_weight_and_many_do(monkeypatch):
    formed = []
    counted = lambda *arguments, **keywords: formed.append(1) or effective_weight(*arguments, **keywords)  # noqa: E731
    monkeypatch.setattr(formulas, "effective_weight", counted)
    x, v, g, bias = product_tensors((6,), 7)
    weight_norm_linear(x, v, g, bias)
    assert not formed
    weight_norm_linear(torch.cat([x, x]), v, g, bias)
    assert len(formed) == 1


def test_few_weights_are_formed(monkeypatch):
    formed = []
    counted = lambda *arguments, **keywords: formed.append(1) or effective_weight(*arguments, **keywords)  # noqa: E731
    monkeypatch.setattr(formulas, "effective_weight", counted)
    x, v, g, bias = product_tensors((2,), 50, 40)
    for least, times in ((v.numel(), 0), (v.numel() + 1, 1)):
        monkeypatch.setattr(formulas, "LEAST_WEIGHTS", least)
        weight_norm_linear(x, v, g, bias)
        assert len(formed) == times


def test_saved_for_backward_are_norms_and_outputs_alone():
    x, v, g, bias = product_tensors((2,), 50, 40, dtype=torch.float32)
    saved = {}
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.setdefault(t.data_ptr(), t), lambda t: t):
        weight_norm_linear(x, v, g, bias)
    own = {tensor.data_ptr() for tensor in (x, v, g, bias)}
    assert sum(t.numel() for pointer, t in saved.items() if pointer not in own) == 40 + 2 * 40  # ‖v‖ and v·x


def test_shapes_on_the_meta_device():
    x, v, g, bias = (tensor.detach().to("meta") for tensor in product_tensors((2, 3)))
    assert weight_norm_linear(x, v, g, bias).shape == (2, 3, 4)


def test_per_example_gradients_through_functorch():
    x, v, g, bias = (tensor.detach() for tensor in product_tensors())

    def loss(g, row):
        return weight_norm_linear(row, v, g, bias).square().sum()

    each = torch.vmap(torch.func.grad(loss), (None, 0))(g, x)
    expected = torch.stack([torch.func.grad(loss)(g, row) for row in x])
    torch.testing.assert_close(each, expected)


def test_the_product_with_complex_weights():
    x, v, g = (torch.randn(*shape, dtype=torch.complex128) for shape in ((2, 3), (4, 3), (4,)))
    expected = x @ (3 * g[:, None] * v / v.abs().square().sum(1, keepdim=True).sqrt()).T
    torch.testing.assert_close(weight_norm_linear(x, v, g, None, 3.0), expected)


@pytest.mark.parametrize(("inputs", "outputs"), [(0, 3), (3, 0), (0, 0)])
def test_the_product_without_rows_or_inputs_is_that_of_a_plain_layer(inputs, outputs, monkeypatch):
    monkeypatch.setattr(formulas, "LEAST_WEIGHTS", 1)
    x, v, g, bias = product_tensors((2,), inputs, outputs)
    y = weight_norm_linear(x, v, g, bias, 2.0)
    assert torch.equal(y, bias.expand(2, outputs))
    for gradient, tensor in zip(torch.autograd.grad(y.sum(), (x, v, g)), (x, v, g), strict=True):
        assert torch.equal(gradient, torch.zeros_like(tensor))


# Rows of any size


SIZES = {
    torch.float32: (1e-30, 1e-24, 1e-19, 1e-15, 1.0, 1e15, 1e19, 1e24, 1e30, 1e37),
    torch.float64: (1e-200, 1e-150, 1.0, 1e150, 1e200),
}


@pytest.fixture(
    params=["eager", "channels_last", "product", "device", "wide", "wide channels_last", "second order", "traced"]
)
def any_size_formula(request, monkeypatch):
    """Every way to compute effective weights `[out, n]`."""
    if request.param == "device":  # as on a device whose norms the host does not read
        monkeypatch.setattr(formulas, "HOST_READABLE", ())
    if "wide" in request.param:  # as on a GPU
        monkeypatch.setattr(formulas, "WIDE", ("cpu",))
    product = lambda v, g, scale: weight_norm_linear(torch.eye(v.shape[1], dtype=v.dtype), v, g, None, scale).mT  # noqa: E731
    other = lambda v, g, scale: effective_weight(v.mT.contiguous().mT, g, scale)  # noqa: E731
    ways = {"traced": traced_weight, "product": product, "channels_last": other, "wide channels_last": other}
    return ways.get(request.param, effective_weight), request.param == "second order"


@pytest.mark.parametrize("dtype", SIZES)
@pytest.mark.parametrize("scale", [1.0, math.sqrt(7)])
@pytest.mark.parametrize("length", ["of v", "one"])
def test_rows_of_any_size_have_their_weights_and_gradients(any_size_formula, dtype, scale, length):
    formula, create_graph = any_size_formula
    torch.manual_seed(0)
    size, direction = torch.tensor(SIZES[dtype], dtype=dtype)[:, None], torch.randn(len(SIZES[dtype]), 7, dtype=dtype)
    v = (size * direction).requires_grad_()
    g = (row_norm(v.detach(), scale) if length == "of v" else torch.ones(len(v), dtype=dtype)).requires_grad_()
    w, dw = formula(v, g, scale), torch.randn_like(v)
    dv, dg = torch.autograd.grad(w, (v, g), dw, create_graph=create_graph)

    unit = direction / direction.norm(dim=1, keepdim=True)
    along = (dw * unit).sum(1, keepdim=True)
    slope = g.detach()[:, None] / size * scale / direction.norm(dim=1, keepdim=True)
    relative = dict(atol=0.0, rtol=1e-4 if dtype is torch.float32 else 1e-10)
    torch.testing.assert_close(w, v if length == "of v" else unit * scale, **relative)
    torch.testing.assert_close(dv, slope * (dw - unit * along), **relative)
    torch.testing.assert_close(dg, along[:, 0] * scale, **relative)


@pytest.mark.parametrize("wide", [False, True])
def test_with_norms_in_float64_weights_are_rounded_once(wide, monkeypatch):
    monkeypatch.setattr(formulas, "WIDE", ("cpu",) if wide else ())
    torch.manual_seed(0)
    v, g = torch.randn(50, 70), torch.randn(50)
    norm = v.double().norm(dim=1)
    assert torch.equal(effective_weight(v, g), (v.double() * (g.double() / norm)[:, None]).float()) == wide
    assert torch.equal(row_norm(v), norm.float()) == wide


@pytest.mark.parametrize("size", [1e-40, 1e-30, 1.0, 1e30, 1e38])
@pytest.mark.parametrize("wide", [False, True])
def test_a_plain_row_of_any_finite_size_keeps_its_function(size, wide, monkeypatch):
    monkeypatch.setattr(formulas, "WIDE", ("cpu",) if wide else ())
    w = size * torch.rand(3, 50)
    scale = math.sqrt(50)
    kept = effective_weight(w, row_norm(w, scale), scale)
    torch.testing.assert_close(kept, w, rtol=1e-3 if size < 1e-38 else 1e-6, atol=0.0)  # 1e-40 is of 17 bits
    if size == 1e38:  # the norm itself is greater than any float32: it has no length in units of 1
        assert row_norm(w).isinf().all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.filterwarnings("ignore:Warning. Profiler clears events")  # of torch 2.11
@pytest.mark.parametrize("channels_last", [False, True])
def test_a_gpu_has_the_weights_and_gradients_of_a_cpu_in_fewer_launches(channels_last):
    torch.manual_seed(0)
    rows = torch.tensor([1e-30, 0.0, 1.0, 1e30]).repeat(8)[:, None, None, None]
    v, g, dw = torch.randn(32, 16, 3, 3) * rows, torch.randn(32), torch.randn(32, 16, 3, 3)
    if channels_last:
        v, dw = (tensor.contiguous(memory_format=torch.channels_last) for tensor in (v, dw))

    def derivatives(device, dtype):
        sized = [tensor.to(device, dtype).requires_grad_() for tensor in (v, g)]
        w = effective_weight(*sized, 3.0)
        return [w, *torch.autograd.grad(w, sized, dw.to(device, dtype))]

    ours = derivatives("cuda", torch.float32)
    for value, truth in zip(ours, derivatives("cpu", torch.float64), strict=True):
        torch.testing.assert_close(value.cpu().double(), truth, rtol=1e-4, atol=0.0)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        derivatives("cuda", torch.float32)
        torch.cuda.synchronize()
    launched = [event for event in profile.events() if event.device_type is torch.autograd.DeviceType.CUDA]
    assert len([event for event in launched if not event.name.startswith("Mem")]) < 25


def test_half_precision_rows_of_any_size():
    torch.manual_seed(0)
    for size in (1e-6, 1e-3, 1e4):
        v = (size * torch.randn(3, 400)).half().requires_grad_()
        w = effective_weight(v, torch.ones(3, dtype=torch.half), 20.0)
        torch.testing.assert_close(
            w.float(), 20 * v.float() / v.float().norm(dim=1, keepdim=True), rtol=2e-3, atol=1e-6
        )


@pytest.mark.parametrize("factor", [2.0**-600, 2.0**600])
def test_second_derivatives_of_rows_of_any_size(factor):
    torch.manual_seed(0)
    v, g, dw, dv = (torch.randn(*shape, dtype=torch.float64) for shape in ((2, 3), (2,), (2, 3), (2, 3)))

    def second(factor):
        sized = (factor * v).requires_grad_(), (factor * g).requires_grad_()
        first = torch.autograd.grad(effective_weight(*sized), sized[0], dw, create_graph=True)
        return [factor * derivative for derivative in torch.autograd.grad(first, sized, dv)]

    torch.testing.assert_close(second(factor), second(1.0))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64, torch.complex64])
def test_row_norm(dtype):
    rows = torch.tensor([[[3.0, 4.0]], [[0.0, 0.0]], [[3e3, 4e3]]]).to(dtype)
    norm = row_norm(rows, 2.0)
    assert norm.dtype == (torch.float64 if dtype is torch.float64 else torch.float32)
    torch.testing.assert_close(norm, torch.tensor([2.5, 0.0, 2500.0], dtype=norm.dtype), rtol=1e-3, atol=0.0)
    assert torch.equal(row_norm(rows[:0]), norm[:0])
    assert torch.equal(row_norm(rows[..., :0], 0.0), norm.new_zeros(3))
    if dtype is not torch.float16:
        least = 1e-30 if norm.dtype is torch.float32 else 1e-200
        torch.testing.assert_close(row_norm(rows[:1] * least), norm.new_tensor([5 * least]), atol=0.0, rtol=1e-6)
        torch.testing.assert_close(row_norm(rows[:1] / least), norm.new_tensor([5 / least]), atol=0.0, rtol=1e-6)


# Ballast


def with_ballast(v, g, scale, c):
    """The weights of rows with one more direction c, whose own weight is then dropped."""
    column = torch.full_like(v[:, :1], c)
    return effective_weight(torch.cat([v, column], 1), g, scale)[:, :-1]


@pytest.mark.parametrize("size", [1e-200, 1.0, 1e200])
def test_ballast_is_one_more_weight_whose_input_is_0(size):
    x, v, g, bias = product_tensors()
    v, c = (size * v).detach().requires_grad_(), 2.0 * size
    dw = torch.randn_like(v)
    w, expected = effective_weight(v, g, 3.0, ballast=c), with_ballast(v, g, 3.0, c)
    torch.testing.assert_close(w, expected)
    actual, right = (torch.autograd.grad(w, (v, g), dw) for w in (w, expected))
    torch.testing.assert_close((actual[0] * size, actual[1]), (right[0] * size, right[1]))
    torch.testing.assert_close(weight_norm_linear(x, v, g, bias, 3.0, ballast=c), F.linear(x, expected, bias))


def test_ballast_of_rows_along_another_dimension_and_of_half_precision():
    v, g = torch.randn(4, 3), torch.rand(4)
    expected = with_ballast(v, g, 3.0, 2.0)
    torch.testing.assert_close(effective_weight(v.t(), g, 3.0, 1, ballast=2.0), expected.t())
    half = effective_weight(v.bfloat16(), g.bfloat16(), 3.0, ballast=2.0)
    torch.testing.assert_close(half.float(), expected, rtol=2e-2, atol=2e-2)
    assert not torch.allclose(half.float(), effective_weight(v, g, 3.0), rtol=5e-2, atol=5e-2)


def test_a_zero_row_with_ballast_learns():
    v, g = torch.zeros(2, 3, requires_grad=True), torch.ones(2)
    w = effective_weight(v, g, 2.0, ballast=4.0)
    assert not w.any()
    assert torch.equal(torch.autograd.grad(w.sum(), v)[0], torch.full((2, 3), 0.5))


def test_no_ballast_gives_the_same_bits(tensors):
    assert torch.equal(effective_weight(*tensors, ballast=0.0), effective_weight(*tensors))


# What torch's own functions do: transforms, tracing, exports


SMOOTH = ["weight", "dimension 1", "ballast", "product", "batched product", "formed product"]


@pytest.fixture(params=[*SMOOTH, "zero row"])  # where the weights jump
def function(request, monkeypatch):
    """A function and its arguments, for every path."""
    x, v, g, bias = product_tensors((2,), 4, 3)
    weight = lambda v, g: effective_weight(v, g, 2.0)  # noqa: E731
    product = lambda x, v, g, bias: weight_norm_linear(x, v, g, bias, 2.0)  # noqa: E731
    if request.param == "formed product":
        monkeypatch.setattr(formulas, "LEAST_WEIGHTS", 2**17)
    if request.param == "zero row":
        v.detach()[1] = 0
    return {
        "weight": (weight, (v, g)),
        "zero row": (weight, (v, g)),
        "dimension 1": (lambda v, g: effective_weight(v.mT, g, 2.0, dim=1), (v, g)),
        "ballast": (lambda v, g: effective_weight(v, g, 2.0, ballast=1.5), (v, g)),
        "batched product": (product, (x.detach()[:, None].requires_grad_(), v, g, bias)),
    }.get(request.param, (product, (x, v, g, bias)))


def loss_of(f):
    return lambda *arguments: f(*arguments).pow(3).sum()


def test_batched_gradients_are_those_one_by_one(function):
    f, arguments = function
    y = f(*arguments)
    each = torch.eye(y.numel(), dtype=y.dtype).view(-1, *y.shape)
    one_by_one = [torch.autograd.grad(y, arguments, dy, retain_graph=True) for dy in each]
    expected = tuple(torch.stack(gradients) for gradients in zip(*one_by_one, strict=True))
    for create_graph in (False, True):
        batched = torch.autograd.grad(
            y, arguments, each, retain_graph=True, create_graph=create_graph, is_grads_batched=True
        )
        torch.testing.assert_close(batched, expected)
    mapped = torch.vmap(lambda dy: torch.autograd.grad(y, arguments, dy, retain_graph=True))(each)
    torch.testing.assert_close(mapped, expected)


@pytest.mark.parametrize("strategy", ["reverse-mode", "forward-mode"])
def test_vectorized_jacobians_and_hessians(function, strategy):
    f, arguments = function
    rows = jacobian(f, arguments)
    torch.testing.assert_close(jacobian(f, arguments, vectorize=True, strategy=strategy), rows)
    second = hessian(loss_of(f), arguments)
    assert all(block.isfinite().all() for blocks in second for block in blocks)
    vectorized = hessian(loss_of(f), arguments, vectorize=True, outer_jacobian_strategy=strategy)
    torch.testing.assert_close(vectorized, second)


@pytest.mark.parametrize("transform", [torch.func.jacrev, torch.func.jacfwd])
def test_functional_jacobians_and_hessians(function, transform):
    f, arguments = function
    arguments, every = tuple(tensor.detach() for tensor in arguments), tuple(range(len(arguments)))
    torch.testing.assert_close(transform(f, every)(*arguments), jacobian(f, arguments))
    second = transform(torch.func.grad(loss_of(f), every), every)(*arguments)
    torch.testing.assert_close(second, hessian(loss_of(f), arguments))


@pytest.mark.parametrize("function", SMOOTH, indirect=True)
def test_derivatives_in_batches_and_forward_mode_are_numerically_right(function):
    f, arguments = function
    forward = {"check_forward_ad": True, "check_batched_forward_grad": True}
    assert torch.autograd.gradcheck(f, arguments, check_batched_grad=True, **forward)
    assert torch.autograd.gradgradcheck(f, arguments, check_batched_grad=True, check_fwd_over_rev=True)


class Traced(nn.Module):
    """A dense layer with a zero, a small and a great row, and a transposed convolution."""

    def __init__(self, ballast):
        super().__init__()
        torch.manual_seed(0)
        self.v = nn.Parameter(torch.randn(4, 6) * torch.tensor([[0.0], [1e-30], [1.0], [1e30]]))
        self.g = nn.Parameter(torch.ones(4))
        self.kernel = nn.Parameter(torch.randn(2, 3, 3, 3))
        self.lengths = nn.Parameter(torch.ones(3))
        self.ballast = ballast

    def forward(self, x, images):
        kernel = effective_weight(self.kernel, self.lengths, 2.0, 1, ballast=self.ballast)
        y = weight_norm_linear(x, self.v, self.g, None, 2.0, ballast=self.ballast)
        return y, F.conv_transpose2d(images, kernel)


@pytest.fixture(params=[0.0, 1.0], ids=["", "ballast"])
def network(request):
    return Traced(request.param), torch.randn(3, 6), torch.randn(1, 2, 5, 5)


def test_a_traced_network_is_saved_and_loaded(network):
    network, x, images = network
    traced = torch.jit.trace(network, (x, images))
    assert "PythonOp" not in str(traced.inlined_graph)
    file = io.BytesIO()
    torch.jit.save(traced, file)
    loaded = torch.jit.load(io.BytesIO(file.getvalue()))
    for examples in (1, 3, 50):
        x = torch.randn(examples, 6)
        torch.testing.assert_close(loaded(x, images), network(x, images))


@pytest.mark.skipif(importlib.util.find_spec("onnxruntime") is None, reason="onnx and onnxruntime are not installed")
def test_an_onnx_network_of_opset_17_takes_any_batch(network):
    import onnxruntime

    network, x, images = network
    file = io.BytesIO()
    axes = {"x": {0: "batch"}}
    torch.onnx.export(
        network, (x, images), file, dynamo=False, opset_version=17, input_names=["x", "images"], dynamic_axes=axes
    )
    session, x = onnxruntime.InferenceSession(file.getvalue()), torch.randn(9, 6)
    outputs = session.run(None, {"x": x.numpy(), "images": images.numpy()})
    for actual, expected in zip(outputs, network(x, images), strict=True):
        torch.testing.assert_close(torch.from_numpy(actual), expected.detach(), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_a_compiled_network_has_the_outputs_and_gradients_of_an_eager_one(network):
    network, x, images = network
    parameters = list(network.parameters())
    loss = lambda outputs: sum(output.sum() for output in outputs)  # noqa: E731
    compiled, eager = torch.compile(network, fullgraph=True)(x, images), network(x, images)
    torch.testing.assert_close(compiled, eager)
    torch.testing.assert_close(
        torch.autograd.grad(loss(compiled), parameters),
        torch.autograd.grad(loss(eager), parameters),
        rtol=1e-4,
        atol=1e-4,
    )


def test_shapes_of_fake_tensors():
    with FakeTensorMode():
        v, g = torch.randn(3, 4, requires_grad=True), torch.randn(3, requires_grad=True)
        w = effective_weight(v, g)
        assert torch.autograd.grad(w.sum(), v)[0].shape == w.shape == (3, 4)
