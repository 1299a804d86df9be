"""wnrl.weight_norm.scaled_linear: the product that never forms w, against the product with w."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from wnrl.weight_norm import scaled_linear
from wnrl.weight_norm.dense import WeightNormLinear
from wnrl.weight_norm.formula import effective_weight
from wnrl.weight_norm.scaled_linear import weight_norm_linear


@pytest.fixture(autouse=True, scope="module")
def however_few_weights():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scaled_linear, "LEAST_WEIGHTS", 0)
        yield


def tensors(lead=(3,), inputs=7, outputs=4, bias=True, dtype=torch.float64, seed=0):
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
    arguments = tensors(tuple(lead), inputs, outputs, bias)
    scale = math.sqrt(inputs) if sqrt else 1.0
    y = weight_norm_linear(*arguments, scale)
    torch.testing.assert_close(y, naive(*arguments, scale))
    dy = torch.randn_like(y)
    torch.testing.assert_close(
        gradients(weight_norm_linear, *arguments, scale, dy), gradients(naive, *arguments, scale, dy)
    )


def test_gradients_are_equation_3():
    x, v, g, bias = tensors()
    dy = torch.randn(3, 4, dtype=torch.float64)
    _, dv, dg, _ = gradients(weight_norm_linear, x, v, g, bias, 1.0, dy)
    for i in range(4):
        dw, norm = (dy[:, i : i + 1] * x).sum(0), v[i].norm()
        paper_dg = dw @ v[i] / norm
        torch.testing.assert_close(dg[i], paper_dg)
        torch.testing.assert_close(dv[i], g[i] / norm * dw - g[i] * paper_dg / norm**2 * v[i])


@pytest.mark.parametrize("bias", [True, False])
def test_first_and_second_derivatives_are_numerically_right(bias):
    arguments = [tensor for tensor in tensors(bias=bias) if tensor is not None]

    def function(x, v, g, bias=None):
        return weight_norm_linear(x, v, g, bias, 1.5)

    assert "ScaledLinear" in type(function(*arguments).grad_fn).__name__
    assert torch.autograd.gradcheck(function, arguments)
    assert torch.autograd.gradgradcheck(function, arguments)


def test_a_zero_row_is_zero_forward_and_backward():
    x, v, g, bias = tensors()
    with torch.no_grad():
        v[1] = 0
    y = weight_norm_linear(x, v, g, bias)
    assert torch.equal(y[:, 1], bias[1].expand(3))
    dx, dv, dg, _ = gradients(weight_norm_linear, x, v, g, bias, 1.0, torch.ones_like(y))
    assert not dv[1].any()
    assert dg[1] == 0
    assert torch.isfinite(dx).all()


def test_frozen_inputs_and_parameters_get_no_gradient():
    x, v, g, bias = tensors()
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
    x, v, g, bias = tensors((8,), 600, 5, dtype=torch.float32)
    seen = []
    plain = F.linear
    monkeypatch.setattr(scaled_linear.F, "linear", lambda a, b, *c: seen.append((a.dtype, b.dtype)) or plain(a, b, *c))
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
    x, v, g, bias = tensors((2,), 6000, 3, dtype=torch.bfloat16)
    y = weight_norm_linear(x, v, g, bias)
    exact = naive(*(tensor.double() for tensor in (x, v, g, bias)), 1.0)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.double(), exact, rtol=1e-2, atol=2e-2)
    dv = torch.autograd.grad(y.sum(), v)[0]
    assert dv.dtype == torch.bfloat16


def test_the_norm_of_half_precision_rows_is_a_float32_number():
    v = torch.full((2, 4000), 2000.0, dtype=torch.float16)  # of norm 126,491; the greatest float16 is 65,504
    y = weight_norm_linear(torch.full((1, 4000), 1e-3).half(), v, torch.ones(2).half(), None)
    torch.testing.assert_close(y, torch.full((1, 2), 1e-3 * math.sqrt(4000)).half())


@pytest.mark.parametrize("examples", [3, 900])
@pytest.mark.parametrize("autocast", [False, True])
def test_types_are_those_of_the_plain_product(autocast, examples):
    x, v, g, bias = tensors((examples,), 20, 5)
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
    arguments = tensors(lead, dtype=torch.float32)
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
    monkeypatch.setattr(scaled_linear, "effective_weight", counted)
    x, v, g, bias = tensors((6,), 7)
    weight_norm_linear(x, v, g, bias)
    assert not formed
    weight_norm_linear(torch.cat([x, x]), v, g, bias)
    assert len(formed) == 1


def test_few_weights_are_formed(monkeypatch):
    formed = []
    counted = lambda *arguments: formed.append(1) or effective_weight(*arguments)  # noqa: E731
    monkeypatch.setattr(scaled_linear, "effective_weight", counted)
    x, v, g, bias = tensors((2,), 50, 40)
    for least, times in ((v.numel(), 0), (v.numel() + 1, 1)):
        monkeypatch.setattr(scaled_linear, "LEAST_WEIGHTS", least)
        weight_norm_linear(x, v, g, bias)
        assert len(formed) == times


def test_saved_for_backward_are_norms_and_outputs_alone():
    x, v, g, bias = tensors((2,), 50, 40, dtype=torch.float32)
    saved = {}
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.setdefault(t.data_ptr(), t), lambda t: t):
        weight_norm_linear(x, v, g, bias)
    own = {tensor.data_ptr() for tensor in (x, v, g, bias)}
    assert sum(t.numel() for pointer, t in saved.items() if pointer not in own) == 40 + 2 * 40  # ‖v‖ and v·x


def test_shapes_on_the_meta_device():
    x, v, g, bias = (tensor.detach().to("meta") for tensor in tensors((2, 3)))
    assert weight_norm_linear(x, v, g, bias).shape == (2, 3, 4)


def test_per_example_gradients_through_functorch():
    x, v, g, bias = (tensor.detach() for tensor in tensors())

    def loss(g, row):
        return weight_norm_linear(row, v, g, bias).square().sum()

    each = torch.vmap(torch.func.grad(loss), (None, 0))(g, x)
    expected = torch.stack([torch.func.grad(loss)(g, row) for row in x])
    torch.testing.assert_close(each, expected)
