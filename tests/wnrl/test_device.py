"""wnrl.device: free memory, copies to a device, and what autocast does there."""

import numpy as np
import pytest
import torch

from tests.cuda import nothing_waits
from wnrl import device
from wnrl.device import autocast_dtype, check_memory, free_memory, to_device, without_autocast

CPU = torch.device("cpu")


def test_what_fits_passes() -> None:
    assert free_memory("cpu") > 0
    check_memory(1, "cpu")


def test_the_message_names_need_free_and_what_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "free_memory", lambda device: 3_200_000_000)
    with pytest.raises(
        ValueError, match=r"steps needs 7.1 GB, 3.2 GB are free on cpu: use --replay-size 4507"
    ) as raised:
        check_memory(7_100_000_000, "cpu", steps=1_000_000)
    assert "\n" not in str(raised.value)
    with pytest.raises(ValueError, match=r"a replay needs 7.1 GB, .* use a smaller --replay-size"):
        check_memory(7_100_000_000, "cpu")


def test_on_a_cpu_nothing_is_copied():
    array, tensor = np.arange(6.0).reshape(2, 3), torch.ones(2)
    moved = to_device(array, CPU)
    array[0, 0] = 9.0
    assert moved[0, 0] == 9.0
    assert to_device(tensor, CPU) is tensor


def test_views_and_read_only_arrays_are_taken():
    array = np.arange(12).reshape(3, 4)
    assert to_device(array[:, ::2], CPU).tolist() == [[0, 2], [4, 6], [8, 10]]
    array.flags.writeable = False
    moved = to_device(array, CPU)
    moved[0, 0] = 7
    assert array[0, 0] == 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_an_array_may_change_at_once_and_nobody_waits():
    device = torch.device("cuda")
    array = np.full((64, 4, 84, 84), 3, np.uint8)
    to_device(array, device)  # memory is pinned
    torch.cuda.synchronize()
    with nothing_waits():
        moved = to_device(array, device)
    array.fill(0)
    assert moved.cpu().min() == 3


def test_the_dtype_of_autocast_is_that_of_products():
    x = torch.ones(2, 2)
    assert autocast_dtype(CPU) is None
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert autocast_dtype(CPU) is (x @ x).dtype is torch.bfloat16
        assert autocast_dtype(torch.device("meta")) is None


def test_without_autocast_operations_keep_their_dtype():
    x = torch.ones(2, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (x @ x).dtype is torch.bfloat16
        with without_autocast(CPU):
            assert (x @ x).dtype is torch.float32
            assert autocast_dtype(CPU) is None
