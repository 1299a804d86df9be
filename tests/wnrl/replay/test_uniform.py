import copy
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._pytree import tree_leaves

from tests.cuda import nothing_waits
from tests.wnrl.streams import DEVICES, GAMMA, EpisodeStream, Twin
from wnrl.checkpoints.tensor_files import read_checkpoint, write_checkpoint
from wnrl.replay import frozen_rows
from wnrl.replay.layout import ReplayLayout
from wnrl.replay.prioritized import PrioritizedReplay
from wnrl.replay.uniform import Replay, Transition


def everything(replay: Replay) -> Transition:
    """All that can be sampled, oldest first."""
    return replay._store.gather(replay._index(torch.arange(len(replay), device=replay._store.device)))


def make(
    num_envs: int, stack: int = 1, frame: tuple[int, ...] = (3,), dtype: Any = torch.uint8, **kwargs: Any
) -> Replay:
    shape = frame if stack == 1 else (stack, *frame)
    capacity, n_step = kwargs.pop("capacity", 100), kwargs.pop("n_step", 1)
    return Replay(ReplayLayout(capacity, num_envs, shape, dtype, stack, n_step), gamma=GAMMA, **kwargs)


def add_table(replay: Replay, rewards: list, discounts: list, firsts: list) -> None:
    """One environment whose observation and action are the row's number."""
    for t, (reward, discount, first) in enumerate(zip(rewards, discounts, firsts, strict=True)):
        replay.add(np.full((1, 1), t, np.uint8), [t], [reward], [discount], [bool(first)])


def assert_equal(transition: Transition, expected: list[tuple]) -> None:
    assert len(transition.action) == len(expected)
    for name, got, want in zip(Transition._fields, transition, zip(*expected, strict=True), strict=False):
        np.testing.assert_array_equal(got.cpu().numpy(), np.stack(want), err_msg=name)


@settings(max_examples=60, deadline=None)
@given(
    num_envs=st.integers(1, 4),
    stack=st.integers(1, 4),
    n_step=st.integers(1, 5),
    capacity=st.integers(1, 30),
    p_end=st.sampled_from([0.02, 0.2, 0.7]),
    seed=st.integers(0, 2**31),
)
def test_holds_what_the_naive_twin_holds(
    num_envs: int, stack: int, n_step: int, capacity: int, p_end: float, seed: int
) -> None:
    replay = make(num_envs, stack, frame=(2,), capacity=capacity, n_step=n_step)
    twin, stream = Twin(capacity, num_envs, n_step), EpisodeStream(num_envs, stack, (2,), np.uint8, seed, p_end)
    laps = 4 * replay._store.frame_rows
    for t in range(laps):
        row = stream.next()
        replay.add(*row)
        twin.rows.append(row)
        expected = twin.transitions()
        assert len(replay) == len(expected)
        if expected and (t < 12 or t > laps - 12):
            assert_equal(everything(replay), expected)


def test_numbers_that_are_not_given() -> None:
    layout, stream = ReplayLayout(20, 2, (3,), torch.uint8), EpisodeStream(2, 1, (3,), np.uint8, seed=1)
    replays = [Replay(layout), Replay(layout, gamma=0.99, seed=0), Replay(layout, seed=1)]
    for _ in range(12):
        row = stream.next()
        for replay in replays:
            replay.add(*row)
    drawn, same, other = (replay.sample(20).obs for replay in replays)
    assert torch.equal(drawn, same)
    assert not torch.equal(drawn, other)
    assert replays[0].get_state()["config"]["gamma"] == 0.99
    assert torch.equal(replays[0].generator.get_state(), replays[0].get_state()["generator"])


def test_draws_and_counts_are_exact_in_the_largest_buffers() -> None:
    replay = make(2)
    for _ in range(3):
        replay.add(*EpisodeStream(2, 1, (3,), np.uint8, seed=1).next())
        replay.add(*EpisodeStream(2, 1, (3,), np.uint8, seed=1).next()[:4], np.zeros(2, bool))
    assert replay._uniform(4, None).dtype == torch.float64  # float32 has 2²⁴ numbers below 1
    assert replay.get_state()["counts"].dtype == torch.int32


def test_columns_may_be_of_a_graph() -> None:
    replay = make(1, frame=(1,))
    for reward in (0.0, 3.0):
        column = torch.tensor([reward], requires_grad=True)
        replay.add(np.zeros((1, 1), np.uint8), [0], column, torch.ones(1), [reward == 0])
    batch = replay.sample(1)
    assert (batch.reward.tolist(), batch.reward.requires_grad) == ([3.0], False)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("stack", "frame", "dtype"), [(4, (5, 6), np.uint8), (1, (3,), np.float32), (1, (), np.int64)])
def test_holds_what_the_naive_twin_holds_of_any_dtype(device: str, stack: int, frame: tuple, dtype: type) -> None:
    replay = make(3, stack, frame, torch.from_numpy(np.zeros(1, dtype)).dtype, n_step=3, capacity=60, device=device)
    twin, stream = Twin(60, 3, 3), EpisodeStream(3, stack, frame, dtype, seed=5)
    for _ in range(70):
        twin.rows.append(stream.next())
        replay.add(*twin.rows[-1])
    assert_equal(everything(replay), twin.transitions())
    batch = replay.sample(7)
    assert [tensor.dtype for tensor in batch[1:4]] == [torch.int64, torch.float32, torch.float32]
    assert all(tensor.device.type == device and tensor.is_contiguous() for tensor in batch)
    assert batch.next_obs.shape == (7, *twin.rows[0].obs.shape[1:])


def test_a_sample_is_one_of_the_transitions_held() -> None:
    replay, twin, stream = make(2, n_step=2, capacity=20), Twin(20, 2, 2), EpisodeStream(2, 1, (3,), np.uint8, seed=1)
    for _ in range(40):
        twin.rows.append(stream.next())
        replay.add(*twin.rows[-1])
    held = {(obs.tobytes(), int(action), float(reward)) for obs, action, reward, *_ in twin.transitions()}
    batch = replay.sample(500)
    drawn = {(o.numpy().tobytes(), int(a), float(r)) for o, a, r in zip(*batch[:3], strict=True)}
    assert drawn == held


@pytest.mark.parametrize("device", DEVICES)
def test_a_draw_with_another_generator_leaves_the_replays_own_as_it_was(device: str) -> None:
    replays = [make(2, capacity=40, device=device) for _ in range(3)]
    for replay in replays:
        stream = EpisodeStream(2, 1, (3,), np.uint8, seed=1)
        for _ in range(20):
            replay.add(*stream.next())
    beside = [replays[0].sample(30, torch.Generator(device).manual_seed(7)) for _ in range(2)]
    assert all(torch.equal(*pair) for pair in zip(*beside, strict=True))
    assert not torch.equal(beside[0].obs, replays[2].sample(30).obs)
    replays[2].sample(30)  # a draw too many
    first, untouched, other = (replay.sample(30).obs for replay in replays)
    assert torch.equal(first, untouched)
    assert not torch.equal(first, other)


def test_every_tail_of_a_terminated_episode_is_there() -> None:
    replay = make(1, frame=(1,), n_step=3)
    #                  0  1  2  3  4 | 5  6  7   rows; the episode terminates at row 4
    add_table(replay, [9, 1, 2, 4, 8, 9, 0, 0], [1, 1, 1, 1, 0, 1, 1, 1], [1, 0, 0, 0, 0, 1, 0, 0])
    batch = everything(replay)
    assert batch.action.tolist() == [0, 1, 2, 3]
    expected = [1 + 2 * GAMMA + 4 * GAMMA**2, 2 + 4 * GAMMA + 8 * GAMMA**2, 4 + 8 * GAMMA, 8]
    torch.testing.assert_close(batch.reward, torch.tensor(expected))
    torch.testing.assert_close(batch.discount, torch.tensor([GAMMA**3, 0, 0, 0]))
    assert batch.next_obs.flatten().tolist() == [3, 4, 4, 4]


def test_truncation_bootstraps_where_termination_does_not() -> None:
    truncated = make(1, frame=(1,), n_step=3)
    add_table(truncated, [9, 1, 2, 4, 8, 9, 0, 0], [1, 1, 1, 1, 1, 0, 1, 1], [1, 0, 0, 0, 0, 1, 0, 0])
    discounts = everything(truncated).discount
    torch.testing.assert_close(discounts, torch.tensor([GAMMA**3, GAMMA**3, GAMMA**2, GAMMA]))


def test_a_lost_life_ends_the_return_and_not_the_episode() -> None:
    replay = make(1, frame=(1,), n_step=2)
    add_table(replay, [0, 1, 2, 4, 8], [1, 1, 0, 1, 1], [1, 0, 0, 0, 0])
    batch = everything(replay)
    torch.testing.assert_close(batch.reward, torch.tensor([1 + 2 * GAMMA, 2, 4 + 8 * GAMMA]))
    torch.testing.assert_close(batch.discount, torch.tensor([0, 0, GAMMA**2]))


def test_the_reset_step_is_no_transition() -> None:
    replay = make(1, frame=(1,))
    add_table(replay, [0, math.nan, 2], [1, math.nan, 1], [1, 1, 0])  # row 1 is first: its reward means nothing
    batch = everything(replay)
    assert (batch.action.tolist(), batch.reward.tolist()) == ([1], [2.0])


def test_stacks_never_cross_the_start_of_an_episode() -> None:
    replay = make(1, stack=3, frame=(1,))
    obs = [[0, 0, 1], [0, 1, 2], [1, 2, 3], [0, 0, 4], [0, 4, 5], [4, 5, 6]]
    for t, frames in enumerate(obs):
        replay.add(np.array(frames, np.uint8).reshape(1, 3, 1), [t], [0.0], [1.0], [t in (0, 3)])
    batch = everything(replay)
    assert batch.obs.flatten(1).tolist() == [obs[0], obs[1], obs[3], obs[4]]
    assert batch.next_obs.flatten(1).tolist() == [obs[1], obs[2], obs[4], obs[5]]
    unaware = replay._store.stacks(torch.tensor([3]), torch.tensor([2]))  # the same gather, given no episode starts
    assert unaware.flatten().tolist() == [2, 3, 4]


def test_a_lost_life_leaves_the_stack_whole() -> None:
    replay = make(1, stack=2, frame=(1,))
    for t, discount in enumerate([1.0, 0.0, 1.0]):
        replay.add(np.array([t, t + 1], np.uint8).reshape(1, 2, 1), [0], [0.0], [discount], [t == 0])
    assert everything(replay).obs.flatten(1).tolist() == [[0, 1], [1, 2]]


def test_sampling_is_uniform() -> None:
    replay = make(1, frame=(1,), capacity=50)
    add_table(replay, [0] * 120, [1] * 120, [t % 7 == 0 for t in range(120)])
    count, draws = len(replay), 200_000
    _, seen = replay.sample(draws).action.unique(return_counts=True)
    assert len(seen) == count
    statistic = float(((seen - draws / count) ** 2 / (draws / count)).sum())
    assert statistic < count + 5 * math.sqrt(2 * count)  # chi-square: mean count - 1, variance 2 (count - 1)


@pytest.mark.parametrize("rows", [0, 2, 30])
def test_a_state_continues_bit_for_bit(rows: int) -> None:
    stream = EpisodeStream(2, 2, (3,), np.uint8, seed=3)
    replay = make(2, 2, n_step=3, capacity=20, seed=1)
    for _ in range(rows):
        replay.add(*stream.next())
    if len(replay):
        replay.sample(5)
    restored = make(2, 2, n_step=3, capacity=20, seed=2)
    restored.add(*stream.next())  # something to forget
    restored.set_state(copy.deepcopy(replay.get_state()))
    assert len(restored) == len(replay)
    for _ in range(25):
        row = stream.next()
        replay.add(*row)
        restored.add(*row)
        if len(replay):
            for one, other in zip(replay.sample(9), restored.sample(9), strict=True):
                assert torch.equal(one, other)


def test_a_state_passes_through_a_checkpoint(tmp_path: Path) -> None:
    replay, restored, stream = (
        make(2, 2, n_step=2),
        make(2, 2, n_step=2, seed=9),
        EpisodeStream(2, 2, (3,), np.uint8, seed=3),
    )
    for rows in (0, 20):
        for _ in range(rows):
            replay.add(*stream.next())
        write_checkpoint(tmp_path / "state", replay.get_state())
        restored.set_state(read_checkpoint(tmp_path / "state"))
    for one, other in zip(replay.sample(9), restored.sample(9), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("kind", [Replay, PrioritizedReplay])
@pytest.mark.parametrize("rows", [0, 3, 30])
def test_a_snapshot_is_of_its_time_whatever_is_added_before_it_is_written(
    rows: int, kind: type[Replay], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ring is overwritten twice while it is written in pieces."""
    monkeypatch.setattr(frozen_rows, "PART", 7 * 3)
    monkeypatch.setattr(frozen_rows, "PIECE", 2 * 3)
    layout, stream = ReplayLayout(20, 2, (3,), torch.uint8), EpisodeStream(2, 1, (3,), np.uint8, seed=3)
    replay, restored = kind(layout, gamma=GAMMA, seed=1), kind(layout, gamma=GAMMA, seed=2)
    for _ in range(rows):
        replay.add(*stream.next())
    truth, snapshot = copy.deepcopy(replay.get_state()), replay.snapshot()
    for part in snapshot["frames"]:  # rows are added before, between and after the pieces
        read = part.pieces

        def pieces(read: Any = read) -> Any:
            for piece in read():
                replay.add(*stream.next())
                replay.sample(3)
                yield piece
                for _ in range(4):
                    replay.add(*stream.next())

        part.pieces = pieces
    for _ in range(5):
        replay.add(*stream.next())
    write_checkpoint(tmp_path / "state", snapshot)
    assert replay._added > rows + 5 or not rows
    restored.set_state(read_checkpoint(tmp_path / "state"))
    for one, other in zip(tree_leaves(restored.get_state()), tree_leaves(truth), strict=True):
        assert torch.equal(torch.as_tensor(one), torch.as_tensor(other)) if type(one) is not str else one == other


def test_a_snapshot_that_is_dropped_keeps_no_rows() -> None:
    replay, stream = make(2), EpisodeStream(2, 1, (3,), np.uint8, seed=3)
    replay.add(*stream.next())
    snapshot = replay.snapshot()
    assert len(replay._store._frozen) == 1
    del snapshot
    assert not replay._store._frozen


def test_parts_of_frames_that_do_not_fit_together_are_refused() -> None:
    replay, stream = make(2), EpisodeStream(2, 1, (3,), np.uint8, seed=3)
    for _ in range(4):
        replay.add(*stream.next())
    state = replay.get_state()
    with pytest.raises(ValueError, match=r"parts must be equal but for their length, got \[\[1, 3\], \[1, 2\]\]"):
        replay.set_state(state | {"frames": [torch.ones(1, 3), torch.ones(1, 2)]})
    with pytest.raises(ValueError, match="frames of the state must be"):
        replay.set_state(state | {"frames": [state["frames"], state["frames"]]})
    with pytest.raises(ValueError, match="parts must be equal"):
        replay.set_state(state | {"frames": []})


def test_a_state_holds_only_what_is_filled() -> None:
    replay, stream = make(2, capacity=10_000), EpisodeStream(2, 1, (3,), np.uint8, seed=3)
    for _ in range(5):
        replay.add(*stream.next())
    state = replay.get_state()
    assert state["frames"].shape == (10, 3)
    assert len(state["links"]) == len(state["returns"]) == len(replay)


def test_a_state_of_another_replay_is_refused() -> None:
    replay, state = make(2), make(3).get_state()
    with pytest.raises(ValueError, match="'num_envs': 3"):
        replay.set_state(state)
    state = make(2).get_state()
    with pytest.raises(ValueError, match="frames of the state"):
        replay.set_state(state | {"added": 4})
    with pytest.raises(ValueError, match="another kind of device"):
        replay.set_state(state | {"generator": torch.zeros(16, dtype=torch.uint8)})
    del state["links"]
    with pytest.raises(ValueError, match="lacks links"):
        replay.set_state(state)


def test_one_step_costs_one_frame() -> None:
    layout = ReplayLayout(64, 2, (4, 84, 84), torch.uint8, stack=4, n_step=3)
    replay = Replay(layout)
    assert replay.nbytes == Replay.required_bytes(layout) == layout.bytes
    assert replay._store._frames[0].nbytes == 7056
    more = replace(layout, capacity=66).bytes - replay.nbytes
    assert 2 * 7056 <= more < 2 * (7056 + 32)


def test_too_large_a_replay_is_refused_before_it_is_made() -> None:
    with pytest.raises(ValueError, match=r"a replay of 1,000,000,000 steps needs 7\d{3}\.\d GB"):
        Replay(ReplayLayout(1_000_000_000, 8, (4, 84, 84), torch.uint8, stack=4))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("obs", np.zeros((2, 4), np.uint8), r"obs must be \[2, 3\], got \[2, 4\]"),
        ("obs", np.zeros((2, 3), np.float32), "obs must be torch.uint8, got torch.float32"),
        ("action", np.zeros(3, np.int64), r"action must be \[2\], got \[3\]"),
        ("action", np.zeros(2), "action must be int64 or convert to it, got float64"),
        ("reward", np.zeros((2, 1)), r"reward must be \[2\]"),
        ("discount", ["a", "b"], "discount must be float64"),
        ("first", np.zeros(2), "first must be bool"),
    ],
)
def test_a_wrong_row_is_refused_and_leaves_no_trace(name: str, value: Any, message: str) -> None:
    replay = make(2)
    row = {
        "obs": np.zeros((2, 3), np.uint8),
        "action": [0, 0],
        "reward": [0, 0],
        "discount": [1, 1],
        "first": [True] * 2,
    }
    with pytest.raises(ValueError, match=message):
        replay.add(**(row | {name: value}))
    assert replay.get_state()["added"] == 0


def test_sampling_needs_a_transition_and_a_size() -> None:
    replay = make(1, frame=(1,))
    add_table(replay, [0], [1], [1])
    with pytest.raises(ValueError, match="nothing to sample after 1 rows"):
        replay.sample(1)
    with pytest.raises(ValueError, match="batch_size must be 1 or more"):
        replay.sample(0)


def test_arrays_may_be_reused_tensors_given_and_buffers_read_only() -> None:
    replay, other, stream = make(2), make(2), EpisodeStream(2, 1, (3,), np.uint8, seed=3)
    for _ in range(9):
        row = stream.next()
        reused = [array.copy() for array in row]
        reused[0].flags.writeable = False
        replay.add(*reused)
        for array in reused[1:]:
            array[:] = 0
        other.add(*map(torch.from_numpy, row))
    for one, two in zip(everything(replay), everything(other), strict=True):
        assert torch.equal(one, two)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_sampling_does_not_wait_for_the_device() -> None:
    replay, stream = make(2, 2, device="cuda"), EpisodeStream(2, 2, (3,), np.uint8, seed=3)
    for _ in range(9):
        replay.add(*stream.next())
    with nothing_waits():
        replay.sample(32)
