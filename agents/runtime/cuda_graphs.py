"""CUDA graphs: work of the device that is captured once and then launched as a whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from agents.runtime.devices import resolve_graphs

WARM_UP = 3  # calls before the capture, in which libraries allocate their workspaces

Work = Callable[[], None]
Result = TypeVar("Result")  # a tree of tensors, as a tensor, a named tuple of tensors, or None


def _say(text: str) -> None:
    print(text, flush=True)


class Graphs:
    """Captures pieces of work of one device; if one of them cannot be captured, all run without graphs.

    Captured work reads and writes tensors at fixed addresses. A number of the host that it reads keeps the value of the
    capture, and what it does on the host is done at the capture only.

    Args:
        device: of the work; work is captured on CUDA only.
        generators: random generators of the work, on the device.
        enabled: whether to capture; None does so on CUDA.
        say: called once with the reason if work on CUDA cannot be captured.

    Attribute `enabled`: whether work is captured.

    Raises:
        ValueError: capturing is requested on a device that cannot.
    """

    def __init__(
        self,
        device: torch.device,
        generators: Sequence[torch.Generator],
        *,
        enabled: bool | None = None,
        say: Callable[[str], None] = _say,
    ) -> None:
        self.enabled = resolve_graphs(enabled, device)
        self.device, self.generators, self._say = device, tuple(generators), say
        self._captures: list[_Capture] = []

    def capture(self, work: Work, name: str) -> Work:
        """`work` as a function that captures it after some calls; to be called instead of it.

        Args:
            work: the same operations each time.
            name: of the work in messages.
        """
        if not self.enabled:
            return work
        self._captures.append(_Capture(self, work, name))
        return self._captures[-1]

    def capture_function(self, function: Callable[..., Result], name: str) -> Callable[..., Result]:
        """`function`, from trees of tensors (see `torch.utils._pytree`) to such a tree; to be called instead of it.

        It is captured once for each shape of its arguments; its result is overwritten by the next call then.
        """
        return _Function(self, function, name) if self.enabled else function

    @property
    def pending(self) -> bool:
        """Whether some work is still to be captured."""
        return self.enabled and any(capture.pending for capture in self._captures)

    def forget(self) -> None:
        """Capture everything again, since tensors have been replaced."""
        for capture in self._captures:
            capture.forget()

    def refuse(self, reason: str) -> None:
        """Stop capturing, and launch nothing that was captured."""
        self.enabled = False
        self.forget()
        self._say(f"without CUDA graphs: {reason}")


class _Capture:
    """One piece of work, called as a function."""

    def __init__(self, graphs: Graphs, work: Work, name: str) -> None:
        self._graphs, self._work, self._name = graphs, work, name
        self._stream = torch.cuda.Stream(graphs.device)
        self.forget()

    def forget(self) -> None:
        """Capture again after some calls."""
        self._graph: torch.cuda.CUDAGraph | None = None
        self._calls = 0

    @property
    def pending(self) -> bool:
        """Whether it is still to be captured."""
        return self._graph is None

    def __call__(self) -> None:
        if self._graphs.enabled and self._graph is None and self._calls == WARM_UP:
            self._capture()
        if self._graph is not None:
            self._graph.replay()
        elif self._graphs.enabled:
            self._warm_up()
        else:
            self._work()

    def _warm_up(self) -> None:
        """Run on the stream of the capture, for which libraries must have allocated their workspaces."""
        now = torch.cuda.current_stream(self._stream.device)
        self._stream.wait_stream(now)
        with torch.cuda.stream(self._stream):
            self._work()
        now.wait_stream(self._stream)
        self._calls += 1

    def _capture(self) -> None:
        """Record what the work launches, without running it; refused if it waits for the device or needs the host."""
        graph, device = torch.cuda.CUDAGraph(), self._stream.device
        index = torch.cuda.current_device() if device.index is None else device.index
        generators = torch.cuda.default_generators[index], *self._graphs.generators
        before = [generator.clone_state() for generator in generators]
        for generator in self._graphs.generators:  # torch adds the default one
            graph.register_generator_state(generator)
        try:
            # a capture that fails leaves its stream the current one: hence the outer context
            current = torch.cuda.stream(torch.cuda.current_stream(device))
            mode = "thread_local"  # another thread may be copying a checkpoint
            with current, torch.cuda.graph(graph, stream=self._stream, capture_error_mode=mode):
                self._work()
        except RuntimeError as error:
            for generator, state in zip(generators, before, strict=True):  # some versions leave them in the capture
                generator.graphsafe_set_state(state)
            cause = str(error.__context__ or error).splitlines()[0]
            self._graphs.refuse(f"{self._name} cannot be captured: {cause}")
        else:
            self._graph = graph
            # it has reset what its generators draw from: a launch that did not wait could draw from that
            torch.cuda.current_stream(device).wait_stream(self._stream)


class _Function:
    """A function that is captured for each shape of its arguments."""

    def __init__(self, graphs: Graphs, function: Callable[..., Any], name: str) -> None:
        self._graphs, self._function, self._name = graphs, function, name
        self._placed: dict[tuple[torch.Size, ...], _Placed] = {}

    def __call__(self, *arguments: Any) -> Any:
        tensors = tree_leaves(arguments)
        shapes = tuple(tensor.shape for tensor in tensors)
        if shapes in self._placed:
            return self._placed[shapes](tensors)
        placed = self._placed[shapes] = _Placed(self._function, arguments)
        placed.work = self._graphs.capture(placed.compute, self._name)
        return placed.result


class _Placed:
    """A function whose arguments and results have fixed addresses; it is called once when this is constructed."""

    work: Work

    def __init__(self, function: Callable[..., Any], arguments: Sequence[Any]) -> None:
        self._function, self._arguments = function, tree_map(torch.clone, arguments)
        self._places = tree_leaves(self._arguments)
        self.result = function(*arguments)

    def __call__(self, tensors: Sequence[Tensor]) -> Any:
        for place, tensor in zip(self._places, tensors, strict=True):
            place.copy_(tensor)
        self.work()
        return self.result

    def compute(self) -> None:
        """Write the result for the arguments at their addresses."""
        results = tree_leaves(self.result), tree_leaves(self._function(*self._arguments))
        for place, value in zip(*results, strict=True):
            if place is not None:
                place.copy_(value)
