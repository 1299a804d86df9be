"""Safetensors files that are written piece by piece, with checksums that are known only at the end."""

from __future__ import annotations

import json
import math
import os
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

__all__ = ["Stream", "write_tensors"]

_PIECE = 8 * 2**20
"""Bytes that are added to a checksum and written at once."""
_SETTLED = 64 * 2**20
"""Bytes after which what was written is waited for, so that little of it is in memory."""
_ALIGNMENT = 8
_NAMES = {
    **{torch.bool: "BOOL", torch.uint8: "U8", torch.uint16: "U16", torch.uint32: "U32", torch.uint64: "U64"},
    **{torch.int8: "I8", torch.int16: "I16", torch.int32: "I32", torch.int64: "I64"},
    **{torch.float16: "F16", torch.bfloat16: "BF16", torch.float32: "F32", torch.float64: "F64"},
    **{torch.float8_e4m3fn: "F8_E4M3", torch.float8_e5m2: "F8_E5M2"},
}

Checksums = Mapping[str, int]  # CRC-32 by tensor


class Stream(ABC):
    """A tensor that is stored without being in memory as a whole.

    Attributes:
        dtype: of its entries.
        shape: of all of it.
        age: of those whose entries are of one size, a greater one is written first.
    """

    dtype: torch.dtype
    shape: tuple[int, ...]
    age: int = 0

    @abstractmethod
    def pieces(self) -> Iterator[Tensor]:
        """All of it along the first dimension: contiguous tensors on the CPU, each valid until the next is taken."""

    def close(self) -> None:  # noqa: B027 - most hold nothing
        """No piece will be taken any more."""


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor | Stream], metadata: Callable[[Checksums], Mapping[str, str]]
) -> None:
    """Write a safetensors file.

    Args:
        path: of the file, which exists.
        tensors: by name; dense and contiguous, on the CPU.
        metadata: from the checksums to the text in the header, which may only be shorter for smaller ones.

    Raises:
        OSError: it cannot be written.
        ValueError: a dtype that the format does not have.
    """
    entries, end = {}, 0
    for name in sorted(tensors, key=lambda name: _order(tensors[name])):
        tensor = tensors[name]
        if tensor.dtype not in _NAMES:
            raise ValueError(f"cannot store {name}, of {tensor.dtype}")
        begin, end = end, end + _nbytes(tensor)
        entries[name] = {"dtype": _NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}

    def header(checksums: Checksums) -> bytes:
        return json.dumps({"__metadata__": dict(metadata(checksums)), **entries}, separators=(",", ":")).encode()

    longest = len(header(dict.fromkeys(tensors, 2**32 - 1))) + len(str(2**32))  # metadata may have a checksum too
    room = longest + -longest % _ALIGNMENT
    with open(path, "r+b") as file:
        file.seek(8 + room)
        checksums = {name: _write(file, name, tensors[name]) for name in entries}
        file.seek(0)
        file.write(room.to_bytes(8, "little") + header(checksums).ljust(room))


def _order(tensor: Tensor | Stream) -> tuple[int, int]:
    """By size of entry, so that all are aligned, then by age."""
    return -tensor.dtype.itemsize, -tensor.age if isinstance(tensor, Stream) else 0


def _nbytes(tensor: Tensor | Stream) -> int:
    return math.prod(tensor.shape) * tensor.dtype.itemsize


def _write(file: BinaryIO, name: str, tensor: Tensor | Stream) -> int:
    """Write the bytes of a tensor, and return their checksum."""
    checksum = unsettled = written = 0
    for part in tensor.pieces() if isinstance(tensor, Stream) else (tensor,):
        data = raw_bytes(part)
        for start in range(0, len(data), _PIECE):
            piece = data[start : start + _PIECE]
            checksum = zlib.crc32(piece, checksum)
            file.write(piece)
            written += len(piece)
            unsettled += len(piece)
            if unsettled >= _SETTLED:
                unsettled = _settle(file)
    if written != _nbytes(tensor):
        raise OSError(f"{name} has {written:,} bytes instead of {_nbytes(tensor):,}")
    return checksum


def raw_bytes(tensor: Tensor) -> memoryview:
    """The bytes of a contiguous tensor on the CPU."""
    if not tensor.numel():  # may have strides that `view` refuses
        return memoryview(b"")
    flat = tensor.reshape(-1)
    if flat.stride(0) != 1:  # of a single number, which counts as contiguous with any stride
        flat = flat.clone(memory_format=torch.contiguous_format)
    return flat.view(torch.uint8).numpy().data


def _settle(file: BinaryIO) -> int:
    """Wait until what was written is on the disk, and let the system forget it; 0 bytes are left."""
    file.flush()
    os.fsync(file.fileno())
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return 0
