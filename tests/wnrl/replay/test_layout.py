"""wnrl.replay.layout: sizes, and what they cost in memory."""

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


def test_rows_are_numbered_in_int32() -> None:
    with pytest.raises(ValueError, match=r"capacity must stay below 2\*\*31 rows in all, got 2147483647"):
        ReplayLayout(2**31 - 1, 1, (), torch.uint8)
