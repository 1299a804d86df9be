"""Pickles of byte arrays and plain values, read without running what they name."""

from __future__ import annotations

import io
import math
import pickle
from typing import Any

import numpy as np


class _Bytes:
    """Stands for the type of an array's elements, which must be uint8."""

    def __init__(self, code: str | bytes, *flags: Any) -> None:
        if code not in ("u1", b"u1"):
            raise pickle.UnpicklingError(f"it has an array of {code!r}, not of bytes")

    def __setstate__(self, state: Any) -> None:
        """NumPy's own would take flags over that make it touch other memory."""


class _Array:
    """Stands for an array of bytes."""

    values: np.ndarray

    def __init__(self, *of_an_empty_one: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, by_columns, data = state
        if not isinstance(kind, _Bytes) or not isinstance(data, bytes) or math.prod(shape) != len(data):
            raise pickle.UnpicklingError(f"its array of {shape} does not fit its data")
        self.values = np.frombuffer(data, np.uint8).reshape(shape, order="F" if by_columns else "C")


def _encode(text: str, encoding: str) -> bytes:
    """Bytes that Python 3 wrote as text by an old protocol."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it has text in {encoding}, which an array does not need")
    return text.encode(encoding)


_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Bytes,
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("_codecs", "encode"): _encode,
}
"""All that the pickles of arrays name, by NumPy 1 and 2, and what stands for it."""


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which an array of bytes does not need")
        return _ALLOWED[module, name]


def read_pickle(data: bytes) -> dict[Any, Any]:
    """The dict in a pickle, whose values are arrays of bytes, lists, numbers and strings; Python 2's strings as bytes.

    Raises:
        ValueError: it is damaged, or names anything else; nothing of that is run.
    """
    try:
        content = _ArrayUnpickler(io.BytesIO(data), encoding="bytes").load()
        if not isinstance(content, dict):
            raise pickle.UnpicklingError(f"it is of type {type(content).__name__}")
        return {name: value.values if isinstance(value, _Array) else value for name, value in content.items()}
    except Exception as error:  # a damaged pickle raises errors of any kind
        raise ValueError(f"not a pickle of a dict with arrays of bytes: {error}") from error
