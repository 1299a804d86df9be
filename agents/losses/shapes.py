"""Shape checks of formulas on batched tensors."""

from __future__ import annotations

from torch import Tensor


def check_shapes(name: str, expected: str, *tensors: Tensor) -> None:
    """Check the shapes of a formula's arguments; values are never read.

    Args:
        name: of the formula, for the message.
        expected: one shape per tensor, such as `"[B, A], [B], []"`; equal letters are equal sizes, and all `[...]` are
            one shape of any rank.
        tensors: the arguments.

    Raises:
        ValueError: a rank or a size differs from these.
    """
    sizes: dict[str, object] = {}
    for axes, tensor in zip(expected[1:-1].split("], ["), tensors, strict=True):
        letters = axes.split(", ") if axes else []
        shape = (tuple(tensor.shape),) if axes == "..." else tuple(tensor.shape)
        if len(letters) != len(shape) or any(
            sizes.setdefault(letter, size) != size for letter, size in zip(letters, shape, strict=True)
        ):
            shapes = ", ".join(str(tuple(tensor.shape)) for tensor in tensors)
            raise ValueError(f"{name} takes shapes {expected}, got {shapes}")
