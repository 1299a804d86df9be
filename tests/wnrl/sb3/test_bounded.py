import numpy as np
import pytest
import torch
from torch import nn

from wnrl.sb3 import bounded
from wnrl.sb3.bounded import Bounded, TooLargeError

WAYS = [
    lambda: torch.empty(11, 20),
    lambda: torch.empty([11, 20]),
    lambda: torch.empty(size=(11, 20)),
    lambda: torch.empty(np.int64(220)),
]


def test_what_fits_is_built_as_ever():
    with Bounded(10 * 20 + 20):
        torch.manual_seed(0)
        inside = nn.Linear(10, 20)
    torch.manual_seed(0)
    assert torch.equal(inside.weight, nn.Linear(10, 20).weight)


@pytest.mark.parametrize("build", [lambda: nn.Linear(10, 20), lambda: nn.LSTM(10, 5), *WAYS])
def test_one_number_too_many_is_refused(build):
    with pytest.raises(TooLargeError, match="more than 219 numbers"), Bounded(219):
        build()


def test_nothing_is_allocated():
    with pytest.raises(TooLargeError), Bounded(10):
        nn.Linear(2**20, 2**20)  # 4 TiB


def test_so_are_too_many_tensors(monkeypatch):
    monkeypatch.setattr(bounded, "_MOST_TENSORS", 7)
    with pytest.raises(TooLargeError, match="or 7 tensors"), Bounded(10**9):
        nn.ModuleList(nn.Linear(1, 1) for _ in range(4))
