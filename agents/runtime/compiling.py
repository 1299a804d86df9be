"""Functions of tensors, compiled as a whole with their backward pass; as they are where that is not possible."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import torch
from torch.utils._pytree import tree_leaves

from agents.runtime.devices import missing_compiler
from agents.runtime.narrow_products import compile_with_narrow_products

Function = TypeVar("Function", bound=Callable[..., Any])


def _say(text: str) -> None:
    print(text, flush=True)


class Compiler:
    """Compiles functions for one device; if one of them cannot be compiled, all run as they are.

    (Torch 2.8 compiles a backward pass when it is called: an error there ends the run.)

    What is compiled is kept on disk by torch (in `TORCHINDUCTOR_CACHE_DIR`), so that the next run starts sooner.

    Args:
        device: of the functions' tensors.
        enabled: whether to compile; None does so on CUDA.
        say: called once with a line when compiling begins, with one for each function that has been compiled, and once
            with the reason if one cannot be.
        backend: of torch.compile.

    Attributes:
        enabled: whether functions are compiled.
        asked: whether compiling was asked for by name.
        say: as given; it may be replaced.
    """

    def __init__(
        self,
        device: torch.device,
        *,
        enabled: bool | None = False,
        say: Callable[[str], None] = _say,
        backend: str = "inductor",
    ) -> None:
        self.device, self.say, self.backend, self.asked = device, say, backend, enabled is True
        self.enabled = device.type == "cuda" if enabled is None else enabled
        self._begun = False

    def compile(self, function: Function, name: str) -> Function:
        """`function`, of trees of tensors, as one that is compiled at its first call; to be called instead of it.

        It is compiled once for each shape of its arguments, without graph breaks. It draws nothing at random, and what
        else it reads of the host (numbers, flags) does not change.

        Args:
            function: also works as it is.
            name: of what it computes, in messages.
        """
        return _Compiled(self, function, name) if self.enabled else function  # type: ignore[return-value]

    def begin(self) -> None:
        """Say that compiling begins, if it has not been said; refuse where there is no compiler."""
        if self._begun:
            return
        self._begun = True
        reason = missing_compiler(self.device)
        if reason:
            self.refuse(reason)
        else:
            self.say("compiling the updates: the first steps take longer (--no-compile does without)")

    def refuse(self, reason: str) -> None:
        """Compile nothing more, and call nothing that was compiled."""
        self.enabled = False
        self.say(f"without compilation: {reason}")


class _Compiled:
    """A function that is compiled for each shape of its arguments."""

    def __init__(self, compiler: Compiler, function: Callable[..., Any], name: str) -> None:
        self._compiler, self._function, self._name = compiler, function, name
        backend = compile_with_narrow_products if compiler.backend == "inductor" else compiler.backend
        self._compiled = torch.compile(_apart(function), fullgraph=True, dynamic=False, backend=backend)
        self._shapes: set[tuple[torch.Size, ...]] = set()

    def __call__(self, *arguments: Any) -> Any:
        if not self._compiler.enabled:
            return self._function(*arguments)
        shapes = tuple(tensor.shape for tensor in tree_leaves(arguments) if isinstance(tensor, torch.Tensor))
        try:
            return self._compiled(*arguments) if shapes in self._shapes else self._first(shapes, arguments)
        except _errors() as error:  # compiling failed, before anything was computed
            self._compiler.refuse(f"{self._name} cannot be compiled: {_reason(error)}")
            return self._function(*arguments)

    def _first(self, shapes: tuple[torch.Size, ...], arguments: Any) -> Any:
        """Compile for these arguments and call."""
        self._compiler.begin()
        if not self._compiler.enabled:
            return self._function(*arguments)
        start = time.perf_counter()
        warnings.filterwarnings("ignore", category=UserWarning, module=r"torch\._inductor")  # advice on its own work
        with _backward_too():
            result = self._compiled(*arguments)
        self._compiler.say(f"{self._name} compiled in {time.perf_counter() - start:.1f} s")
        self._shapes.add(shapes)
        return result


def _apart(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` with code of its own: torch limits how often one code is compiled, for all agents of a process."""

    def whole(*arguments: Any) -> Any:
        return function(*arguments)

    whole.__code__ = whole.__code__.replace()
    return whole


def _backward_too() -> AbstractContextManager[Any]:
    """Within it, the backward pass is compiled with the forward pass, where torch would wait for its first call."""
    config: Any = __import__("torch._functorch.config", fromlist=["config"])
    if not hasattr(config, "force_non_lazy_backward_lowering"):
        return nullcontext()
    return config.patch(force_non_lazy_backward_lowering=True)


def _errors() -> tuple[type[BaseException], ...]:
    """The errors of torch's compilers."""
    from torch._dynamo.exc import FailOnRecompileLimitHit, TorchDynamoException
    from torch._inductor.exc import InductorError

    return TorchDynamoException, FailOnRecompileLimitHit, InductorError


def _reason(error: BaseException) -> str:
    """What the error says, in one line."""
    lines = [line.strip() for line in str(error).splitlines()]
    said = [line for line in lines if line and not line.endswith("raised:")] or [type(error).__name__]
    return " ".join(said[:2]) if said[0].endswith(":") else said[0]
