import copy
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import wnrl
from wnrl.checkpoints import tensor_files
from wnrl.checkpoints.tensor_files import CheckpointError, read_checkpoint, read_model, write_checkpoint, write_model


@pytest.fixture
def state() -> dict[str, Any]:
    return {
        "net": {"v": torch.randn(3, 4), "half": torch.ones(2, dtype=torch.bfloat16), "empty": torch.empty(0, 5)},
        "flags": torch.tensor([True, False]),
        "seeds": np.array([2**63 + 1], np.uint64),
        "numpy": np.random.default_rng(1).bit_generator.state,
        "python": random.Random(1).getstate(),
        "step": 7,
        "best": float("-inf"),
    }


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    tensors = zip([*one["net"].values(), one["flags"]], [*other["net"].values(), other["flags"]], strict=True)
    plain = all(one[key] == other[key] for key in ("seeds", "numpy", "python", "step", "best"))
    return plain and all(a.dtype == b.dtype and torch.equal(a, b) for a, b in tensors)


def test_a_state_comes_back(tmp_path: Path, state: dict[str, Any]) -> None:
    write_checkpoint(tmp_path / "new" / "state", state)
    assert same(read_checkpoint(tmp_path / "new" / "state"), state)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["state"]


def test_a_single_number_with_any_stride_is_written(tmp_path: Path) -> None:
    """As the weight of a value head of one unit, a column of its gradient's memory."""
    number = torch.arange(8.0).view(2, 4)[:1, :1].as_strided((1, 1), (4, 4))
    assert number.is_contiguous()
    assert number.reshape(-1).stride() != (1,)
    write_checkpoint(tmp_path / "state", {"number": number})
    assert read_checkpoint(tmp_path / "state")["number"].tolist() == [[0.0]]


def test_generators_go_on_where_they_were(tmp_path: Path) -> None:
    numbers, chance, noise = np.random.default_rng(1), random.Random(1), torch.Generator().manual_seed(1)
    state = {"numpy": numbers.bit_generator.state, "python": chance.getstate(), "torch": noise.get_state()}
    write_checkpoint(tmp_path / "state", state)
    expected = numbers.random(), chance.random(), torch.rand(1, generator=noise)
    state = read_checkpoint(tmp_path / "state")
    numbers.bit_generator.state = state["numpy"]
    chance.setstate(state["python"])
    noise.set_state(state["torch"])
    assert (numbers.random(), chance.random(), torch.rand(1, generator=noise)) == expected


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.RMSprop, torch.optim.SGD])
def test_an_optimizer_continues_exactly(tmp_path: Path, kind: type[torch.optim.Optimizer]) -> None:
    def update(weight: torch.Tensor, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        (weight**2).sum().backward()
        optimizer.step()

    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = kind([weight], lr=0.1)
    update(weight, optimizer)
    write_checkpoint(tmp_path / "state", {"weight": weight, "optimizer": optimizer.state_dict()})

    loaded = read_checkpoint(tmp_path / "state")
    resumed = torch.nn.Parameter(loaded["weight"])
    other = kind([resumed], lr=0.5)
    other.load_state_dict(loaded["optimizer"])
    assert loaded["optimizer"]["param_groups"] == optimizer.state_dict()["param_groups"]
    for _ in range(3):
        update(weight, optimizer)
        update(resumed, other)
    assert torch.equal(weight, resumed)


def test_any_flipped_bit_is_noticed(tmp_path: Path, state: dict[str, Any]) -> None:
    del state["python"]  # as long as all the rest
    state["python"] = ()
    write_checkpoint(tmp_path / "state", state)
    whole, refused = (tmp_path / "state").read_bytes(), 0
    for place in range(len(whole)):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << place % 8
        (tmp_path / "flipped").write_bytes(flipped)
        try:
            assert same(read_checkpoint(tmp_path / "flipped"), state)
        except CheckpointError:
            refused += 1
    assert refused > 0.95 * len(whole)  # the others are padding


def test_a_truncated_file_is_noticed(tmp_path: Path, state: dict[str, Any]) -> None:
    write_checkpoint(tmp_path / "state", state)
    whole = (tmp_path / "state").read_bytes()
    for size in (0, 5, 100, len(whole) // 2, len(whole) - 1):
        (tmp_path / "short").write_bytes(whole[:size])
        with pytest.raises(CheckpointError, match="damaged"):
            read_checkpoint(tmp_path / "short")


def test_other_files_are_refused_in_one_line(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "foreign")
    torch.save({"a": 1}, tmp_path / "pickle")
    for name, message in (
        ("foreign", "not written by wnrl"),
        ("pickle", "not written by wnrl"),
        ("none", "there is no file"),
    ):
        with pytest.raises(CheckpointError, match=message) as raised:
            read_checkpoint(tmp_path / name)
        assert "\n" not in str(raised.value)
    write_model(tmp_path / "model", {"a": torch.zeros(1)}, {})
    with pytest.raises(CheckpointError, match="not a checkpoint"):
        read_checkpoint(tmp_path / "model.safetensors")
    write_checkpoint(tmp_path / "state.safetensors", {})
    with pytest.raises(CheckpointError, match="not a model"):
        read_model(tmp_path / "state")


def test_changing_what_was_loaded_leaves_the_file_alone(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "state", {"a": torch.zeros(5000), "b": np.zeros(5000)})
    loaded = read_checkpoint(tmp_path / "state")
    loaded["a"].add_(1)
    loaded["b"] += 1
    again = read_checkpoint(tmp_path / "state")
    assert not again["a"].any()
    assert not again["b"].any()


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs Linux")
def test_what_was_read_does_not_hold_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else Windows could neither replace nor remove it. Tensors of gigabytes stay mapped."""
    write_checkpoint(tmp_path / "state", {"a": torch.ones(5000), "b": np.ones(5000)})
    write_model(tmp_path / "model", {"w": torch.ones(5000)}, {})
    kept = read_checkpoint(tmp_path / "state"), read_model(tmp_path / "model")
    assert str(tmp_path) not in Path("/proc/self/maps").read_text()
    monkeypatch.setattr(tensor_files, "_COPIED", 4 * 5000 - 1)
    mapped = read_checkpoint(tmp_path / "state")
    assert str(tmp_path / "state") in Path("/proc/self/maps").read_text()
    assert kept[0]["a"].equal(mapped["a"])


def header_of(text: bytes, length: int | None = None) -> bytes:
    """The beginning of a file with that header, which is of another length if one is given."""
    return (len(text) if length is None else length).to_bytes(8, "little") + text


@pytest.mark.parametrize(
    "start",
    [
        header_of(b"{}", 2**63),
        header_of(b"{}", 3),
        header_of(b"[" * 100_000),
        header_of(b" " * (8 * 2**20) + b"{}"),
        header_of(json.dumps({"__metadata__": {"wnrl": "[" * 100_000, "crc32": "0"}}).encode()),
        header_of(json.dumps({"a": {"dtype": "F32", "shape": [2**62, 4], "data_offsets": [0, 0]}}).encode()),
        header_of(json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 2**40]}}).encode()),
    ],
)
def test_a_header_is_measured_before_it_is_read(tmp_path: Path, start: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(start)
    for read in (lambda: read_checkpoint(tmp_path / "model.safetensors"), lambda: read_model(tmp_path / "model")):
        with pytest.raises(CheckpointError, match="damaged or not written by wnrl") as raised:
            read()
        assert "\n" not in str(raised.value)


def test_a_header_that_could_not_be_read_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensor_files, "_LONGEST_HEADER", 10_000)
    with pytest.raises(CheckpointError, match=r"its values that are no tensors take \d+,\d+ bytes$"):
        write_checkpoint(tmp_path / "state", {"text": "x" * 10_000})
    assert not list(tmp_path.iterdir())
    write_checkpoint(tmp_path / "state", {"text": "x" * 9_000})
    assert read_checkpoint(tmp_path / "state")["text"] == "x" * 9_000


def test_shapes_are_checked_before_tensors_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_model(tmp_path / "model", {"w": torch.ones(2, 3), "b": torch.ones(())}, {"kind": "a"})

    def refuse(shapes: Any, about: dict[str, Any]) -> None:
        raise CheckpointError(f"{shapes} {about}")

    def read(tensor: torch.Tensor) -> torch.Tensor:
        raise AssertionError("a tensor is read")

    monkeypatch.setattr(tensor_files, "_copied", read)
    with pytest.raises(CheckpointError, match=r"^\{'b': \(\), 'w': \(2, 3\)\} \{'kind': 'a'\}$"):
        read_model(tmp_path / "model", check=refuse)


@pytest.mark.parametrize("layers", [5, [], [[1, 2]], {"": 5}, "text"])
def test_what_a_file_says_about_layers_is_a_mapping(
    tmp_path: Path, layers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensor_files, "plain_metadata", lambda tensors: layers or [1])
    write_model(tmp_path / "model", {"w": torch.ones(2)}, {})
    with pytest.raises(CheckpointError, match=r"is not a model .*about layers"):
        read_model(tmp_path / "model")


def test_what_cannot_be_stored_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot store /a, a set"):
        write_checkpoint(tmp_path / "state", {"a": {1}})
    with pytest.raises(CheckpointError, match=r"cannot store /a, of torch\.float8"):
        write_checkpoint(tmp_path / "state", {"a": torch.ones(1).to(torch.float8_e4m3fnuz)})
    with pytest.raises(CheckpointError, match="cannot store _extra_state, a dict: give a tensor"):
        write_model(tmp_path / "model", {"_extra_state": {}}, {})  # type: ignore[dict-item]
    assert not list(tmp_path.iterdir())


def test_a_model_comes_back_and_opens_elsewhere(tmp_path: Path) -> None:
    network = torch.nn.Linear(3, 2)
    tied = {**network.state_dict(), "tied": network.weight}
    write_model(tmp_path / "best.v1", tied, {"game": "Breakout", "score": 400.5})
    tensors, meta = read_model(tmp_path / "best.v1")
    assert meta == json.loads((tmp_path / "best.v1.json").read_text()) == {"game": "Breakout", "score": 400.5}
    for loaded in (tensors, load_file(tmp_path / "best.v1.safetensors")):
        assert loaded.keys() == tied.keys()
        assert all(torch.equal(loaded[name], tied[name]) for name in tied)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_model_is_described_in_json(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot store the model"):
        write_model(tmp_path / "model", {}, {"a": torch.zeros(1)})
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_tensors_travel_from_and_to_the_device(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "state", {"a": torch.arange(3, device="cuda"), "b": np.arange(3)})
    loaded = read_checkpoint(tmp_path / "state", "cuda")
    assert loaded["a"].device.type == "cuda"
    assert loaded["a"].tolist() == [0, 1, 2]
    assert isinstance(loaded["b"], np.ndarray)


def test_files_are_as_readable_as_any_other(tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    write_model(tmp_path / "model", {"w": torch.ones(2)}, {})
    modes = {path.stat().st_mode for path in tmp_path.iterdir()}
    assert modes == {(tmp_path / "other").stat().st_mode}


def test_arrays_without_numbers_come_back(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "state", {"scores": np.array([], np.float64), "rows": np.zeros((0, 3), np.int32)})
    back = read_checkpoint(tmp_path / "state")
    assert (back["scores"].dtype, back["scores"].shape) == (np.float64, (0,))
    assert (back["rows"].dtype, back["rows"].shape) == (np.int32, (0, 3))


def test_units_of_g_are_kept_in_files(tmp_path) -> None:
    x, plain = torch.randn(5, 3), torch.nn.Linear(3, 2)
    source = wnrl.normalize(copy.deepcopy(plain), "weight", units="sqrt")
    write_checkpoint(tmp_path / "state.safetensors", {"network": source.state_dict()})
    write_model(tmp_path / "model", source.state_dict(), {})
    for state in (read_checkpoint(tmp_path / "state.safetensors")["network"], read_model(tmp_path / "model")[0]):
        network = wnrl.normalize(torch.nn.Linear(3, 2), "weight")
        network.load_state_dict(state)
        torch.testing.assert_close(network(x), plain(x))
