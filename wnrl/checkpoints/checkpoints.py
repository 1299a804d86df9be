"""Checkpoints: trees of tensors, arrays and plain values in one file; loading it runs no code.

The file is safetensors. The `wnrl` entry of its header holds as JSON what is no tensor, and the dtype, shape and CRC-32
of every tensor; the `crc32` entry is that of this JSON.
"""

import json
import os
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from wnrl.checkpoints.state_trees import flatten, put_tensor, unflatten

__all__ = ["CheckpointError", "Checkpoints", "NullCheckpoints", "load", "load_model", "save", "save_model"]

_VERSION = 1
_SUFFIX = ".safetensors"


class CheckpointError(ValueError):
    """A checkpoint cannot be written, or cannot be trusted; the message is one line."""


def save(path: str | Path, state: Mapping[Any, Any]) -> None:
    """Write a tree of values to one file, wholly or not at all.

    `load` gives back equal values of the same types, except that any mapping returns as a dict, a parameter as a
    tensor, and values that shared memory no longer do.

    Args:
        path: the file; one that is there is replaced once the new one is complete.
        state: dicts with str or int keys, lists and tuples of tensors, NumPy arrays and scalars, int of any size,
            float, str, bool and None. State dicts of modules and optimizers are such trees.

    Raises:
        CheckpointError: a value cannot be stored (the message names its place), or the file cannot be written.
    """
    try:
        tree, tensors = flatten(state)
    except ValueError as error:
        raise CheckpointError(str(error)) from error
    _write(Path(path), tensors, {"tree": tree})


def load(path: str | Path, device: torch.device | str = "cpu") -> dict[Any, Any]:
    """Read what `save` wrote, after checking all of it.

    Args:
        path: the file.
        device: where the tensors are put; on the CPU they are mapped from the file, and read as they are used.

    Raises:
        CheckpointError: there is no such file, `save` did not write it, or it is damaged.
    """
    tensors, header = _read(Path(path))
    try:
        return unflatten(header.get("tree"), tensors, device)
    except ValueError as error:
        raise CheckpointError(f"{path} is not a checkpoint ({error}): choose another file") from error


def save_model(path_stem: str | Path, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
    """Write a model to `STEM.safetensors`, which any safetensors reader opens, and its description to `STEM.json`.

    The description is in the first file too, and `load_model` reads that one only; the second is for people to read.

    Args:
        path_stem: path of the two files without suffix.
        tensors: parameters and buffers by name, as in a `state_dict`.
        meta: what JSON holds: dicts with str keys, lists, numbers, str, bool and None.

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
    _write(_beside(path_stem, _SUFFIX), stored, {"meta": dict(meta)})
    _replace(_beside(path_stem, ".json"), lambda path: path.write_text(text + "\n", encoding="utf-8"))


def load_model(path_stem: str | Path, device: torch.device | str = "cpu") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the tensors and the description that `save_model` wrote.

    Raises:
        CheckpointError: there is no such file, `save_model` did not write it, or it is damaged.
    """
    path = _beside(path_stem, _SUFFIX)
    tensors, header = _read(path)
    if not isinstance(header.get("meta"), dict):
        raise CheckpointError(f"{path} is not a model: choose another file")
    return {name: tensor.to(device) for name, tensor in tensors.items()}, header["meta"]


class Checkpoints:
    """The checkpoints of one run, newest last.

    Args:
        folder: made by the first `save`; it needs room for `keep` + 1 checkpoints.
        keep: how many are kept.

    Attributes:
        damaged: files that the last `latest` passed over, and that are too new for it; the next `save` removes them.

    Raises:
        ValueError: `keep` is below 1.
    """

    def __init__(self, folder: str | Path, keep: int = 2) -> None:
        if keep < 1:
            raise ValueError(f"keep must be 1 or more, got {keep}")
        self.folder = Path(folder)
        self.damaged: list[Path] = []
        self._keep = keep

    def save(self, step: int, state: Mapping[Any, Any]) -> Path | None:
        """Write the state at `step`, then remove what is older than the last `keep`.

        Raises:
            CheckpointError: as `save` of this module; the earlier checkpoints are still there.
        """
        path = self.folder / f"{step:012d}{_SUFFIX}"
        save(path, state)
        sound = [other for other in self._files() if other == path or other not in self.damaged]
        for old in (set(self._files()) - set(sound[-self._keep :])) | set(self.folder.glob(".*.tmp")):
            old.unlink(missing_ok=True)
        self.damaged = []
        return path

    def latest(self, device: torch.device | str = "cpu", at_most: int | None = None) -> tuple[int, dict[Any, Any]]:
        """The newest step and state that can be used; what is damaged is passed over and listed in `damaged`.

        Args:
            device: of the state's tensors.
            at_most: the newest step that is wanted; None for any.

        Raises:
            CheckpointError: there is none.
        """
        reasons = []
        self.damaged = []
        for path in reversed(self._files()):
            if at_most is not None and _step(path) > at_most:
                self.damaged.append(path)
                continue
            try:
                return int(path.stem), load(path, device)
            except CheckpointError as error:
                self.damaged.append(path)
                reasons.append(str(error))
        raise CheckpointError(
            f"no checkpoint to resume from in {self.folder}: {'; '.join(reasons) or 'none was saved'}"
        )

    def _files(self) -> list[Path]:
        """Complete checkpoints, oldest first."""
        return sorted((path for path in self.folder.glob(f"*{_SUFFIX}") if path.stem.isdigit()), key=_step)


class NullCheckpoints:
    """Checkpoints that are switched off."""

    damaged: tuple[Path, ...] = ()

    def save(self, step: int, state: Mapping[Any, Any]) -> Path | None:
        """Write nothing."""
        return None

    def latest(self, device: torch.device | str = "cpu", at_most: int | None = None) -> tuple[int, dict[Any, Any]]:
        """Raise CheckpointError: there is nothing to resume from."""
        raise CheckpointError("no checkpoint to resume from: checkpoints are switched off")


def _step(path: Path) -> int:
    return int(path.stem)


def _beside(path_stem: str | Path, suffix: str) -> Path:
    return Path(f"{path_stem}{suffix}")


def _crc(tensor: Tensor) -> int:
    if not tensor.numel():  # may have strides that `view` refuses
        return zlib.crc32(b"")
    return zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy().data)


def _specification(tensor: Tensor) -> list[Any]:
    """What must be the same after loading."""
    return [str(tensor.dtype), list(tensor.shape), _crc(tensor)]


def _write(path: Path, tensors: dict[str, Tensor], header: dict[str, Any]) -> None:
    """Write tensors, and `header` with their specifications."""
    specifications = {name: _specification(tensor) for name, tensor in tensors.items()}
    text = json.dumps({"version": _VERSION, "tensors": specifications, **header})
    metadata = {"wnrl": text, "crc32": str(zlib.crc32(text.encode()))}
    _replace(path, lambda temporary: save_file(tensors, temporary, metadata))


def _replace(path: Path, write: Callable[[Path], Any]) -> None:
    """Have `write` make a file beside `path`, and give it that name when it is on the disk."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()
        mode = temporary.stat().st_mode  # what the user's umask gives; safetensors makes files that only they can read
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
    """Make a renaming last through a power cut, where folders can be opened."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors, in the CPU's memory, and header of a file that `_write` made."""
    try:
        with safe_open(path, framework="pt") as file:
            header = _checked_header(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError as error:
        raise CheckpointError(f"there is no file {path}: check the path") from error
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read, it is damaged or not ours ({error!r}): use another") from error
    if {name: _specification(tensor) for name, tensor in tensors.items()} != header["tensors"]:
        raise CheckpointError(f"{path} is damaged, a checksum differs: use another")
    return tensors, header


def _checked_header(metadata: Mapping[str, str]) -> dict[str, Any]:
    """The header that `_write` put there, once its checksum agrees."""
    text = metadata["wnrl"]
    if str(zlib.crc32(text.encode())) != metadata["crc32"]:
        raise ValueError("the header's checksum differs")
    header = json.loads(text)
    if header["version"] != _VERSION:
        raise ValueError(f"it has version {header['version']}, this program reads {_VERSION}")
    return {"tensors": {}, **header}
