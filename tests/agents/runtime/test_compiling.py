"""agents.runtime.compiling: whole functions with their backward pass, and what happens where that fails."""

import pytest
import torch
from torch._dynamo.backends.common import aot_autograd
from torch._functorch import config as functorch_config

from agents.runtime import compiling
from agents.runtime.compiling import Compiler

CPU = torch.device("cpu")


def broken(graph, inputs):
    """A compiler that makes nothing."""
    raise RuntimeError("no working compiler\nand more lines")


def compiler(backend="aot_eager"):
    said = []
    return Compiler(CPU, enabled=True, say=said.append, backend=backend), said


def loss(x, y):
    return {"loss": (x * y).sin().sum()}


def test_a_function_is_compiled_once_for_each_shape_and_says_so():
    made, said = compiler()
    compiled = made.compile(loss, "the loss")
    for size in (3, 3, 4, 3):
        x, y = torch.randn(size, requires_grad=True), torch.randn(size)
        torch.testing.assert_close(compiled(x, y), loss(x, y))
        gradients = [torch.autograd.grad(function(x, y)["loss"], x)[0] for function in (compiled, loss)]
        torch.testing.assert_close(*gradients)
    assert len(said) == 3
    assert said[0].startswith("compiling the updates")
    assert all(line.startswith("the loss compiled in ") for line in said[1:])


ahead = pytest.mark.skipif(
    not hasattr(functorch_config, "force_non_lazy_backward_lowering"),
    reason="this torch compiles a backward pass when it is called",
)


@pytest.mark.parametrize("part", ["fw_compiler", pytest.param("bw_compiler", marks=ahead)])
def test_where_a_pass_cannot_be_compiled_everything_runs_as_it_is(part):
    """The backward pass is compiled with the forward pass, so that it is given up in time."""
    works = {name: lambda graph, inputs: graph for name in ("fw_compiler", "bw_compiler")}
    made, said = compiler(aot_autograd(**{**works, part: broken}))
    first, second = made.compile(loss, "the loss"), made.compile(loss, "the targets")
    x, y = torch.randn(3, requires_grad=True), torch.randn(3)
    first(x, y)["loss"].backward()
    torch.testing.assert_close(x.grad, (x * y).cos() * y)
    second(x, y)
    assert not made.enabled
    assert len(said) == 2
    assert said[1].startswith("without compilation: the loss cannot be compiled: ")
    assert "\n" not in said[1]


def test_many_agents_of_a_process_compile_the_same_function():
    """More than torch compiles one code."""
    for number in range(torch._dynamo.config.recompile_limit + 2):
        made, said = compiler("eager")
        function = made.compile(lambda x, number=number: x + number, "it")
        assert torch.equal(function(torch.zeros(2)), torch.full((2,), float(number)))
        assert len(said) == 2
        assert made.enabled


@torch._dynamo.config.patch(recompile_limit=2)
def test_beyond_torchs_limit_the_function_runs_as_it_is():
    made, said = compiler("eager")
    function = made.compile(lambda x: x + 1, "it")
    for size in range(1, 6):
        assert torch.equal(function(torch.zeros(size)), torch.ones(size))
    assert said[-1].startswith("without compilation: it cannot be compiled: ")


def test_a_graph_break_is_no_compilation():
    def breaks(x):
        return x + 1 if x.sum().item() > 0 else x

    made, said = compiler()
    assert torch.equal(made.compile(breaks, "it")(torch.ones(2)), torch.full((2,), 2.0))
    assert said[1].startswith("without compilation: it cannot be compiled: ")


def test_errors_of_the_function_itself_are_its_own():
    def fails(x):
        raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        compiler()[0].compile(fails, "it")(torch.ones(2))


def test_without_triton_there_is_one_line_and_no_attempt(monkeypatch):
    made, said = compiler(broken)
    monkeypatch.setattr(compiling, "missing_compiler", lambda device: "Triton is not installed")
    function = made.compile(loss, "the loss")
    for _ in range(2):
        function(torch.ones(2), torch.ones(2))
    assert said == ["without compilation: Triton is not installed"]


def test_what_is_not_enabled_stays_the_same_function():
    assert Compiler(CPU).compile(loss, "the loss") is loss
    assert Compiler(CPU, enabled=None).enabled is False
    assert Compiler(torch.device("cuda"), enabled=None).enabled is True
