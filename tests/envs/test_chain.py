import numpy as np
import pytest

from envs import Chain

RIGHT, LEFT = np.array([1]), np.array([0])


def test_going_right_reaches_the_reward_and_starts_again():
    env = Chain(length=3)
    rows = [env.reset(seed=0)] + [env.step(RIGHT) for _ in range(4)]
    assert [r.obs[0].tolist() for r in rows] == [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0], [0, 1, 0]]
    assert [r.reward[0] for r in rows] == [0, 0, 1, 0, 0]
    assert [r.discount[0] for r in rows] == [1, 1, 0, 1, 1]
    assert [r.first[0] for r in rows] == [True, False, False, True, False]
    assert [r.last[0] for r in rows] == [False, False, True, False, False]
    assert [field.dtype for field in rows[1][:3]] == [np.float32, np.float64, np.float32]


def test_truncation_ends_the_episode_and_keeps_the_discount():
    env = Chain(length=3, max_steps=2)
    env.reset()
    first, second, third = (env.step(LEFT) for _ in range(3))
    assert not first.last[0]
    assert second.last[0]
    assert second.discount[0] == 1
    assert third.first[0]


def test_reaching_the_end_in_the_last_step_is_termination():
    env = Chain(length=3, max_steps=2)
    env.reset()
    env.step(RIGHT)
    end = env.step(RIGHT)
    assert (end.last[0], end.discount[0], end.reward[0]) == (True, 0, 1)


def test_environments_are_independent():
    env = Chain(num_envs=2, length=3)
    env.reset()
    for _ in range(2):
        step = env.step(np.array([1, 0]))
    assert step.last.tolist() == [True, False]
    assert step.obs.tolist() == [[0, 0, 1], [1, 0, 0]]


def test_slip_turns_moves_around():
    env = Chain(num_envs=2000, length=3, slip=0.25)
    env.reset(seed=0)
    moved = env.step(np.ones(2000, np.int64)).obs[:, 1].mean()
    assert 0.71 < moved < 0.79
    assert Chain(length=3, slip=1.0).reset().first.all()
    turned = Chain(length=3, slip=1.0)
    turned.reset()
    assert turned.step(LEFT).obs[0].tolist() == [0, 1, 0]


def test_optimal_values():
    np.testing.assert_allclose(Chain(length=4).optimal_values(0.5), [0.25, 0.5, 1.0, 0.0])
    np.testing.assert_allclose(Chain(length=2).optimal_values(0.0), [1.0, 0.0])
    with pytest.raises(ValueError, match=r"slip 0 only, got slip 0\.1"):
        Chain(slip=0.1).optimal_values(0.9)


def test_optimal_values_are_those_of_value_iteration():
    gamma, values = 0.9, np.zeros(6)
    for _ in range(50):
        for s in range(5):
            right = 1.0 if s == 4 else gamma * values[s + 1]
            values[s] = max(right, gamma * values[max(s - 1, 0)])
    np.testing.assert_allclose(Chain(length=6).optimal_values(gamma), values)


def play(env, actions):
    return [np.concatenate([np.ravel(field) for field in env.step(a)]) for a in actions]


@pytest.mark.parametrize("before", [0, 7, 50])
def test_state_round_trips_bit_for_bit(before):
    actions = np.random.default_rng(0).integers(0, 2, (200, 3))
    env = Chain(num_envs=3, length=4, max_steps=9, slip=0.3)
    env.reset(seed=5)
    play(env, actions[:before])
    state = env.get_state()
    expected = play(env, actions[before:])
    other = Chain(num_envs=3, length=4, max_steps=9, slip=0.3)
    other.set_state(state)
    for key, value in other.get_state().items():
        np.testing.assert_array_equal(value, state[key], strict=True)
    np.testing.assert_array_equal(play(other, actions[before:]), expected)


def test_seeds():
    def rows(seed):
        env = Chain(num_envs=4, slip=0.5)
        env.reset(seed=seed)
        return np.array(play(env, np.ones((50, 4), np.int64)))

    np.testing.assert_array_equal(rows(1), rows(1))
    assert (rows(1) != rows(2)).any()


@pytest.mark.parametrize("wrong", [{"length": 1}, {"max_steps": 0}, {"slip": 1.5}])
def test_wrong_numbers(wrong):
    with pytest.raises(ValueError, match="length >= 2"):
        Chain(**wrong)
