"""wnrl.checkpoints.streams: what safetensors reads, whatever is written piece by piece."""

import json
import zlib

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from wnrl.checkpoints import streams
from wnrl.checkpoints.streams import Stream, write_tensors

DTYPES = [
    *(torch.bool, torch.uint8, torch.uint16, torch.uint32, torch.uint64, torch.int8, torch.int16, torch.int32),
    *(torch.int64, torch.float16, torch.bfloat16, torch.float32, torch.float64),
    *(torch.float8_e4m3fn, torch.float8_e5m2),
]


class Pieces(Stream):
    """The rows of a tensor, so many at once; `noted` gets the name when it is read."""

    def __init__(self, tensor, at_once, age=0, noted=None, name=""):
        self.tensor, self.at_once, self.age, self.noted, self.name = tensor, at_once, age, noted, name
        self.dtype, self.shape = tensor.dtype, tuple(tensor.shape)

    def pieces(self):
        if self.noted is not None:
            self.noted.append(self.name)
        buffer = torch.empty_like(self.tensor[: self.at_once])
        for start in range(0, len(self.tensor), self.at_once):
            rows = self.tensor[start : start + self.at_once]
            buffer[: len(rows)] = rows
            yield buffer[: len(rows)]
            buffer.zero_()  # valid until the next is taken


def written(path, tensors, metadata=lambda checksums: {}):
    path.touch()
    write_tensors(path, tensors, metadata)
    return path


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (1, 1), (5, 3, 2)])
def test_every_dtype_is_what_safetensors_itself_would_have_written(tmp_path, shape):
    count = torch.Size(shape).numel()
    tensors = {f"{dtype}": torch.arange(count).view(shape).to(dtype) for dtype in DTYPES}
    save_file(tensors, tmp_path / "theirs")
    ours, theirs = load_file(written(tmp_path / "ours", tensors)), load_file(tmp_path / "theirs")
    assert ours.keys() == theirs.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert (ours[name].dtype, ours[name].shape) == (tensor.dtype, tensor.shape) == (theirs[name].dtype, shape)
        assert torch.equal(ours[name].view(-1).view(torch.uint8), theirs[name].view(-1).view(torch.uint8))


@pytest.mark.parametrize("at_once", [1, 3, 7, 100])
def test_a_stream_is_read_as_its_tensor(tmp_path, at_once, monkeypatch):
    monkeypatch.setattr(streams, "_PIECE", 5)
    monkeypatch.setattr(streams, "_SETTLED", 11)
    rows, small = torch.arange(20 * 3, dtype=torch.int16).view(20, 3), torch.ones(2, dtype=torch.float64)
    checksums = {}

    def metadata(found):
        checksums.update(found)
        return {"crc": json.dumps(found)}

    path = written(tmp_path / "file", {"rows": Pieces(rows, at_once), "small": small}, metadata)
    loaded = load_file(path)
    assert torch.equal(loaded["rows"], rows)
    assert torch.equal(loaded["small"], small)
    assert checksums == {"rows": zlib.crc32(rows.numpy()), "small": zlib.crc32(small.numpy())}
    with safe_open(path, framework="pt") as file:
        assert json.loads(file.metadata()["crc"]) == checksums


def test_all_data_are_aligned_and_checksums_of_any_length_fit(tmp_path):
    """Entries of 8 bytes come first; the checksum of no bytes is 0, of one digit."""
    tensors = {"a": torch.ones(3, dtype=torch.uint8), "b": torch.ones(5), "c": torch.ones(1, dtype=torch.int64)}
    data = written(
        tmp_path / "file", {**tensors, "none": torch.ones(0)}, lambda sums: {k: str(v) for k, v in sums.items()}
    ).read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    assert length % 8 == 0
    assert header["__metadata__"]["none"] == "0"
    for name, tensor in tensors.items():
        assert header[name]["data_offsets"][0] % tensor.dtype.itemsize == 0
    assert len(data) == 8 + length + 8 + 20 + 3


def test_older_streams_are_written_first(tmp_path):
    read = []
    tensors = {name: Pieces(torch.ones(2), 1, age, read, name) for name, age in {"x": -2, "y": 0, "z": -1}.items()}
    written(tmp_path / "file", tensors)
    assert read == ["y", "z", "x"]


@pytest.mark.parametrize("rows", [1, 3])
def test_a_stream_of_another_length_than_it_says_is_no_file(tmp_path, rows):
    other = Pieces(torch.ones(rows, 4), 1)
    other.shape = (2, 4)
    with pytest.raises(OSError, match=f"rows has {rows * 16} bytes instead of 32"):
        written(tmp_path / "file", {"rows": other})


def test_a_dtype_without_a_name_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"cannot store x, of torch.complex64"):
        written(tmp_path / "file", {"x": torch.ones(1, dtype=torch.complex64)})
