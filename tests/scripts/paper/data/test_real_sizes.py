"""Files as large as the published ones, with random content: read whole, within little more memory than they take."""

import gzip
import io
import json
import pickle
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from paper.data import cifar10, mnist
from paper.data.cifar10 import BINARY, PYTHON

from tests.scripts.paper.data.test_mnist import idx

ROOT = Path(__file__).parents[4]
MEASURE = """
import json, resource, sys
from pathlib import Path
from paper.data import cifar10, mnist
read = {"cifar10": cifar10.read_cifar10, "mnist": mnist.read_mnist}[sys.argv[1]]
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found = read(Path(sys.argv[2]), {})
taken = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
sums = [int(part.sum()) for part in found[1:5]]
print(json.dumps([list(found.images.shape), list(found.test_images.shape), sums, taken]))
"""

pytestmark = pytest.mark.slow


def read_apart(name, folder):
    """Shapes of both parts, sums of all four tensors, and the bytes of memory that reading them took at most."""
    command = [sys.executable, "-c", MEASURE, name, str(folder)]
    paths = {"PYTHONPATH": f"{ROOT}:{ROOT / 'scripts'}"}
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True, env=paths).stdout)


@pytest.mark.parametrize("packed", [False, True])
def test_mnist(packed, tmp_path):
    rng, sums = np.random.default_rng(0), []
    for name, count in zip(mnist.FILES, (60_000, 60_000, 10_000, 10_000), strict=True):
        shape, top = ((count, 28, 28), 256) if "images" in name else (count, 10)
        values = rng.integers(0, top, shape, np.uint8)
        sums.append(int(values.sum()))
        if packed:
            (tmp_path / f"{name}.gz").write_bytes(gzip.compress(idx(values), 1))
        else:
            (tmp_path / name).write_bytes(idx(values))
    training, test, found, taken = read_apart("mnist", tmp_path)
    assert (training, test, found) == ([60_000, 1, 28, 28], [10_000, 1, 28, 28], sums)
    assert taken < 2.5 * 70_000 * 28 * 28


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("archive", [BINARY, PYTHON])
def test_cifar10(archive, packed, tmp_path):
    rng, parts = np.random.default_rng(0), []
    (tmp_path / archive.folder).mkdir()
    for name in archive.batches:
        pixels, labels = rng.integers(0, 256, (10_000, cifar10.PIXELS), np.uint8), rng.integers(0, 10, 10_000)
        parts.append((int(pixels.sum(dtype=np.int64)), int(labels.sum())))
        if archive is BINARY:
            data = np.concatenate([labels[:, None].astype(np.uint8), pixels], 1).tobytes()
        else:
            filenames = [f"{number}.png".encode() for number in range(10_000)]
            entries = {b"batch_label": b"batch", b"labels": labels.tolist(), b"data": pixels, b"filenames": filenames}
            data = pickle.dumps(entries, protocol=2)
        (tmp_path / archive.folder / name).write_bytes(data)
    if packed:
        pack(tmp_path, archive)
    training, test, found, taken = read_apart("cifar10", tmp_path)
    assert (training, test) == ([50_000, 3, 32, 32], [10_000, 3, 32, 32])
    assert found == [*map(sum, zip(*parts[:5], strict=True)), *parts[5]]
    assert taken < 2.5 * 60_000 * cifar10.PIXELS


def pack(folder, archive):
    """Replace the folder of the batches by their archive, the last batch first, as files in archives have no order."""
    with tarfile.open(folder / archive.file, "w:gz", compresslevel=1) as tar:
        for name in archive.batches[::-1]:
            path = folder / archive.folder / name
            entry = tarfile.TarInfo(f"{archive.folder}/{name}")
            entry.size = path.stat().st_size
            tar.addfile(entry, io.BytesIO(path.read_bytes()))
            path.unlink()
    (folder / archive.folder).rmdir()
