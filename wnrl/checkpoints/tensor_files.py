"""Files of checkpoints and models: tensors, arrays and plain values; reading them runs no code.

The format is safetensors. The `wnrl` entry of the header is JSON: all values that are not tensors, and the dtype, shape
and CRC-32 of every tensor. The `crc32` entry is the CRC-32 of this JSON.
"""

import json
import os
import zlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from wnrl.checkpoints.state_trees import flatten, plain_metadata, put_tensor, unflatten

__all__ = [
    "SUFFIX",
    "CheckpointError",
    "read_checkpoint",
    "read_model",
    "replace_file",
    "write_checkpoint",
    "write_model",
]

_VERSION = 1
SUFFIX = ".safetensors"


class CheckpointError(ValueError):
    """A file cannot be written, or is missing, damaged or of another kind; the message is one line."""


def write_checkpoint(path: str | Path, state: Mapping[Any, Any]) -> None:
    """Write a tree of values to one file, atomically.

    `read_checkpoint` returns equal values of the same types, except that any mapping becomes a dict and a parameter a
    tensor, and values that shared memory no longer do. A state dict that names units of g keeps its `_metadata`.

    Args:
        path: the file; an existing one is replaced once the new one is complete.
        state: dicts with str or int keys, lists and tuples of tensors, NumPy arrays and scalars, int of any size,
            float, str, bool and None. State dicts of modules and optimizers are such trees.

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
        device: of the tensors; on the CPU they are memory-mapped from the file.

    Raises:
        CheckpointError: the file is missing, damaged, or not one of `write_checkpoint`.
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
    stored: dict[str, Tensor] = {}
    try:
        text = json.dumps(meta, indent=2)
        for name, tensor in tensors.items():
            put_tensor(tensor, name, stored)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"cannot store the model {path_stem}: {error}") from error
    _write(Path(f"{path_stem}{SUFFIX}"), stored, {"meta": dict(meta), "layers": plain_metadata(tensors)})
    replace_file(Path(f"{path_stem}.json"), lambda path: path.write_text(text + "\n", encoding="utf-8"))


def read_model(path_stem: str | Path, device: torch.device | str = "cpu") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the tensors and the description of a model that `write_model` wrote.

    Raises:
        CheckpointError: the file is missing, damaged, or not one of `write_model`.
    """
    path = Path(f"{path_stem}{SUFFIX}")
    tensors, header = _read(path)
    if not isinstance(header.get("meta"), dict):
        raise CheckpointError(f"{path} is not a model: choose another file")
    state: Any = OrderedDict((name, tensor.to(device)) for name, tensor in tensors.items())
    if header.get("layers"):
        state._metadata = OrderedDict(header["layers"])
    return state, header["meta"]


def _crc(tensor: Tensor) -> int:
    if not tensor.numel():  # may have strides that `view` refuses
        return zlib.crc32(b"")
    flat = tensor.reshape(-1)
    if flat.stride(0) != 1:  # of a single number, which counts as contiguous with any stride
        flat = flat.clone(memory_format=torch.contiguous_format)
    return zlib.crc32(flat.view(torch.uint8).numpy().data)


def _specification(tensor: Tensor) -> list[Any]:
    """Dtype, shape and checksum of a tensor."""
    return [str(tensor.dtype), list(tensor.shape), _crc(tensor)]


def _write(path: Path, tensors: dict[str, Tensor], header: dict[str, Any]) -> None:
    """Write tensors, and a header with `header` and their specifications."""
    specifications = {name: _specification(tensor) for name, tensor in tensors.items()}
    text = json.dumps({"version": _VERSION, "tensors": specifications, **header})
    metadata = {"wnrl": text, "crc32": str(zlib.crc32(text.encode()))}
    replace_file(path, lambda temporary: save_file(tensors, temporary, metadata))


def replace_file(path: Path, write: Callable[[Path], Any]) -> None:
    """Let `write` make a file next to `path`, and rename it to `path` once it is on the disk.

    Args:
        path: of the file, which may exist.
        write: makes the file whose path it is given.

    Raises:
        CheckpointError: it cannot be written; what was at `path` is untouched.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()
        mode = temporary.stat().st_mode  # by the umask; safetensors makes files that only the user can read
        write(temporary)
        temporary.chmod(mode)
        with open(temporary, "r+b") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except (OSError, SafetensorError) as error:
        temporary.unlink(missing_ok=True)
        raise CheckpointError(f"cannot write {path} ({error}): what was there before is untouched") from error


def _sync_folder(folder: Path) -> None:
    """Make a renaming survive a power failure, where folders can be opened."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors, on the CPU, and the header of a file that `_write` made."""
    try:
        with safe_open(path, framework="pt") as file:
            header = _checked_header(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError as error:
        raise CheckpointError(f"there is no file {path}: check the path") from error
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read: damaged or not written by wnrl ({error!r})") from error
    if {name: _specification(tensor) for name, tensor in tensors.items()} != header["tensors"]:
        raise CheckpointError(f"{path} is damaged, a checksum differs: use another")
    return tensors, header


def _checked_header(metadata: Mapping[str, str]) -> dict[str, Any]:
    """The header that `_write` stored, after checking its checksum."""
    text = metadata["wnrl"]
    if str(zlib.crc32(text.encode())) != metadata["crc32"]:
        raise ValueError("the header's checksum differs")
    header = json.loads(text)
    if header["version"] != _VERSION:
        raise ValueError(f"it has version {header['version']}, this program reads {_VERSION}")
    return {"tensors": {}, **header}
