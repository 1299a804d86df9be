"""What work launches on a device, written down: whether it is the same each time, as a captured graph would be."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

WAITS = {
    "_local_scalar_dense",
    "nonzero",
    "is_nonzero",
    "equal",
    "masked_select",
    "lift_fresh",
    "unique_dim",
    "_unique2",
}


class Tape(TorchDispatchMode):
    """Writes down each operation with its numbers, and with the tensors that were there before by their places.

    Two tapes of the same work are equal if it does the same each time: the same operations, with the same numbers, on
    tensors that lie where they lay. What the work makes for itself stands for nothing but that.

    Attributes:
        lines: the operations.
        waits: those that wait for the device, or take a number from the host in the middle of the work.
    """

    def __init__(self):
        super().__init__()
        self.lines, self.waits = [], []
        self._made, self._kept = set(), []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        inputs = tree_leaves((args, kwargs or {}))
        name = function.overloadpacket.__name__
        masks = name == "index" and any(isinstance(x, torch.Tensor) and x.dtype == torch.bool for x in inputs[1:])
        if masks or name in WAITS:
            self.waits.append(name)
        self.lines.append((str(function), tuple(map(self._written, inputs))))
        output = function(*args, **(kwargs or {}))
        before = {place(x) for x in inputs if isinstance(x, torch.Tensor)}
        for tensor in tree_leaves(output):
            if isinstance(tensor, torch.Tensor) and place(tensor) not in before:
                self._made.add(place(tensor))
                self._kept.append(tensor)  # so that no other comes to lie there
        return output

    def _written(self, value):
        if isinstance(value, torch.Tensor):
            return "made" if place(value) in self._made else place(value), tuple(value.shape), value.dtype
        return value.initial_seed() if isinstance(value, torch.Generator) else str(value)


def place(tensor):
    """Where a tensor's memory begins."""
    return tensor.untyped_storage().data_ptr()


def tape(work):
    """The tape of one call."""
    with Tape() as written:
        work()
    return written
