"""agents.runtime.hardware: what a run on a GPU sets, and that it is put back."""

import pytest
import torch

from agents.runtime.hardware import tuned


@pytest.fixture
def settings(monkeypatch):
    """Torch's settings, as two threads would have them, without changing those of this process."""
    threads = [2]
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads[0])
    monkeypatch.setattr(torch, "set_num_threads", lambda number: threads.__setitem__(0, number))
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    return lambda: (threads[0], torch.backends.cudnn.benchmark)


def test_a_gpu_has_one_thread_and_timed_convolutions_for_as_long(settings):
    with tuned(torch.device("cuda")):
        assert settings() == (1, True)
    assert settings() == (2, False)


def test_they_are_put_back_after_an_error(settings):
    with pytest.raises(KeyError), tuned(torch.device("cuda", 1)):
        raise KeyError
    assert settings() == (2, False)


def test_a_cpu_keeps_what_it_has(settings):
    with tuned(torch.device("cpu")):
        assert settings() == (2, False)
