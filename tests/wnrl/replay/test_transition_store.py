import numpy as np
import pytest
import torch

from wnrl.replay.layout import ReplayLayout
from wnrl.replay.transition_store import TransitionStore, in_words


def make(stack: int = 1) -> TransitionStore:
    """Three starts and, without stacks, four rows of frames with one number."""
    shape = (stack, 1) if stack > 1 else (1,)
    return TransitionStore(ReplayLayout(3, 1, shape, torch.uint8, stack), "cpu")


def write(store: TransitionStore, frames: list[int]) -> None:
    for row, frame in enumerate(frames):
        store.write_frames(row, torch.tensor([[frame]], dtype=torch.uint8))


def test_a_start_joins_two_frames_with_an_action_and_a_return() -> None:
    store = make()
    write(store, [10, 11, 12, 13])
    store.write_starts(0, np.array([[0, 2, 0, 0, 5], [1, 3, 0, 0, 6]]), np.array([[1.5, 0.9], [2.5, 0.0]]))
    batch = store.gather(torch.tensor([1, 0, 1]))
    assert (batch.obs.flatten().tolist(), batch.next_obs.flatten().tolist()) == ([11, 10, 11], [13, 12, 13])
    assert (batch.action.tolist(), batch.reward.tolist()) == ([6, 5, 6], [2.5, 1.5, 2.5])
    torch.testing.assert_close(batch.discount, torch.tensor([0, 0.9, 0]))


def test_starts_and_frames_lie_in_rings() -> None:
    store = make()
    write(store, [10, 11, 12, 13, 14, 15])
    assert [store.frame_indices(row).tolist() for row in (3, 4, 5)] == [[3], [0], [1]]
    store.write_starts(0, np.zeros((2, 5)), np.array([[1, 0], [2, 0]]))
    store.write_starts(2, np.zeros((2, 5)), np.array([[3, 0], [4, 0]]))
    batch = store.gather(torch.arange(3))
    assert batch.reward.tolist() == [4, 2, 3]
    assert batch.obs.flatten().tolist() == [14] * 3


def test_a_stack_shows_zeros_beyond_its_history() -> None:
    store = make(stack=3)
    write(store, [10, 11, 12, 13])
    stacks = store.stacks(torch.tensor([3, 3, 3]), torch.tensor([0, 1, 2]))
    assert stacks.flatten(1).tolist() == [[0, 0, 13], [0, 12, 13], [11, 12, 13]]


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int16, torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("size", [1, 2, 3, 4, 8, 12])
def test_rows_are_gathered_bit_for_bit_in_the_widest_words(dtype: torch.dtype, size: int) -> None:
    rows = torch.randint(0, 2, (5, size)).to(dtype)
    words = in_words(rows)
    size_of_a_word = words.element_size()
    assert size * dtype.itemsize % size_of_a_word == 0
    assert size_of_a_word == 8 or size * dtype.itemsize % (2 * size_of_a_word)
    assert words.data_ptr() == rows.data_ptr()
    torch.testing.assert_close(words[[3, 0]].view(dtype), rows[[3, 0]], rtol=0, atol=0)


def test_only_what_was_written_is_filled() -> None:
    store = make()
    assert [len(view) for view in store.filled(2, 1).values()] == [2, 1, 1]
    assert [len(view) for view in store.filled(9, 8).values()] == [4, 3, 3]
    assert store.nbytes == ReplayLayout(3, 1, (1,), torch.uint8).bytes


def test_indices_are_whole_numbers() -> None:
    views = make().filled(2, 1)
    assert [view.dtype for view in views.values()] == [torch.uint8, torch.int32, torch.float32]


def test_an_observation_may_be_a_list() -> None:
    store = TransitionStore(ReplayLayout(3, 2, (1,), torch.int64), "cpu")
    assert store.newest_frame([[3], [4]]).tolist() == [[3], [4]]
