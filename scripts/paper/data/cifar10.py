"""CIFAR-10 (Krizhevsky 2009) from its python or its binary archive, packed or unpacked."""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from paper.data.image_set import ImageSet, check_set
from paper.data.pickled_arrays import read_pickle
from paper.data.source_files import Source, check_md5, damaged, missing
from torch import Tensor

SOURCE = Source(
    "CIFAR-10",
    "cifar-10-binary.tar.gz or cifar-10-python.tar.gz (or what is in them)",
    "https://www.cs.toronto.edu/~kriz/cifar.html",
)
PIXELS = 3 * 32 * 32
CLASSES = 10
LONGEST = 2**26  # bytes of a batch that are read; a published one has 31 million


class Archive(NamedTuple):
    """A published archive, and what is in it: five batches for training and one for tests."""

    file: str
    folder: str
    batches: tuple[str, ...]
    parse: Callable[[bytes], tuple[np.ndarray, np.ndarray]]


def _parse_binary(data: bytes) -> tuple[np.ndarray, np.ndarray]:
    if not data or len(data) % (1 + PIXELS):
        raise ValueError(f"{len(data):,} bytes are no whole number of images")
    rows = np.frombuffer(data, np.uint8).reshape(-1, 1 + PIXELS)
    return rows[:, 1:], rows[:, 0]


def _parse_pickle(data: bytes) -> tuple[np.ndarray, np.ndarray]:
    entries = read_pickle(data)
    pixels, labels = (entries.get(name.encode(), entries.get(name)) for name in ("data", "labels"))
    if not isinstance(pixels, np.ndarray) or pixels.shape[1:] != (PIXELS,):
        raise ValueError("its data are not rows of 3,072 bytes")
    if not isinstance(labels, list) or not all(type(label) is int and 0 <= label < CLASSES for label in labels):
        raise ValueError("its labels are not numbers from 0 to 9")
    return pixels, np.asarray(labels)


_NUMBERS = range(1, 6)
BINARY = Archive(
    "cifar-10-binary.tar.gz",
    "cifar-10-batches-bin",
    (*(f"data_batch_{number}.bin" for number in _NUMBERS), "test_batch.bin"),
    _parse_binary,
)
PYTHON = Archive(
    "cifar-10-python.tar.gz",
    "cifar-10-batches-py",
    (*(f"data_batch_{number}" for number in _NUMBERS), "test_batch"),
    _parse_pickle,
)
CHECKSUMS = {
    "cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530",
    "cifar-10-python.tar.gz": "c58f30108f718f92721af3b95e74349a",
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}
"""MD5 of the published files (of the archives on their page, of the pickles in torchvision); others are not known."""


def read_cifar10(folder: Path, checksums: dict[str, str] = CHECKSUMS, batch: int = 10_000) -> ImageSet:
    """The 50,000 training and 10,000 test images, `[N, 3, 32, 32]`.

    Args:
        folder: with one of the archives, or one of the folders that they unpack to.
        checksums: MD5 by file name; a file without one is only checked for its form.
        batch: images in each of the six files.

    Raises:
        ValueError: nothing is there, or a file is missing, damaged or another one.
    """
    for archive in (BINARY, PYTHON):
        if (unpacked := folder / archive.folder).is_dir():
            return _read(archive, batch, lambda name: _from_folder(unpacked / name, checksums))
    for archive in (BINARY, PYTHON):
        if (packed := folder / archive.file).is_file():
            if packed.name in checksums:
                check_md5(packed, checksums[packed.name], SOURCE)
            return _read_packed(archive, batch, packed)
    raise missing(SOURCE, folder)


def _read(archive: Archive, batch: int, read: Callable[[str], tuple[Path, bytes]]) -> ImageSet:
    parts = []
    for name in archive.batches:
        path, data = read(name)
        try:
            pixels, labels = archive.parse(data)
        except ValueError as error:
            raise damaged(path, str(error), SOURCE) from error
        if len(pixels) != batch or len(labels) != batch:
            raise damaged(path, f"{len(pixels):,} images, not {batch:,}", SOURCE)
        images = torch.from_numpy(pixels.reshape(-1, 3, 32, 32).copy())
        parts.append((images, torch.from_numpy(labels.astype(np.int64))))
    *training, test = parts
    joined: list[Tensor] = [torch.cat(each) for each in zip(*training, strict=True)]
    return check_set(ImageSet("CIFAR-10", joined[0], joined[1], *test, CLASSES))


def _read_packed(archive: Archive, batch: int, path: Path) -> ImageSet:
    with _opened(path) as file:
        return _read(archive, batch, lambda name: _from_archive(path, file, f"{archive.folder}/{name}"))


def _from_folder(path: Path, checksums: dict[str, str]) -> tuple[Path, bytes]:
    if not path.is_file():
        raise ValueError(f"{path} is missing: unpack {SOURCE.files} from {SOURCE.address} again")
    if path.name in checksums:
        check_md5(path, checksums[path.name], SOURCE)
    try:
        with path.open("rb") as file:
            return path, file.read(LONGEST)
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from error


def _from_archive(path: Path, archive: tarfile.TarFile, name: str) -> tuple[Path, bytes]:
    """A member's bytes; nothing is unpacked to the disk."""
    try:
        file = archive.extractfile(name)
    except KeyError:
        file = None
    if file is None:
        raise damaged(path, f"{name} is not in it", SOURCE)
    return path / name, file.read(LONGEST)


@contextmanager
def _opened(path: Path) -> Iterator[tarfile.TarFile]:
    try:
        with tarfile.open(path, "r:gz") as file:
            yield file
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise damaged(path, str(error), SOURCE) from error
