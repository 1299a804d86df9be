"""wnrl.weight_norm.formula: equations 2 and 3 of the paper, and the product that never forms w against that with w."""

import math
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from wnrl.weight_norm import formula as formulas
from wnrl.weight_norm.dense import WeightNormLinear
from wnrl.weight_norm.formula import effective_weight, weight_norm_linear

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


@pytest.mark.parametrize("lead", [(3,), (2, 3)])
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
    counted = lambda *arguments: formed.append(1) or effective_weight(*arguments)  # noqa: E731
    monkeypatch.setattr(formulas, "effective_weight", counted)
    x, v, g, bias = product_tensors((6,), 7)
    weight_norm_linear(x, v, g, bias)
    assert not formed
    weight_norm_linear(torch.cat([x, x]), v, g, bias)
    assert len(formed) == 1


def test_few_weights_are_formed(monkeypatch):
    formed = []
    counted = lambda *arguments: formed.append(1) or effective_weight(*arguments)  # noqa: E731
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
