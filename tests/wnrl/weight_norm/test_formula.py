"""wnrl.weight_norm.formula: equations 2 and 3 of the paper, and the weight that a layer shows."""

import copy
import io
import math
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from wnrl.weight_norm import formula as formulas
from wnrl.weight_norm.dense import WeightNormLinear
from wnrl.weight_norm.formula import effective_weight


@pytest.fixture(params=[1.0, math.sqrt(12)], ids=["paper", "sqrt"])
def tensors(request):
    torch.manual_seed(1)
    v = torch.randn(5, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    g = torch.randn(5, dtype=torch.float64, requires_grad=True)
    return v, g, request.param


@pytest.fixture(params=["eager", "traced"])
def formula(request):
    """Both ways to compute the effective weight; the compiler is shown the second."""
    return {"eager": effective_weight, "traced": formulas._traced_weight}[request.param]


def test_both_eager_formulas_agree(tensors):
    v, g, _ = tensors
    gain = g.view(-1, 1, 1, 1)
    fused = formulas._eager_weight(v, gain)
    composed = formulas._eager_weight(v.to(memory_format=torch.channels_last), gain)
    torch.testing.assert_close(fused, composed, check_stride=False)


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


@pytest.mark.parametrize(
    "write",
    [
        lambda layer: nn.init.orthogonal_(layer.weight),
        lambda layer: nn.init.kaiming_uniform_(layer.weight),
        lambda layer: nn.init.xavier_normal_(layer.weight),
        lambda layer: nn.init.zeros_(layer.weight),
        lambda layer: layer.weight.data.mul_(2),
        lambda layer: layer.weight.detach()[0].fill_(0),
        lambda layer: layer.weight.__setitem__(0, 0.0),
        lambda layer: torch.zeros(5, 6, out=layer.weight),
        lambda layer: setattr(layer.weight, "data", torch.zeros(5, 6)),
    ],
)
def test_writing_to_the_effective_weight_is_an_error(write):
    layer = WeightNormLinear(6, 5)
    with pytest.raises(TypeError, match="set_weight"), torch.no_grad():
        write(layer)


def test_reading_the_effective_weight_gives_ordinary_tensors():
    layer = WeightNormLinear(6, 5)
    y = F.linear(torch.ones(1, 6), layer.weight)
    assert type(y) is torch.Tensor
    assert type(layer.weight.clone()) is torch.Tensor
    y.relu_().sum().backward()
    assert layer.v.grad is not None
    plain = nn.Linear(6, 5)
    plain.weight.data.copy_(layer.weight)
    assert torch.equal(plain.weight, layer.effective_weight())
    layer.weight.clone().mul_(2)


def test_copies_and_files_hold_ordinary_tensors():
    layer = WeightNormLinear(6, 5)
    weight = layer.weight.detach()
    file = io.BytesIO()
    torch.save({"weight": weight}, file)
    file.seek(0)
    for other in (copy.deepcopy(weight), torch.load(file, weights_only=True)["weight"]):
        assert type(other) is torch.Tensor
        assert torch.equal(other, layer.effective_weight())
        assert torch.equal(other.mul_(0), torch.zeros(5, 6))
    assert layer.weight.any()
