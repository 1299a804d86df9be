import itertools

import numpy as np
import pytest
import torch

from agents.on_policy.rollout import RolloutStorage, SampledAction
from envs import Chain
from envs.stream import first_rows
from tests.agents.contract import differences


def decision(n, k, action_size=0):
    action = torch.full((n, action_size), float(k)) if action_size else torch.full((n,), k)
    return SampledAction(action, torch.full((n,), -0.1 * k), torch.full((n,), 10.0 * k))


def played(storage, environment, rows, seed=0):
    """The rows `[rows + 1]` of a random game, all but the last of which were stored."""
    rng, timestep = np.random.default_rng(seed), environment.reset(seed)
    seen = [timestep]
    for k in range(rows):
        storage.add(timestep, decision(environment.num_envs, k))
        timestep = environment.step(rng.integers(2, size=environment.num_envs))
        storage.follow(timestep, 2 * timestep.reward)
        seen.append(timestep)
    return seen


def test_holds_the_rows_and_what_followed_each():
    environment = Chain(3, length=3, max_steps=4)
    storage = RolloutStorage(12, 3, (3,), torch.float32)
    seen = played(storage, environment, 12)
    rollout = storage.read()
    assert storage.full
    for t, (row, after) in enumerate(itertools.pairwise(seen)):
        assert np.array_equal(rollout.obs[t], row.obs)
        assert np.array_equal(rollout.first[t], row.first)
        assert np.array_equal(rollout.reward[t], 2 * after.reward)
        assert np.array_equal(rollout.discount[t], after.discount)
        assert np.array_equal(rollout.valid[t], ~row.last)  # no step leads from an episode's last row
        assert rollout.action[t].tolist() == [t] * 3
        assert rollout.value[t].tolist() == [10.0 * t] * 3
    assert not rollout.valid.all()


def test_what_was_read_of_the_host_is_not_overwritten():
    storage = RolloutStorage(4, 2, (4,), torch.float32)
    played(storage, Chain(2, length=4), 4)
    rollout = storage.read()
    valid = rollout.valid.clone()
    storage.clear()
    storage.add(first_rows(np.zeros((2, 4), np.float32)), decision(2, 7))
    storage.follow(first_rows(np.zeros((2, 4), np.float32)), np.zeros(2))
    assert torch.equal(rollout.valid, valid)
    assert not storage.read().valid.any()


def test_other_games_after_a_resume_are_no_step():
    """An environment that cannot be restored starts new games, though the row before was not an episode's last."""
    storage = RolloutStorage(4, 2, (4,), torch.float32)
    played(storage, Chain(2, length=4), 2)
    storage.add(first_rows(np.zeros((2, 4), np.float32)), decision(2, 2))
    storage.follow(Chain(2, length=4).reset(0)._replace(first=np.zeros(2, bool)), np.zeros(2))
    assert storage.read().valid.tolist() == [[True, True], [False, False], [True, True]]


@pytest.mark.parametrize(("shape", "dtype", "size"), [((4,), torch.float32, 0), ((2, 3, 3), torch.uint8, 2)])
def test_shapes_and_dtypes(shape, dtype, size):
    storage = RolloutStorage(5, 2, shape, dtype, action_size=size)
    obs = np.ones((2, *shape), np.uint8 if dtype is torch.uint8 else np.float32)
    storage.add(first_rows(obs), decision(2, 1, size))
    storage.follow(first_rows(obs), np.zeros(2))
    rollout = storage.read()
    assert (rollout.obs.shape, rollout.obs.dtype) == ((1, 2, *shape), dtype)
    assert rollout.action.shape == ((1, 2, size) if size else (1, 2))
    assert rollout.action.dtype == (torch.float32 if size else torch.int64)


def test_a_row_too_many_is_refused():
    storage = RolloutStorage(2, 2, (4,), torch.float32)
    played(storage, Chain(2, length=4), 2)
    with pytest.raises(RuntimeError, match=r"the rollout has its 2 rows: clear\(\)"):
        storage.add(first_rows(np.zeros((2, 4), np.float32)), decision(2, 2))


def test_what_is_looked_at_are_the_last_rows():
    storage = RolloutStorage(2, 1, (4,), torch.float32)
    assert storage.recent_obs() is None
    seen = played(storage, Chain(1, length=4), 2)
    for obs in (storage.recent_obs(), storage.clear() or storage.recent_obs()):
        assert np.array_equal(obs, np.concatenate([row.obs for row in seen[:2]]))


def test_one_observation_is_not_enough_to_look_at():
    storage = RolloutStorage(2, 1, (4,), torch.float32)
    played(storage, Chain(1, length=4), 1)
    assert storage.recent_obs() is None


def test_goes_on_from_its_state():
    first, second = (RolloutStorage(6, 3, (4,), torch.float32) for _ in range(2))
    played(first, Chain(3, length=4), 4)
    second.set_state(first.get_state())
    assert len(second) == 4
    assert differences(first.read()._asdict(), second.read()._asdict()) == []
