import io
import pickle
import tarfile

import numpy as np
import pytest
import torch
from paper.data.cifar10 import BINARY, PYTHON, read_cifar10

PIXELS = 3072


def batches(count=2):
    rng = np.random.default_rng(0)
    return [(rng.integers(0, 256, (count, PIXELS), np.uint8), rng.integers(0, 10, count)) for _ in range(6)]


def encoded(archive, pixels, labels):
    if archive is BINARY:
        return np.concatenate([labels[:, None].astype(np.uint8), pixels], 1).tobytes()
    return pickle.dumps({b"data": pixels, b"labels": labels.tolist()}, protocol=2)


def write(folder, archive, packed=False, made=None):
    files = {name: encoded(archive, *part) for name, part in zip(archive.batches, made or batches(), strict=True)}
    if packed:
        with tarfile.open(folder / archive.file, "w:gz") as tar:
            for name, data in files.items():
                entry = tarfile.TarInfo(f"{archive.folder}/{name}")
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
    else:
        (folder / archive.folder).mkdir()
        for name, data in files.items():
            (folder / archive.folder / name).write_bytes(data)
    return folder


def read(folder):
    return read_cifar10(folder, {}, batch=2)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("archive", [BINARY, PYTHON])
def test_every_form_gives_the_same_images(archive, packed, tmp_path):
    made = batches()
    found = read(write(tmp_path, archive, packed, made))
    assert found.shape == (3, 32, 32)
    expected = np.concatenate([pixels for pixels, _ in made[:5]]).reshape(-1, 3, 32, 32)
    assert torch.equal(found.images, torch.from_numpy(expected))
    assert found.labels.tolist() == [int(label) for _, labels in made[:5] for label in labels]
    assert torch.equal(found.test_images.flatten(1), torch.from_numpy(made[5][0]))


def test_missing_files_are_named_with_their_source(tmp_path):
    with pytest.raises(ValueError, match=r"CIFAR-10 is not in .*: get cifar-10-binary.tar.gz or .* from https://www"):
        read(tmp_path)
    write(tmp_path, BINARY)
    (tmp_path / BINARY.folder / "data_batch_3.bin").unlink()
    with pytest.raises(ValueError, match=r"data_batch_3\.bin is missing: unpack"):
        read(tmp_path)


def test_published_files_are_compared_with_their_checksum(tmp_path):
    write(tmp_path, PYTHON)
    with pytest.raises(ValueError, match=r"data_batch_1 is truncated, damaged or another file \(its MD5 is "):
        read_cifar10(tmp_path, batch=2)


@pytest.mark.parametrize(
    ("data", "saying"),
    [
        (b"", "not a pickle of a dict with arrays of bytes"),
        (pickle.dumps([1]), "not a pickle of a dict with arrays of bytes: it is of type list"),
        (pickle.dumps({b"labels": [0, 1]}), "its data are not rows of 3,072 bytes"),
        (pickle.dumps({b"data": np.zeros((2, PIXELS)), b"labels": [0, 1]}), "an array of 'f8', not of bytes"),
        (pickle.dumps({b"data": np.zeros((2, 5), np.uint8), b"labels": [0, 1]}), "its data are not rows"),
        (pickle.dumps({b"data": np.zeros((2, PIXELS), np.uint8), b"labels": [0, 10]}), "its labels are not numbers"),
        (pickle.dumps({b"data": np.zeros((1, PIXELS), np.uint8), b"labels": [0]}), "1 images, not 2"),
    ],
)
def test_damaged_pickles_are_refused(data, saying, tmp_path):
    write(tmp_path, PYTHON)
    (tmp_path / PYTHON.folder / "data_batch_2").write_bytes(data)
    with pytest.raises(ValueError, match=saying):
        read(tmp_path)


def test_damaged_binaries_and_archives_are_refused(tmp_path):
    write(tmp_path, BINARY)
    (tmp_path / BINARY.folder / "test_batch.bin").write_bytes(b"12345")
    with pytest.raises(ValueError, match=r"test_batch\.bin is truncated, .*5 bytes are no whole number of images"):
        read(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    packed = write(other, BINARY, packed=True) / BINARY.file
    packed.write_bytes(packed.read_bytes()[:5000])
    with pytest.raises(ValueError, match="is truncated, damaged or another file"):
        read(other)
