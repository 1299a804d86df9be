"""agents.runtime.hardware: what a run sets, and that it is put back."""

import pytest
import torch
from torch import nn

import wnrl
from agents.runtime.hardware import SMALL, is_small, tuned

LARGE = nn.Linear(1, SMALL)  # and as many biases

CPU = torch.device("cpu")


@pytest.fixture
def settings(monkeypatch):
    """Torch's settings, as two threads would have them, without changing those of this process."""
    threads = [2]
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads[0])
    monkeypatch.setattr(torch, "set_num_threads", lambda number: threads.__setitem__(0, number))
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    return lambda: (threads[0], torch.backends.cudnn.benchmark)


def test_a_gpu_has_one_thread_and_timed_convolutions_for_as_long(settings):
    with tuned(LARGE, torch.device("cuda")):
        assert settings() == (1, True)
    assert settings() == (2, False)


def test_they_are_put_back_after_an_error(settings):
    with pytest.raises(KeyError), tuned(LARGE, torch.device("cuda", 1)):
        raise KeyError
    assert settings() == (2, False)


def test_a_cpu_keeps_what_it_has_for_a_large_network(settings):
    with tuned(LARGE, CPU):
        assert settings() == (2, False)


def test_a_small_network_has_one_thread_of_a_cpu(settings):
    with tuned(nn.Linear(4, 64), CPU):
        assert settings() == (1, False)
    assert settings() == (2, False)


@pytest.mark.parametrize(
    ("network", "small"),
    [
        (nn.Linear(SMALL - 1, 1, bias=False), True),
        (nn.Linear(SMALL, 1, bias=False), False),
        (wnrl.normalize(nn.Sequential(nn.Linear(4, 256), nn.Linear(256, 256)), "weight"), True),
        (nn.Sequential(nn.Linear(4, 4), nn.Conv1d(1, 1, 1)), False),
        (wnrl.normalize(nn.Sequential(nn.Conv2d(1, 1, 1)), "weight"), False),
    ],
)
def test_what_is_small(network, small):
    assert is_small(network) is small
