"""Files of checkpoints and models: tensors, arrays and plain values; reading them runs no code.

The format is safetensors. The `wnrl` entry of the header is JSON: all values that are not tensors, and the dtype, shape
and CRC-32 of every tensor. The `crc32` entry is the CRC-32 of this JSON.
"""

import json
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from wnrl.checkpoints.files import CheckpointError, UnreadableError, open_file, replace_file
from wnrl.checkpoints.state_trees import flatten, layer_metadata, plain_metadata, put_tensor, unflatten
from wnrl.checkpoints.streams import Stream, raw_bytes, write_tensors

__all__ = [
    "SUFFIX",
    "CheckpointError",
    "UnreadableError",
    "read_checkpoint",
    "read_model",
    "read_shapes",
    "replace_file",
    "write_checkpoint",
    "write_model",
]

_VERSION = 1
SUFFIX = ".safetensors"
_LONGEST_HEADER = 8 * 2**20
"""Bytes of a header, which has everything but the tensors: some ten thousand in a checkpoint."""
_COPIED = 64 * 2**20
"""Bytes of the largest tensor that is copied when it is read; larger ones stay mapped, or memory would hold them twice
while they are copied to where they belong."""

Shapes = Mapping[str, tuple[int, ...]]


def write_checkpoint(path: str | Path, state: Mapping[Any, Any]) -> None:
    """Write a tree of values to one file, atomically.

    `read_checkpoint` returns equal values of the same types, except that any mapping becomes a dict and a parameter a
    tensor, and values that shared memory no longer do. A state dict that names units of g keeps its `_metadata`.

    Args:
        path: the file; an existing one is replaced once the new one is complete.
        state: dicts with str or int keys, lists and tuples of tensors, NumPy arrays and scalars, int of any size,
            float, str, bool, None, and streams, which are read as tensors. State dicts of modules and optimizers are
            such trees.

    Raises:
        CheckpointError: a value cannot be stored (the message says which), or the file cannot be written.
    """
    try:
        tree, tensors = flatten(state)
    except ValueError as error:
        raise CheckpointError(str(error)) from error
    _write(Path(path), tensors, {"tree": tree})


def read_checkpoint(path: str | Path, device: torch.device | str = "cpu") -> dict[Any, Any]:
    """Read a file of `write_checkpoint`, and verify its checksums.

    Args:
        path: the file.
        device: of the tensors; on the CPU those of more than 64 MiB are memory-mapped from the file.

    Raises:
        CheckpointError: the file is missing, damaged, or not one of `write_checkpoint`.
        UnreadableError: it is of a later format, or cannot be read at present.
    """
    tensors, header = _read(Path(path))
    try:
        return unflatten(header.get("tree"), tensors, device)
    except ValueError as error:
        raise CheckpointError(f"{path} is not a checkpoint ({error}): choose another file") from error


def write_model(path_stem: str | Path, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
    """Write a model to `STEM.safetensors`, which any safetensors reader opens, and its description to `STEM.json`.

    The first file contains the description too, and is the only one that `read_model` reads.

    Args:
        path_stem: path of the two files without suffix.
        tensors: parameters and buffers by name, as in a `state_dict`, whose `_metadata` is stored if it names units.
        meta: the description, of JSON's types: dicts with str keys, lists, numbers, str, bool and None.

    Raises:
        CheckpointError: `meta` is not JSON, a tensor cannot be stored, or a file cannot be written.
    """
    stored: dict[str, Tensor | Stream] = {}
    try:
        text = json.dumps(meta, indent=2)
        for name, tensor in tensors.items():
            put_tensor(tensor, name, stored)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"cannot store the model {path_stem}: {error}") from error
    _write(Path(f"{path_stem}{SUFFIX}"), stored, {"meta": dict(meta), "layers": plain_metadata(tensors)})
    replace_file(Path(f"{path_stem}.json"), lambda path: path.write_text(text + "\n", encoding="utf-8"))


def read_model(
    path_stem: str | Path,
    device: torch.device | str = "cpu",
    check: Callable[[Shapes, dict[str, Any]], None] | None = None,
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the tensors and the description of a model that `write_model` wrote.

    Args:
        path_stem: path of the two files without suffix.
        device: of the tensors.
        check: called with the shapes and the description before any tensor is read; it raises where they do not fit.

    Raises:
        CheckpointError: the file is missing, damaged, or not one of `write_model`.
        UnreadableError: it is of a later format, or cannot be read at present.
    """
    path = Path(f"{path_stem}{SUFFIX}")

    def check_header(shapes: Shapes, header: dict[str, Any]) -> None:
        if not isinstance(header.get("meta"), dict):
            raise CheckpointError(f"{path} is not a model: choose another file")
        if check is not None:
            check(shapes, header["meta"])

    tensors, header = _read(path, check_header)
    state: Any = OrderedDict((name, tensor.to(device)) for name, tensor in tensors.items())
    if header.get("layers"):
        try:
            state._metadata = layer_metadata(header["layers"])
        except ValueError as error:
            raise CheckpointError(f"{path} is not a model ({error}): choose another file") from error
    return state, header["meta"]


def read_shapes(path: str | Path) -> Shapes:
    """The shapes of a file's tensors by name, of which only the header is read.

    Raises:
        CheckpointError: the file is missing, or its header is damaged.
        UnreadableError: it is of a later format, or cannot be read at present.
    """
    with _opened(Path(path)) as (file, _):
        return _shapes(file)


def _shapes(file: Any) -> Shapes:
    return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 - no mapping


def _specification(tensor: Tensor | Stream, checksum: int) -> list[Any]:
    """Dtype, shape and checksum of a tensor."""
    return [str(tensor.dtype), list(tensor.shape), checksum]


def _write(path: Path, tensors: dict[str, Tensor | Stream], header: dict[str, Any]) -> None:
    """Write tensors, and a header with `header` and their specifications."""

    def metadata(checksums: Mapping[str, int]) -> dict[str, str]:
        specifications = {name: _specification(tensor, checksums[name]) for name, tensor in tensors.items()}
        text = json.dumps({"version": _VERSION, "tensors": specifications, **header})
        return {"wnrl": text, "crc32": str(zlib.crc32(text.encode()))}

    def write(temporary: Path) -> None:
        try:
            write_tensors(temporary, tensors, metadata)
        except ValueError as error:
            raise CheckpointError(str(error)) from error
        with open(temporary, "rb") as file:
            if (length := int.from_bytes(file.read(8), "little")) > _LONGEST_HEADER:
                raise CheckpointError(f"cannot write {path}: its values that are no tensors take {length:,} bytes")

    replace_file(path, write)


def _read(
    path: Path, check: Callable[[Shapes, dict[str, Any]], None] | None = None
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors, on the CPU, and the header of a file that `_write` made; `check` gets it before they are read."""
    with _opened(path) as (file, header):
        if check is not None:
            try:
                check(_shapes(file), header)
            except ValueError as error:  # which says what is wrong
                raise CheckpointError(str(error)) from error
        tensors = {name: _copied(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118 - no mapping
    found = {name: _specification(tensor, zlib.crc32(raw_bytes(tensor))) for name, tensor in tensors.items()}
    if found != header["tensors"]:
        raise CheckpointError(f"{path} is damaged, a checksum differs: use another")
    return tensors, header


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, dict[str, Any]]]:
    """A context with a file that `_write` made, as safetensors opens it, and its header; what fails is in one line."""
    try:
        _check_size(path)
        with safe_open(path, framework="pt") as file:
            yield file, _checked_header(file.metadata() or {}, path)
    except OSError as error:
        raise UnreadableError(f"cannot read {path}: {error}") from error
    except CheckpointError:
        raise
    except (SafetensorError, KeyError, TypeError, ValueError, RecursionError, AttributeError) as error:
        raise CheckpointError(f"{path} cannot be read: damaged or not written by wnrl ({error!r})") from error


def _check_size(path: Path) -> None:
    """Raise ValueError where the header is larger than the file, or than any of ours, before it is parsed."""
    with open_file(path) as file:
        start, size = file.read(8), file.seek(0, 2)
    length = int.from_bytes(start, "little")
    if len(start) < 8 or length > min(_LONGEST_HEADER, size - 8):
        raise ValueError(f"a header of {length:,} bytes in a file of {size:,}")


def _copied(tensor: Tensor) -> Tensor:
    """A copy of a tensor that is not a large one, so that the file can be closed."""
    return tensor.clone() if tensor.nbytes <= _COPIED else tensor


def _checked_header(metadata: Mapping[str, str], path: Path) -> dict[str, Any]:
    """The header that `_write` stored, after checking its checksum."""
    text = metadata["wnrl"]
    if str(zlib.crc32(text.encode())) != metadata["crc32"]:
        raise ValueError("the header's checksum differs")
    header = json.loads(text)
    if (version := header["version"]) != _VERSION:
        if type(version) is int and version > _VERSION:
            raise UnreadableError(f"{path} is of format {version}, later than this version's {_VERSION}: update wnrl")
        raise ValueError(f"it has version {version}, this program reads {_VERSION}")
    return {"tensors": {}, **header}
