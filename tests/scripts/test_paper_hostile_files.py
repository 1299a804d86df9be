"""Bad data and flags of scripts/paper_image.py, paper_vae.py and paper_draw.py: one line, exit code 2, no folder."""

import gzip
import io
import os
import pickle
import tarfile

import numpy as np
import pytest
from paper.data.cifar10 import BINARY, PYTHON
from paper.data.mnist import FILES

from tests.scripts.paper.data.test_cifar10 import PIXELS
from tests.scripts.paper.data.test_mnist import idx, small
from tests.scripts.processes import call

SCRIPTS = ["paper_image", "paper_vae", "paper_draw"]
IMAGES, LABELS = FILES[:2]
PAGE = b"<!DOCTYPE html><html><body>404 Not Found</body></html>\n" * 20


def refused(script, tmp_path, *arguments):
    """What the only line says."""
    out = tmp_path / "out"
    result = call(script, *arguments, "--out", out, "--device", "cpu")
    assert (result.code, result.out, result.err.count("\n")) == (2, "", 1), result
    assert result.err.startswith(f"{script}.py: error: ")
    assert not out.exists()
    return result.err


def change(name, make):
    """A function that replaces a file's bytes, or removes it where `make` returns None."""

    def changed(folder):
        made = make((folder / name).read_bytes())
        (folder / name).write_bytes(made) if made is not None else (folder / name).unlink()

    return changed


def other_size(folder):
    small(folder, side=32)


def exchanged(folder):
    data = [(folder / name).read_bytes() for name in (IMAGES, LABELS)]
    (folder / IMAGES).write_bytes(data[1]), (folder / LABELS).write_bytes(data[0])


def packed_page(folder):
    (folder / IMAGES).unlink()
    (folder / f"{IMAGES}.gz").write_bytes(PAGE)


def folder_of_its_name(folder):
    (folder / IMAGES).unlink()
    (folder / IMAGES).mkdir()


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (change(IMAGES, lambda data: None), "train-images-idx3-ubyte of MNIST is not in "),
        (change(FILES[3], lambda data: None), "t10k-labels-idx1-ubyte of MNIST is not in "),
        (folder_of_its_name, "train-images-idx3-ubyte of MNIST is not in "),
        (
            change(IMAGES, lambda data: data[:-100]),
            "train-images-idx3-ubyte is truncated, damaged or another file (2,2",
        ),
        (change(LABELS, lambda data: data + b"x"), "train-labels-idx1-ubyte is truncated, damaged or another file (4 "),
        (change(IMAGES, lambda data: b""), "another file (no idx header of 3 dimensions of bytes)"),
        (change(IMAGES, lambda data: PAGE), "another file (no idx header of 3 dimensions of bytes)"),
        (change(IMAGES, gzip.compress), "another file (no idx header of 3 dimensions of bytes)"),
        (exchanged, "another file (no idx header of 3 dimensions of bytes)"),
        (packed_page, "train-images-idx3-ubyte.gz is truncated, damaged or another file (its MD5 is "),
        (other_size, "has images of 32 x 32, MNIST's are of 28 x 28: another data set"),
        (change(LABELS, lambda data: idx(np.array([1, 2]))), "MNIST has 3 images and 2 labels: files of two"),
        (change(LABELS, lambda data: idx(np.array([1, 2, 10]))), "MNIST has a label over 9: another data set"),
        (lambda folder: None, "3 examples are fewer than --batch-size 100"),
    ],
)
def test_files_of_mnist(script, damage, words, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    small(folder)
    damage(folder)
    assert words in refused(script, tmp_path, "--data", "mnist", "--data-dir", folder)


def batch(folder, name, data):
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(data)


def packed(folder, members):
    with tarfile.open(folder / BINARY.file, "w:gz") as tar:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))


class Hostile:
    def __reduce__(self):
        return os.system, ("touch hostile",)


@pytest.mark.parametrize("script", SCRIPTS[:2])
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda folder: None, "CIFAR-10 is not in "),
        (lambda folder: (folder / BINARY.folder).mkdir(), "data_batch_1.bin is missing: unpack cifar-10-b"),
        (lambda folder: batch(folder / BINARY.folder, "data_batch_1.bin", bytes(1000)), "1,000 bytes are no whole num"),
        (lambda folder: batch(folder / BINARY.folder, "data_batch_1.bin", PAGE), "bytes are no whole number of images"),
        (lambda folder: batch(folder / BINARY.folder, "data_batch_1.bin", bytes(1 + PIXELS)), "1 images, not 10,000"),
        (lambda folder: batch(folder / PYTHON.folder, "data_batch_1", PAGE), "data_batch_1 is truncated, damaged"),
        (lambda folder: batch(folder, BINARY.file, PAGE), "cifar-10-binary.tar.gz is truncated, damaged"),
        (lambda folder: packed(folder, {"data_batch_1.bin": b"x"}), "cifar-10-binary.tar.gz is truncated, damaged or "),
        (
            lambda folder: batch(folder / PYTHON.folder, "data_batch_1", pickle.dumps({b"data": Hostile()})),
            "data_batch_1 is truncated, damaged or another file",
        ),
    ],
)
def test_files_of_cifar10(script, make, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "data"
    folder.mkdir()
    make(folder)
    assert words in refused(script, tmp_path, "--data", "cifar10", "--data-dir", folder)
    assert not (tmp_path / "hostile").exists()


@pytest.mark.parametrize(
    ("scripts", "arguments", "words"),
    [
        (SCRIPTS, "--data imagenet", "unknown data set 'imagenet': choose from digits, mnist, cifar10, frames"),
        (SCRIPTS, "--data-dir", "--data-dir needs a value"),
        (SCRIPTS, "--data mnist --data-dir nowhere", "train-images-idx3-ubyte of MNIST is not in nowhere"),
        (SCRIPTS, "--data mnist --data-dir /dev/null", "train-images-idx3-ubyte of MNIST is not in /dev/null"),
        (SCRIPTS[:2], "--data cifar10 --data-dir nowhere", "CIFAR-10 is not in nowhere"),
        (SCRIPTS[2:], "--data cifar10", "data must be digits or mnist, got 'cifar10'"),
        (SCRIPTS[2:], "--data frames", "data must be digits or mnist, got 'frames'"),
        (SCRIPTS[:2], "--data frames --game Brekout", "Brekout"),
        (SCRIPTS, "--examples 2000", "digits has 1,437 training images, 2,000 were asked for"),
        (SCRIPTS, "--examples 50", "50 examples are fewer than --batch-size 100"),
        (SCRIPTS, "--batch-size 0", "batch_size must be at least 1, got 0"),
        (SCRIPTS, "--seeds 0", "seeds must be at least 1, got 0"),
        (SCRIPTS, "--epochs -1", "epochs must not be negative, got -1"),
        (SCRIPTS, "--norms layer", "norm 'layer' is not compared here: choose from none, weight"),
        (SCRIPTS, "--scale large", "large"),
        (SCRIPTS[:1], "--image-size 8", "images of 8 x 8 are too small for ConvPool-CNN-C: take --image-size 12"),
        (SCRIPTS[1:2], "--image-size 9", "images of 9 × 9 cannot be halved 2 times: take fewer levels"),
    ],
)
def test_flags(scripts, arguments, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for script in scripts:
        assert words in refused(script, tmp_path, *arguments.split())


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_folder_for_results_that_cannot_be_made_is_named(script, tmp_path):
    (tmp_path / "file").write_text("")
    result = call(script, "--examples", 100, "--out", tmp_path / "file")
    assert (result.code, result.out, result.err.count("\n")) == (2, "", 1)
    assert "cannot write the run to " in result.err
