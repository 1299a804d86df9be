"""agents.runtime.narrow_products: the same products, in other kernels."""

import pytest
import torch
from torch import nn
from torch._inductor.utils import run_and_get_code

from agents.runtime import narrow_products
from agents.runtime.compiling import Compiler
from agents.runtime.narrow_products import MOST_PRODUCTS, compile_with_narrow_products, is_narrow, with_narrow_products

CPU = torch.device("cpu")


@pytest.fixture
def on_this_device(monkeypatch):
    monkeypatch.setattr(narrow_products, "DEVICES", ("cpu",))


@pytest.mark.parametrize(
    ("left", "right", "narrow"),
    [
        ((64, 512), (512, 4), True),  # a head's outputs
        ((64, 4), (4, 512), True),  # the gradient of its inputs
        ((4, 64), (64, 512), True),  # of its weights
        ((64, 512), (512, 18), True),
        ((64, 512), (512, 19), False),
        ((512, 512), (512, 18), False),
        ((32, 3136), (3136, 512), False),
    ],
)
def test_a_product_is_narrow_by_its_smallest_size_and_the_number_of_products(left, right, narrow, on_this_device):
    assert is_narrow(torch.empty(left), torch.empty(right)) == narrow
    assert MOST_PRODUCTS < 512 * 512 * 18


def test_a_cpu_has_the_librarys_products():
    assert not is_narrow(torch.empty(8, 16), torch.empty(16, 4))


def test_half_precision_has_the_librarys_products(on_this_device):
    assert not is_narrow(torch.empty(8, 16, dtype=torch.bfloat16), torch.empty(16, 4, dtype=torch.bfloat16))
    assert is_narrow(torch.empty(8, 16), torch.empty(16, 4))


def test_the_products_are_those_of_the_library(on_this_device):
    table = with_narrow_products({})
    left, right, bias = torch.randn(7, 30), torch.randn(30, 5), torch.randn(5)
    torch.testing.assert_close(table[torch.ops.aten.mm.default](left, right), left @ right)
    torch.testing.assert_close(table[torch.ops.aten.addmm.default](bias, left, right), bias + left @ right)


def test_what_is_not_narrow_or_scaled_is_decomposed_as_before(on_this_device):
    calls = []
    before = {operation: lambda *inputs, **options: calls.append((len(inputs), options)) or "as before"
              for operation in (torch.ops.aten.mm.default, torch.ops.aten.addmm.default)}  # fmt: skip
    table = with_narrow_products(before)
    wide, narrow = (torch.empty(40, 40), torch.empty(40, 40)), (torch.empty(7, 30), torch.empty(30, 5))
    assert table[torch.ops.aten.mm.default](*wide) == "as before"
    assert table[torch.ops.aten.addmm.default](torch.empty(40), *wide) == "as before"
    assert table[torch.ops.aten.addmm.default](torch.empty(5), *narrow, alpha=2) == "as before"
    assert calls == [(2, {}), (3, {}), (3, {"alpha": 2})]
    assert with_narrow_products({})[torch.ops.aten.mm.default](*wide) is NotImplemented


@pytest.mark.parametrize("bias", [True, False])
def test_a_compiled_head_calls_no_library_and_learns_the_same(on_this_device, bias):
    head = nn.Linear(40, 4, bias=bias)
    features = torch.randn(16, 40, requires_grad=True)

    def loss(features):
        return head(features).square().sum()

    def gradients(function):
        head.zero_grad()
        features.grad = None
        function(features).backward()
        return [features.grad, *(parameter.grad for parameter in head.parameters())]

    truth = gradients(loss)
    ours, codes = run_and_get_code(gradients, torch.compile(loss, backend=compile_with_narrow_products, fullgraph=True))
    for gradient, other in zip(ours, truth, strict=True):
        torch.testing.assert_close(gradient, other)
    assert len(codes) == 2
    assert not any("mm(" in code for code in codes)


def test_agents_are_compiled_so(on_this_device):
    weight, said = torch.randn(30, 5), []
    compiled = Compiler(CPU, enabled=True, say=said.append).compile(lambda x: x @ weight, "a product")
    x = torch.randn(7, 30)
    result, codes = run_and_get_code(compiled, x)
    torch.testing.assert_close(result, x @ weight)
    assert not any("mm(" in code for code in codes)
    assert said[-1].startswith("a product compiled in ")
