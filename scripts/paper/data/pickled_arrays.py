"""Pickles of arrays and plain values, read without running what they name."""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np

_RECONSTRUCT = np.empty(0).__reduce__()[0]  # by which arrays are made, in NumPy 1 and 2


def _encode(text: str, encoding: str) -> bytes:
    """Bytes that Python 3 wrote as text by an old protocol."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it has text in {encoding}, which an array does not need")
    return text.encode(encoding)


_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("_codecs", "encode"): _encode,
}
"""All that the pickles of arrays name, by NumPy 1 and 2, and what stands for it."""


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which an array does not need")
        return _ALLOWED[module, name]


def read_pickle(data: bytes) -> Any:
    """The value in a pickle of arrays, dicts, lists, numbers and strings; Python 2's strings come as bytes.

    Raises:
        ValueError: it is damaged, or names anything else; nothing of that is run.
    """
    try:
        return _ArrayUnpickler(io.BytesIO(data), encoding="bytes").load()
    except Exception as error:  # a damaged pickle raises errors of any kind
        raise ValueError(f"not a pickle of arrays: {error}") from error
