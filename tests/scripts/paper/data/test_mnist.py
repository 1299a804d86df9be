import gzip
import hashlib

import numpy as np
import pytest
import torch
from paper.data.mnist import FILES, parse_idx, read_mnist


def idx(values):
    head = bytes((0, 0, 8, values.ndim)) + b"".join(size.to_bytes(4, "big") for size in values.shape)
    return head + values.astype(np.uint8).tobytes()


def small(folder, images=3, tests=2, side=28):
    rng, arrays = np.random.default_rng(0), []
    for name, count in zip(FILES, (images, images, tests, tests), strict=True):
        arrays.append(rng.integers(0, 10, (count, side, side) if "images" in name else count))
        (folder / name).write_bytes(idx(arrays[-1]))
    return arrays


def test_arrays_come_back(tmp_path):
    images, labels, test_images, test_labels = small(tmp_path)
    found = read_mnist(tmp_path)
    assert torch.equal(found.images[:, 0], torch.from_numpy(images).to(torch.uint8))
    assert torch.equal(found.test_images[:, 0], torch.from_numpy(test_images).to(torch.uint8))
    assert (found.labels.tolist(), found.test_labels.tolist()) == (labels.tolist(), test_labels.tolist())
    assert (found.images.dtype, found.labels.dtype, found.shape) == (torch.uint8, torch.int64, (1, 28, 28))


def test_packed_files_are_compared_with_their_checksum(tmp_path):
    small(tmp_path)
    packed = tmp_path / f"{FILES[0]}.gz"
    packed.write_bytes(gzip.compress((tmp_path / FILES[0]).read_bytes()))
    (tmp_path / FILES[0]).unlink()
    digest = hashlib.md5(packed.read_bytes()).hexdigest()
    assert len(read_mnist(tmp_path, {packed.name: digest}).images) == 3
    with pytest.raises(ValueError, match=r"images-idx3-ubyte.gz is truncated, damaged or another file \(its MD5 is "):
        read_mnist(tmp_path)


def test_missing_files_are_named_with_their_source(tmp_path):
    with pytest.raises(ValueError, match=r"train-images-idx3-ubyte of MNIST is not in .*: get .* from https://.*-dir"):
        read_mnist(tmp_path)


@pytest.mark.parametrize(
    ("change", "saying"),
    [
        (lambda data: data[:-1], "2,351 bytes instead of 3 x 28 x 28"),
        (lambda data: b"\x1f\x8b" + data[2:], "no idx header of 3 dimensions of bytes"),
        (lambda data: data[:9], "no idx header"),
        (lambda data: b"", "no idx header"),
    ],
)
def test_damaged_files_are_refused(change, saying, tmp_path):
    small(tmp_path)
    path = tmp_path / FILES[0]
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ValueError, match=saying):
        read_mnist(tmp_path)


def test_a_truncated_packed_file_is_refused(tmp_path):
    small(tmp_path)
    packed = gzip.compress((tmp_path / FILES[1]).read_bytes())
    (tmp_path / FILES[1]).unlink()
    (tmp_path / f"{FILES[1]}.gz").write_bytes(packed[:-4])
    with pytest.raises(ValueError, match="is truncated, damaged or another file"):
        read_mnist(tmp_path, {})


def test_other_sizes_labels_and_counts_are_refused(tmp_path):
    small(tmp_path, side=32)
    with pytest.raises(ValueError, match="images of 32 x 32, MNIST's are of 28 x 28"):
        read_mnist(tmp_path)
    small(tmp_path)
    (tmp_path / FILES[1]).write_bytes(idx(np.array([0, 1])))
    with pytest.raises(ValueError, match="3 images and 2 labels"):
        read_mnist(tmp_path)
    (tmp_path / FILES[1]).write_bytes(idx(np.array([0, 1, 10])))
    with pytest.raises(ValueError, match="a label over 9"):
        read_mnist(tmp_path)


def test_a_header_of_huge_sizes_takes_no_memory():
    with pytest.raises(ValueError, match="0 bytes instead of"):
        parse_idx(bytes((0, 0, 8, 3)) + b"\xff" * 12, 3)
