"""wnrl.transfer: arrays on their way to a device."""

import numpy as np
import pytest
import torch

from wnrl.transfer import to_device

CPU = torch.device("cpu")


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
    torch.cuda.set_sync_debug_mode("error")
    try:
        moved = to_device(array, device)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    array.fill(0)
    assert moved.cpu().min() == 3
