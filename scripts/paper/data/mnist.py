"""MNIST (LeCun et al. 1998) from its four idx files, packed by gzip or not."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
import torch
from paper.data.image_set import ImageSet, check_set
from paper.data.source_files import Source, check_md5, damaged, missing
from torch import Tensor

FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
SOURCE = Source("MNIST", f"{', '.join(FILES)} (or the same with .gz)", "https://ossci-datasets.s3.amazonaws.com/mnist/")
CHECKSUMS = {
    "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
    "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
    "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
}
"""MD5 of the published files."""
SIDE = 28
CLASSES = 10
LONGEST = 2**26  # bytes of a file that are read; the largest published one has 47 million
UNSIGNED_BYTES = 0x08  # the type in an idx header


def read_mnist(folder: Path, checksums: dict[str, str] = CHECKSUMS) -> ImageSet:
    """The 60,000 training and 10,000 test images, `[N, 1, 28, 28]`.

    Args:
        folder: with the four files.
        checksums: MD5 by file name; a file without one is only checked for its form.

    Raises:
        ValueError: a file is missing, damaged, or has images of another size.
    """
    images, labels, test_images, test_labels = (_read_file(folder, name, checksums) for name in FILES)
    both = (images[:, None], labels.long(), test_images[:, None], test_labels.long())
    return check_set(ImageSet("MNIST", *both, CLASSES))


def parse_idx(data: bytes, dimensions: int) -> Tensor:
    """The array in an idx file, uint8: two zero bytes, the type, the number of dimensions, each as 4 bytes, the values.

    Raises:
        ValueError: it is something else, or has not as many values as its header says.
    """
    if data[:4] != bytes((0, 0, UNSIGNED_BYTES, dimensions)) or len(data) < 4 + 4 * dimensions:
        raise ValueError(f"no idx header of {dimensions} dimension{'s' if dimensions > 1 else ''} of bytes")
    sizes = [int(size) for size in np.frombuffer(data, ">u4", dimensions, offset=4)]
    values = len(data) - 4 - 4 * dimensions
    if math.prod(sizes) != values:
        raise ValueError(f"{values:,} bytes instead of {' x '.join(map(str, sizes))}")
    return torch.from_numpy(np.frombuffer(data, np.uint8, offset=4 + 4 * dimensions).reshape(sizes).copy())


def _read_file(folder: Path, name: str, checksums: dict[str, str]) -> Tensor:
    path = next((each for each in (folder / name, folder / f"{name}.gz") if each.is_file()), None)
    if path is None:
        raise missing(SOURCE._replace(name=f"{name} of MNIST"), folder)
    if path.name in checksums:
        check_md5(path, checksums[path.name], SOURCE)
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            data = file.read(LONGEST)
        values = parse_idx(data, 3 if "images" in name else 1)
    except (EOFError, zlib.error, ValueError, gzip.BadGzipFile) as error:
        raise damaged(path, str(error), SOURCE) from error
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror or error}") from error
    if values.ndim == 3 and tuple(values.shape[1:]) != (SIDE, SIDE):
        size = " x ".join(map(str, values.shape[1:]))
        raise ValueError(f"{path} has images of {size}, MNIST's are of {SIDE} x {SIDE}: another data set")
    return values
