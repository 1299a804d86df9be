import pytest

from agents.runtime.process_count import process_count, process_rank

ALL = {"WORLD_SIZE": "2", "RANK": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    for name in ALL:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("text", [None, "", " ", "1"])
def test_a_process_alone(monkeypatch, text):
    monkeypatch.setenv("RANK", "3")  # job systems set it for a single process too
    if text is not None:
        monkeypatch.setenv("WORLD_SIZE", text)
    assert (process_count(), process_rank()) == (1, 0)


def test_one_of_two(monkeypatch):
    for name, value in ALL.items():
        monkeypatch.setenv(name, value)
    assert (process_count(), process_rank()) == (2, 1)


@pytest.mark.parametrize("text", ["x", "0", "-1", "1.5"])
def test_what_is_no_number_of_processes_is_refused(monkeypatch, text):
    monkeypatch.setenv("WORLD_SIZE", text)
    with pytest.raises(ValueError, match=f"WORLD_SIZE must be a number of processes, got '{text}': unset it, or start"):
        process_count()


@pytest.mark.parametrize("missing", ["RANK", "MASTER_ADDR", "MASTER_PORT"])
def test_several_processes_need_a_place_to_meet(monkeypatch, missing):
    for name, value in ALL.items():
        monkeypatch.setenv(name, "" if name == missing else value)
    with pytest.raises(ValueError, match=f"WORLD_SIZE is 2, but {missing} not set: start with torchrun, or unset"):
        process_rank()


@pytest.mark.parametrize("text", ["2", "x", "-1"])
def test_a_rank_that_is_none_of_them_is_refused(monkeypatch, text):
    for name, value in {**ALL, "RANK": text}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=f"RANK must be below WORLD_SIZE, 2, got '{text}'"):
        process_rank()
