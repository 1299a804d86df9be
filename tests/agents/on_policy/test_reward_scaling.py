import gymnasium
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from agents.on_policy.reward_scaling import RewardClipping, RewardScaling
from envs import TimeStep
from tests.agents.contract import differences


def rows(rewards, first=(), discount=None):
    """Time steps of one environment from rewards `[T]`; `first` are the rows that begin an episode."""
    for t, reward in enumerate(rewards):
        begins = np.array([t in first])
        gone_on = np.ones(1, np.float32) if discount is None else np.array([discount[t]], np.float32)
        yield TimeStep(np.zeros((1, 1)), np.array([0.0 if begins[0] else reward], np.float32), gone_on, begins, ~begins)


def naive(rewards, first, discount, gamma):
    """Rewards over the standard deviation of all returns so far, from the list of them."""
    returns, total, scaled = [], 0.0, []
    for t, reward in enumerate(rewards):
        if t in first:
            total = 0.0
            continue
        total = gamma * total + reward
        returns.append(total)
        scaled.append(reward / np.sqrt(np.var(returns) + 1e-8))
        total *= discount[t]
    return scaled


def test_rewards_are_divided_by_the_deviation_of_the_returns_so_far():
    rng = np.random.default_rng(0)
    rewards, discount = rng.normal(3, 2, 400), (rng.random(400) < 0.9).astype(float)
    first = {0, 37, 120, 310}
    scale = RewardScaling(1, 0.95)
    got = [scale(row)[0] for row in rows(rewards, first, discount)]
    got = [value for t, value in enumerate(got) if t not in first]
    expected = np.clip(naive(rewards, first, discount, 0.95), -10, 10)
    # the count begins at 1e-4, as that of stable-baselines3
    assert np.array(got[50:]) == pytest.approx(expected[50:], rel=1e-4)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    num_envs=st.integers(1, 4),
    length=st.integers(1, 20),
    gamma=st.sampled_from([0.0, 0.9, 1.0]),
    eps=st.sampled_from([1e-8, 0.5]),
)
def test_the_variance_is_that_of_all_returns_of_all_environments(seed, num_envs, length, gamma, eps):
    rng, scale = np.random.default_rng(seed), RewardScaling(num_envs, gamma, clip=1e9, eps=eps)
    totals, returns = np.zeros(num_envs), []
    for _ in range(length):
        reward = rng.normal(2, 3, num_envs)
        first, discount = rng.random(num_envs) < 0.3, (rng.random(num_envs) < 0.8).astype(np.float32)
        got = scale(TimeStep(np.zeros((num_envs, 1)), reward, discount, first, ~first))
        for env in range(num_envs):
            totals[env] = 0.0 if first[env] else gamma * totals[env] + reward[env]
            returns += [] if first[env] else [totals[env]]
            totals[env] *= discount[env]
        # 1e-4 returns of mean 0 and variance 1 come before all others, as in stable-baselines3
        weight, squares = 1e-4 + len(returns), 1e-4 + np.sum(np.square(returns))
        variance = squares / weight - (np.sum(returns) / weight) ** 2
        assert scale.get_state()["variance"] == pytest.approx(variance, rel=1e-6)
        assert got[~first] == pytest.approx(reward[~first] / np.sqrt(variance + eps), rel=1e-5)
    assert scale.get_state()["count"] == pytest.approx(weight)
    assert scale.get_state()["mean"] == pytest.approx(np.sum(returns) / weight)


def test_a_life_lost_ends_the_return():
    with_life, without = RewardScaling(1, 1.0), RewardScaling(1, 1.0)
    ones = [1.0] * 100
    for row in rows(ones, discount=[0.0] * 100):
        with_life(row)
    for row in rows(ones):
        without(row)
    assert with_life.get_state()["variance"] < 0.1
    assert without.get_state()["variance"] > 100


def test_first_rows_are_not_counted():
    scale, other = RewardScaling(1, 0.9), RewardScaling(1, 0.9)
    for row in rows([1.0, 2.0, 3.0]):
        scale(row)
    for row in rows([1.0, 2.0, 3.0, 99.0], first={3}):
        other(row)
    assert scale.get_state()["count"] == other.get_state()["count"]
    assert other.get_state()["return"] == 0


def test_equals_the_scaling_of_stable_baselines3():
    reference = VecNormalize(DummyVecEnv([lambda: gymnasium.make("Pendulum-v1")]), gamma=0.95, norm_obs=False)
    reference.returns = np.zeros(1)
    rng, scale = np.random.default_rng(0), RewardScaling(1, 0.95)
    for row in rows(rng.normal(-5, 3, 200)):
        reference._update_reward(row.reward)
        assert scale(row) == pytest.approx(reference.normalize_reward(row.reward), rel=1e-4)


def test_large_rewards_are_clipped():
    scale = RewardScaling(1, 0.0, clip=2.0)
    got = [scale(row)[0] for row in rows([0.1, -0.1] * 50 + [50.0, -50.0])]
    assert got[-2:] == [2.0, -2.0]


def test_the_scale_goes_on_from_its_state():
    rng = np.random.default_rng(1)
    first, second = RewardScaling(1, 0.9), RewardScaling(1, 0.9)
    for row in rows(rng.normal(size=30)):
        first(row)
    second.set_state(first.get_state())
    for row in rows(rng.normal(size=30)):
        assert first(row) == second(row)
    assert differences(first.get_state(), second.get_state()) == []


def test_clipping():
    row = next(rows([5.0]))
    assert RewardClipping(1.0)(row).tolist() == [1.0]
    assert RewardClipping(0.0)(row).tolist() == [5.0]
    assert RewardClipping(1.0)(next(rows([-5.0]))).tolist() == [-1.0]
    assert RewardClipping(1.0)(next(rows([0.5]))).tolist() == [0.5]
    assert RewardClipping(1.0).get_state() == {}
    assert RewardClipping(2.0, scale=0.25)(row).tolist() == [0.5]
    assert RewardClipping(0.0, scale=3.0)(row).dtype == np.float32
    assert row.reward.tolist() == [5.0]
