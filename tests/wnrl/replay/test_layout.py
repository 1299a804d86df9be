"""wnrl.replay.layout: sizes, and what they cost in memory."""

from dataclasses import FrozenInstanceError
from typing import Any

import pytest
import torch

from wnrl.replay.layout import ReplayLayout


def test_whole_rows_and_the_frames_that_their_transitions_show() -> None:
    layout = ReplayLayout(65, 2, (4, 6), torch.float32, stack=4, n_step=3)
    assert (layout.start_rows, layout.starts, layout.frame_rows, layout.frame_size) == (33, 66, 33 + 3 + 3, 6)
    assert layout.bytes == (39 * 2 + 1) * 6 * 4 + 66 * 7 * 4


def test_a_million_atari_steps_fit_in_7_2_gigabytes() -> None:
    assert 7.056e9 < ReplayLayout(1_000_000, 8, (4, 84, 84), torch.uint8, stack=4).bytes < 7.2e9
    assert ReplayLayout(1_000_000, 1, (4,), torch.float32).bytes < 0.05e9


@pytest.mark.parametrize("name", ["capacity", "num_envs", "stack", "n_step"])
def test_numbers_below_one_are_refused(name: str) -> None:
    arguments: dict[str, Any] = {"capacity": 8, "num_envs": 1, "obs_shape": (1, 3), "obs_dtype": torch.uint8}
    with pytest.raises(ValueError, match=f"{name} must be 1 or more, got 0"):
        ReplayLayout(**(arguments | {name: 0}))


@pytest.mark.parametrize("shape", [(84, 84), ()])
def test_obs_shape_must_begin_with_the_stack(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"begin with stack=4, got \(" + ("84, 84" if shape else "")):
        ReplayLayout(8, 1, shape, torch.uint8, stack=4)
    with pytest.raises(ValueError, match="begin with stack=2"):
        ReplayLayout(8, 1, shape, torch.uint8, stack=2)
    assert ReplayLayout(8, 1, shape, torch.uint8).stack == 1
    listed: Any = [4, 84, 84]  # as JSON has it
    assert ReplayLayout(8, 1, listed, torch.uint8, stack=4).frame_size == 84 * 84


def test_rows_are_numbered_in_int32() -> None:
    with pytest.raises(ValueError, match=r"capacity must stay below 2\*\*31 rows in all, got 2147483647"):
        ReplayLayout(2**31 - 1, 1, (), torch.uint8)
    with pytest.raises(ValueError, match=r"capacity must stay below 2\*\*31 rows in all, got 2147483000"):
        ReplayLayout(2_147_483_000, 1000, (), torch.uint8)
    assert ReplayLayout(2**31 - 3, 1, (), torch.uint8).frame_rows == 2**31 - 2  # with the one of a step on


def test_it_is_a_value_with_one_step_and_no_stack_unless_told() -> None:
    layout = ReplayLayout(8, 1, (3,), torch.uint8)
    assert layout == ReplayLayout(8, 1, (3,), torch.uint8, stack=1, n_step=1)
    with pytest.raises(FrozenInstanceError):
        layout.capacity = 9  # type: ignore[misc]
