import copy
import math
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cuda import nothing_waits
from tests.wnrl.streams import DEVICES, GAMMA, EpisodeStream, Twin
from wnrl.checkpoints.tensor_files import read_checkpoint, write_checkpoint
from wnrl.replay import sum_tree
from wnrl.replay.layout import ReplayLayout
from wnrl.replay.prioritized import PrioritizedReplay
from wnrl.replay.uniform import Replay, Transition


class PriorityTwin(Twin):
    """All transitions ever, numbered, with their priorities in a list."""

    def __init__(self, capacity: int, num_envs: int, n_step: int, alpha: float):
        super().__init__(capacity, num_envs, n_step)
        self.keys: list[tuple[int, int]] = []  # row and environment
        self.priorities: list[float] = []
        self.alpha, self.greatest = alpha, 1.0

    @property
    def newest(self) -> int:
        return len(self.rows) - 1 - self.n_step

    def add(self, row: Any) -> None:
        self.rows.append(row)
        for env in range(self.num_envs):
            if self.newest >= 0 and self.transition(self.newest, env) is not None:
                self.keys.append((self.newest, env))
                self.priorities.append(self.greatest)

    def numbers(self) -> list[int]:
        """Those that are held."""
        return [number for number, (t, _) in enumerate(self.keys) if t > self.newest - self.held]

    def update(self, indices: list[int], errors: list[float]) -> None:
        held = set(self.numbers())
        for index in held & set(indices):
            error = max(abs(e) for other, e in zip(indices, errors, strict=True) if other == index)
            self.priorities[index] = (error + 1e-6) ** self.alpha
            self.greatest = max(self.greatest, self.priorities[index])

    def weights(self, indices: list[int], beta: float) -> np.ndarray:
        numbers = self.numbers()
        chance = np.array([self.priorities[index] for index in indices]) / sum(self.priorities[n] for n in numbers)
        weights = (len(numbers) * chance) ** -beta
        return weights / weights.max()


def make(num_envs: int, stack: int = 1, capacity: int = 100, **kwargs: Any) -> PrioritizedReplay:
    shape = (2,) if stack == 1 else (stack, 2)
    layout = ReplayLayout(capacity, num_envs, shape, torch.uint8, stack=stack, n_step=kwargs.pop("n_step", 1))
    return PrioritizedReplay(layout, gamma=GAMMA, **kwargs)


def filled(rows: int, seed: int = 1, **kwargs: Any) -> PrioritizedReplay:
    """With two environments of random episodes."""
    replay, stream = make(2, **kwargs), EpisodeStream(2, 1, (2,), np.uint8, seed)
    for _ in range(rows):
        replay.add(*stream.next())
    return replay


def line(count: int, **kwargs: Any) -> PrioritizedReplay:
    """One episode, in which the action is the transition's number."""
    replay = make(1, **kwargs)
    for t in range(count + 1):
        replay.add(np.zeros((1, 2), np.uint8), [t], [0.0], [1.0], [t == 0])
    return replay


def priorities(replay: PrioritizedReplay) -> np.ndarray:
    return replay._tree.weights(torch.arange(replay._store.starts + 1, device=replay._store.device)).cpu().numpy()


def check_priorities(replay: PrioritizedReplay, twin: PriorityTwin) -> None:
    expected = np.zeros(replay._store.starts + 1)
    for number in twin.numbers():
        expected[number % replay._store.starts] = twin.priorities[number]
    np.testing.assert_allclose(priorities(replay), expected, rtol=1e-12, atol=0)
    assert len(replay) == len(twin.numbers()) == (expected > 0).sum()


def check_batch(batch: Any, twin: PriorityTwin, beta: float) -> None:
    indices = batch.indices.tolist()
    assert set(indices) <= set(twin.numbers())
    expected = zip(*(twin.transition(*twin.keys[index]) for index in indices), strict=True)
    for name, got, want in zip(Transition._fields, batch.transition, expected, strict=True):
        np.testing.assert_array_equal(got.cpu().numpy(), np.stack(want), err_msg=name)
    np.testing.assert_allclose(batch.weights.cpu(), twin.weights(indices, beta), rtol=1e-6)


def test_numbers_that_are_not_given() -> None:
    config = PrioritizedReplay(ReplayLayout(10, 1, (2,), torch.uint8)).get_state()["config"]
    assert (config["gamma"], config["alpha"]) == (0.99, 0.5)


def test_errors_may_be_of_a_graph() -> None:
    replay = line(3, alpha=1.0)
    replay.update_priorities(torch.tensor([1]), torch.tensor([5.0], requires_grad=True))
    replay.update_priorities(torch.tensor([1]), torch.tensor([-3.0], requires_grad=True))
    np.testing.assert_allclose(priorities(replay)[:3], [1, 3, 1], rtol=1e-6)
    assert not replay.sample_by_priority(2, 1.0).weights.requires_grad


def test_draws_are_those_of_the_seed() -> None:
    def draws(seed: int) -> list[int]:
        replay, stream = make(2, seed=seed), EpisodeStream(2, 1, (2,), np.uint8, seed=5)
        for _ in range(60):
            replay.add(*stream.next())
        return replay.sample_by_priority(20, 0.4).indices.tolist()

    assert draws(1) == draws(1) != draws(2)


@pytest.mark.parametrize("num_envs", [1, 3])
def test_bytes_are_counted_before_it_is_made_whatever_the_size(num_envs: int) -> None:
    for capacity in (1, 2, 7, 8, 26, 27, 63, 64, 124, 125, 126):
        layout = ReplayLayout(capacity, num_envs, (2,), torch.uint8)
        assert PrioritizedReplay.required_bytes(layout) == PrioritizedReplay(layout).nbytes


@pytest.mark.parametrize("device", DEVICES)
@settings(max_examples=40, deadline=None)
@given(
    num_envs=st.integers(1, 4),
    stack=st.integers(1, 3),
    n_step=st.integers(1, 4),
    capacity=st.integers(1, 30),
    p_end=st.sampled_from([0.02, 0.2, 0.7]),
    alpha=st.sampled_from([0.0, 0.5, 1.0]),
    seed=st.integers(0, 2**31),
)
def test_does_what_the_naive_twin_does(
    device: str, num_envs: int, stack: int, n_step: int, capacity: int, p_end: float, alpha: float, seed: int
) -> None:
    replay = make(num_envs, stack, capacity, n_step=n_step, alpha=alpha, device=device)
    twin, stream = (
        PriorityTwin(capacity, num_envs, n_step, alpha),
        EpisodeStream(num_envs, stack, (2,), np.uint8, seed, p_end),
    )
    batches: list[list[int]] = []
    for _ in range(2 * replay._store.frame_rows + 10):
        row = stream.next()
        replay.add(*row)
        twin.add(row)
        check_priorities(replay, twin)
        if len(replay):
            batch = replay.sample_by_priority(5, beta=0.4)
            check_batch(batch, twin, 0.4)
            batches.append(batch.indices.tolist())
        if batches and stream.rng.random() < 0.5:
            indices = batches[stream.rng.integers(max(0, len(batches) - 20), len(batches))]  # of now, or long gone
            errors = stream.rng.normal(size=5) * 4
            replay.update_priorities(torch.tensor(indices, device=device), torch.tensor(errors, device=device))
            twin.update(indices, errors.tolist())
            check_priorities(replay, twin)


def test_what_was_dropped_is_never_sampled() -> None:
    replay, stream = make(3, capacity=60, n_step=2), EpisodeStream(3, 1, (2,), np.uint8, seed=4, p_end=0.3)
    generator, stale, gone = torch.Generator().manual_seed(0), torch.zeros(1, dtype=torch.int64), 0
    for _ in range(1000):
        replay.add(*stream.next())
        if not len(replay):
            continue
        replay.update_priorities(stale, torch.full(stale.shape, 1e6))
        indices = replay.sample_by_priority(20, 1.0, generator).indices
        assert ((indices >= replay._oldest) & (indices < replay._released)).all()
        if stream.rng.random() < 0.05:  # keep it until it is stale
            gone += int((stale < replay._oldest).sum())
            stale = indices
    assert gone > 150


@pytest.mark.parametrize("device", DEVICES)
def test_frequencies_are_in_proportion_to_priorities(device: str) -> None:
    replay = line(50, alpha=0.5, capacity=50, device=device)
    errors = torch.arange(50, device=device) % 7.0
    replay.update_priorities(torch.arange(50, device=device), -errors)
    seen = torch.zeros(50, device=device)
    for _ in range(2000):
        batch = replay.sample_by_priority(32, 0.5)
        assert torch.equal(batch.indices, batch.transition.action)
        seen += batch.indices.bincount(minlength=50)
    chance = (errors + 1e-6).sqrt() / (errors + 1e-6).sqrt().sum()
    expected = chance * 64_000
    statistic = float(((seen - expected) ** 2 / expected).sum())
    assert statistic < 50 + 5 * math.sqrt(2 * 50)  # chi-square; stratified draws stay below it
    assert float(((seen - 64_000 / 50) ** 2 / (64_000 / 50)).sum()) > 10_000  # uniform draws would be far off


def test_without_alpha_draws_are_uniform_whatever_the_errors() -> None:
    replay = line(50, alpha=0.0, capacity=50)
    replay.update_priorities(torch.arange(50), torch.arange(50) ** 2.0)
    seen, weights = torch.zeros(50), []
    for _ in range(2000):
        batch = replay.sample_by_priority(32, 1.0)
        seen += batch.indices.bincount(minlength=50)
        weights.append(batch.weights)
    assert float(((seen - 1280) ** 2 / 1280).sum()) < 50 + 5 * math.sqrt(2 * 50)
    assert (torch.cat(weights) == 1).all()


def test_each_segment_of_the_total_gets_one_draw() -> None:
    replay = line(40, alpha=1.0, capacity=40)
    for seed in range(20):
        indices = replay.sample_by_priority(10, 0.0, torch.Generator().manual_seed(seed)).indices
        assert (indices // 4).tolist() == list(range(10))  # uniform draws would leave some out


def test_importance_weights_table() -> None:
    replay = line(4, alpha=1.0, capacity=4)
    replay.update_priorities(torch.arange(4), torch.tensor([1.0, 2.0, 4.0, 1.0]) - 1e-6)
    batch = replay.sample_by_priority(8, beta=1.0)  # segments of 1: no draw depends on chance
    assert batch.indices.tolist() == [0, 1, 1, 2, 2, 2, 2, 3]
    # (N P)^-1 = 2, 1, 1/2, 2 and their greatest 2
    torch.testing.assert_close(batch.weights, torch.tensor([1, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25, 1]))
    half = replay.sample_by_priority(8, beta=0.5).weights
    torch.testing.assert_close(half, torch.tensor([1, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25, 1]).sqrt())
    assert (replay.sample_by_priority(8, beta=0.0).weights == 1).all()


def test_importance_weights_undo_the_bias() -> None:
    replay = line(30, alpha=1.0, capacity=30)
    replay.update_priorities(torch.arange(30), 0.1 + torch.arange(30.0))
    batch = replay.sample_by_priority(100_000, beta=1.0)
    mean = float((batch.weights * batch.indices).sum() / batch.weights.sum())
    assert mean == pytest.approx(14.5, abs=0.1)
    assert float(batch.indices.double().mean()) > 19  # without them


class Parts:
    """Two parts of one buffer, drawn from at the same time in threads."""

    def __init__(self, *parts: PrioritizedReplay):
        self.parts, self.numbers = parts, [torch.zeros(3)] * len(parts)
        self.barrier = threading.Barrier(len(parts))

    def draw(self, batch_size: int, beta: float) -> list[Any]:
        with ThreadPoolExecutor(len(self.parts)) as pool:
            return list(pool.map(lambda index: self._draw(index, batch_size, beta), range(len(self.parts))))

    def _draw(self, index: int, batch_size: int, beta: float) -> Any:
        def gather(numbers: torch.Tensor) -> torch.Tensor:
            self.numbers[index] = numbers
            self.barrier.wait(10)
            together = torch.stack(self.numbers)
            self.barrier.wait(10)
            return together

        return self.parts[index].sample_by_priority(batch_size, beta, gather=gather)


def test_weights_of_parts_table() -> None:
    """Total priorities of 4 and 12: a transition of the second part is drawn a third as often as from the whole."""
    first, second = (line(4, alpha=1.0, capacity=4) for _ in range(2))
    first.update_priorities(torch.arange(4), torch.tensor([0.5, 0.5, 1.0, 2.0]) - 1e-6)
    second.update_priorities(torch.arange(4), torch.tensor([4.0, 4.0, 2.0, 2.0]) - 1e-6)
    one, other = Parts(first, second).draw(8, 1.0)
    torch.testing.assert_close(
        one.weights, 0.5 / 4 * 2 * torch.tensor([2, 2, 1, 1, 0.5, 0.5, 0.5, 0.5]), rtol=1e-5, atol=0
    )
    torch.testing.assert_close(
        other.weights,
        1.5 * torch.tensor([1 / 8] * 5 + [1 / 4] * 3).where(other.indices < 2, torch.tensor(1 / 4)),
        rtol=1e-5,
        atol=0,
    )
    assert float(first._greatest) == float(second._greatest) == pytest.approx(4)  # of both


def test_a_buffer_in_parts_teaches_what_the_whole_one_does() -> None:
    """The mean of draws x weight over many batches, for each transition: its share in the gradient."""
    rng = np.random.default_rng(0)
    easy, hard = 0.01 * rng.uniform(0.5, 2, 50), np.full(50, 1.0)
    easy[0] = 1.0

    def replay_of(errors: np.ndarray) -> PrioritizedReplay:
        replay = line(len(errors), alpha=0.5, capacity=len(errors))
        replay.update_priorities(torch.arange(len(errors)), torch.as_tensor(errors))
        return replay

    def influence(draws: list[list[Any]]) -> np.ndarray:
        total = np.zeros(100)
        for batches in draws:
            for part, batch in enumerate(batches):
                np.add.at(total, batch.indices.numpy() + 50 * part, batch.weights.numpy() / len(batches))
        return total / total.sum()

    whole, parts = replay_of(np.concatenate([easy, hard])), (replay_of(easy), replay_of(hard))
    one = influence([[whole.sample_by_priority(256, 0.4)] for _ in range(250)])
    together = influence([Parts(*parts).draw(128, 0.4) for _ in range(250)])
    alone = influence([[part.sample_by_priority(128, 0.4) for part in parts] for _ in range(250)])
    assert one[1:50].sum() == pytest.approx(0.203, abs=0.003)
    assert together[1:50].sum() == pytest.approx(one[1:50].sum(), abs=0.003)
    assert alone[1:50].sum() > 0.39  # each with weights of its own


def test_new_transitions_get_the_greatest_priority_so_far() -> None:
    replay = line(3, alpha=1.0)
    assert priorities(replay)[:4].tolist() == [1, 1, 1, 0]
    replay.update_priorities(torch.tensor([0, 1]), torch.tensor([-5.0, 0.5]))
    replay.update_priorities(torch.tensor([0]), torch.tensor([0.25]))
    replay.add(np.zeros((1, 2), np.uint8), [0], [0.0], [1.0], [False])
    np.testing.assert_allclose(priorities(replay)[:5], [0.25, 0.5, 1, 5, 0], atol=2e-6)


def test_an_error_of_0_leaves_a_transition_within_reach() -> None:
    replay = line(3, alpha=1.0)
    replay.update_priorities(torch.arange(3), torch.zeros(3))
    assert sorted(replay.sample_by_priority(3, 1.0).indices.tolist()) == [0, 1, 2]


def test_an_index_that_was_overwritten_keeps_the_newer_transitions_priority() -> None:
    replay = line(4, alpha=1.0, capacity=4)
    indices = replay.sample_by_priority(4, 0.5).indices
    assert indices.tolist() == [0, 1, 2, 3]
    for _ in range(2):
        replay.add(np.zeros((1, 2), np.uint8), [0], [0.0], [1.0], [False])
    replay.update_priorities(indices, torch.tensor([7.0, 8.0, 0.25, 0.5]))
    np.testing.assert_allclose(priorities(replay), [1, 1, 0.25, 0.5, 0], atol=2e-6)
    assert float(replay._greatest) == 1  # what is gone does not count here either
    assert replay.sample_by_priority(1000, 0.5).indices.unique().tolist() == [2, 3, 4, 5]


def test_indices_that_never_were_are_ignored() -> None:
    replay = line(4, capacity=8)
    before = priorities(replay)
    replay.update_priorities(torch.tensor([-1, 4, 5, 100]), torch.full((4,), 9.0))
    assert (priorities(replay) == before).all()


def test_uniform_draws_are_those_of_a_plain_replay() -> None:
    replay, stream = filled(30), EpisodeStream(2, 1, (2,), np.uint8, seed=1)
    plain = Replay(ReplayLayout(100, 2, (2,), torch.uint8), gamma=GAMMA)
    for _ in range(30):
        plain.add(*stream.next())
    for one, other in zip(replay.sample(9), plain.sample(9), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("device", DEVICES)
def test_shapes_and_types(device: str) -> None:
    batch = filled(20, device=device).sample_by_priority(7, 0.5)
    assert (batch.indices.shape, batch.indices.dtype) == ((7,), torch.int64)
    assert (batch.weights.shape, batch.weights.dtype) == ((7,), torch.float32)
    assert batch.transition.obs.shape == (7, 2)
    assert {x.device.type for x in (batch.indices, batch.weights, *batch.transition)} == {device}


def test_a_draw_with_another_generator_leaves_the_replays_own_as_it_was() -> None:
    one, other = filled(20), filled(20)
    one.sample_by_priority(9, 0.5, torch.Generator().manual_seed(7))
    assert torch.equal(one.sample_by_priority(9, 0.5).indices, other.sample_by_priority(9, 0.5).indices)


@pytest.mark.parametrize("rows", [0, 2, 30])
def test_a_state_continues_bit_for_bit(rows: int, tmp_path: Path) -> None:
    stream, rng = EpisodeStream(2, 1, (2,), np.uint8, seed=3), torch.Generator().manual_seed(0)
    replay, restored = filled(rows, n_step=3, capacity=20), filled(9, n_step=3, capacity=20, seed=2)
    if len(replay):
        replay.update_priorities(replay.sample_by_priority(5, 0.5).indices, torch.randn(5, generator=rng) * 3)
    write_checkpoint(tmp_path / "state", replay.get_state())
    restored.set_state(read_checkpoint(tmp_path / "state"))
    for _ in range(25):
        row = stream.next()
        for each in (replay, restored):
            each.add(*row)
        if not len(replay):
            continue
        one, other, errors = (
            replay.sample_by_priority(9, 0.6),
            restored.sample_by_priority(9, 0.6),
            torch.randn(9, generator=rng),
        )
        assert all(map(torch.equal, (*one.transition, *one[1:]), (*other.transition, *other[1:])))
        for each in (replay, restored):
            each.update_priorities(one.indices, errors)
    assert (priorities(replay) == priorities(restored)).all()
    assert torch.equal(replay._greatest, restored._greatest)


def test_a_state_of_another_replay_is_refused_and_changes_nothing() -> None:
    replay = filled(30)
    before = copy.deepcopy(replay.get_state())
    plain = Replay(ReplayLayout(100, 2, (2,), torch.uint8), gamma=GAMMA).get_state()
    with pytest.raises(ValueError, match="lacks greatest, tree"):
        replay.set_state(plain)
    with pytest.raises(ValueError, match=r"'alpha': 0\.7"):
        replay.set_state(filled(9, alpha=0.7).get_state())
    with pytest.raises(ValueError, match="sums of the state"):
        replay.set_state(filled(9).get_state() | {"tree": {}})
    assert torch.equal(replay.get_state()["links"], before["links"])
    assert torch.equal(replay.get_state()["tree"]["sums"], before["tree"]["sums"])


def test_bytes_are_counted_with_the_tree() -> None:
    layout = ReplayLayout(65, 2, (4, 84, 84), torch.uint8, stack=4, n_step=3)
    replay = PrioritizedReplay(layout)
    assert replay.nbytes == PrioritizedReplay.required_bytes(layout)
    assert replay.nbytes > layout.bytes + 66 * 8
    atari = ReplayLayout(1_000_000, 8, (4, 84, 84), torch.uint8, stack=4)
    assert PrioritizedReplay.required_bytes(atari) - atari.bytes < 8.5e6


def test_too_large_a_replay_is_refused_before_it_is_made() -> None:
    with pytest.raises(ValueError, match=r"a replay of 1,000,000,000 steps needs 7\d{3}\.\d GB"):
        PrioritizedReplay(ReplayLayout(1_000_000_000, 8, (4, 84, 84), torch.uint8, stack=4))


@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan])
def test_exponents_lie_between_0_and_1(value: float) -> None:
    with pytest.raises(ValueError, match="alpha must lie between 0 and 1, got"):
        make(1, alpha=value)
    with pytest.raises(ValueError, match="beta must lie between 0 and 1, got"):
        line(3).sample_by_priority(1, value)


def test_sampling_needs_a_transition_and_a_size() -> None:
    with pytest.raises(ValueError, match="nothing to sample after 0 rows"):
        make(1).sample_by_priority(1, 0.5)
    with pytest.raises(ValueError, match="batch_size must be 1 or more"):
        line(3).sample_by_priority(0, 0.5)


@pytest.mark.parametrize(("indices", "errors"), [((2,), (3,)), ((2, 1), (2, 1)), ((0,), (0,))])
def test_indices_and_errors_must_match(indices: tuple, errors: tuple) -> None:
    with pytest.raises(ValueError, match=r"indices and errors must be \[B\] both, got"):
        line(3).update_priorities(torch.zeros(indices, dtype=torch.int64), torch.zeros(errors))


BAD = [math.nan, math.inf, -math.inf]


@pytest.mark.parametrize("bad", BAD)
def test_an_error_that_is_not_finite_is_refused_and_changes_nothing(bad: float) -> None:
    replay = line(20, alpha=0.6)
    before = priorities(replay)
    with pytest.raises(ValueError, match="errors must be finite"):
        replay.update_priorities(torch.tensor([3, 4]), torch.tensor([bad, 2.0]))
    assert (priorities(replay) == before).all()
    assert float(replay._greatest) == 1
    replay.update_priorities(torch.tensor([3]), torch.tensor([1.0]))  # it can go on


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("bad", BAD)
def test_where_nothing_waits_a_bad_error_is_reported_later_and_spoils_nothing(
    bad: float, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    replay = line(20, alpha=1.0, device=device)
    with monkeypatch.context() as patch:
        patch.setattr(sum_tree, "HOST_READABLE", ())  # as on a GPU
        replay.update_priorities(torch.tensor([3, 4], device=device), torch.tensor([bad, 2.0], device=device))
    np.testing.assert_allclose(priorities(replay)[:6], [1, 1, 1, 1, 2, 1], atol=2e-6)
    replay.add(np.zeros((1, 2), np.uint8), [0], [0.0], [1.0], [False])
    np.testing.assert_allclose(priorities(replay)[20], 2, atol=2e-6)  # a new one gets the greatest finite priority
    assert replay.sample_by_priority(64, 0.5).weights.isfinite().all()
    with pytest.raises(ValueError, match="errors must be finite"):
        replay.check()
    replay.check()  # once


def test_priorities_of_a_checkpoint_are_finite() -> None:
    replay = line(20)
    state = copy.deepcopy(replay.get_state())
    state["tree"]["sums"][-1] = math.nan
    with pytest.raises(ValueError, match="weights must be finite and not negative, got nan"):
        line(20).set_state(state)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_nothing_waits_for_the_device() -> None:
    replay, stream = filled(60, capacity=40, device="cuda"), EpisodeStream(2, 1, (2,), np.uint8, seed=5)
    row, errors = stream.next(), torch.randn(32, device="cuda")
    with nothing_waits():
        replay.add(*row)
        replay.update_priorities(replay.sample_by_priority(32, 0.5).indices, errors)
