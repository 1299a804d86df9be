import numpy as np
import pytest

from envs.stream import (
    Environment,
    StateError,
    TimeStep,
    check_action,
    check_num_envs,
    clip_action,
    first_rows,
    restored_row,
)


class Still(Environment):
    """The least that an environment can be."""

    num_envs, num_actions, obs_shape, obs_dtype = 1, 2, (3,), np.dtype(np.float32)

    def reset(self, seed=None):
        return first_rows(np.zeros((1, 3), np.float32))

    def step(self, action):
        return self.reset()


def test_first_rows_have_no_reward_and_go_on():
    obs = np.ones((2, 3), np.float32)
    step = first_rows(obs)
    assert TimeStep._fields == ("obs", "reward", "discount", "first", "last")
    assert step.obs is obs
    np.testing.assert_array_equal(step.reward, np.array([0, 0], np.float64), strict=True)
    np.testing.assert_array_equal(step.discount, np.array([1, 1], np.float32), strict=True)
    np.testing.assert_array_equal(step.first, [True, True], strict=True)
    np.testing.assert_array_equal(step.last, [False, False], strict=True)


def test_a_stored_row_is_one_of_the_environment():
    row = first_rows(np.ones((1, 3), np.float32))
    restored = restored_row(row._asdict(), Still())
    assert all(value is array for value, array in zip(restored, row, strict=True))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("obs", np.ones((1, 4), np.float32)),
        ("obs", np.ones((2, 3), np.float32)),
        ("obs", np.ones((1, 3))),
        ("reward", np.ones(1, np.float32)),
        ("discount", np.ones(1)),
        ("first", np.ones(1)),
        ("last", None),
        ("last", [True]),
    ],
)
def test_a_stored_row_of_something_else_is_refused(field, value):
    row = first_rows(np.ones((1, 3), np.float32))._asdict() | {field: value}
    with pytest.raises(StateError, match=f"the row's {field} must be"):
        restored_row(row, Still())


def test_a_plain_environment_has_no_history_no_picture_and_no_state():
    env = Still()
    assert (env.stack, env.frame_skip, env.resumable) == (1, 1, False)
    with pytest.raises(RuntimeError, match="Still has no picture to render"):
        env.render()
    with pytest.raises(RuntimeError, match="Still cannot be saved"):
        env.get_state()
    with pytest.raises(RuntimeError, match="Still cannot be restored"):
        env.set_state({})
    env.close()


def test_a_step_can_be_asked_for_and_fetched():
    env, actions = Still(), []
    env.step = lambda action: actions.append(action) or env.reset()
    for action in (1, 0):
        env.send(np.array([action]))
        assert env.recv().obs.shape == (1, 3)
    assert np.concatenate(actions).tolist() == [1, 0]


def test_actions_are_discrete_unless_bounds_are_given():
    env = Still()
    assert (env.action_low, env.action_high, env.action_size) == (None, None, 0)
    env.num_actions, env.action_low, env.action_high = 0, np.zeros(3, np.float32), np.ones(3, np.float32)
    assert env.action_size == 3
    assert Still.action_low is None


def test_actions_are_checked_and_made_int64():
    checked = check_action(np.array([0, 2], np.uint8), 2, 3)
    np.testing.assert_array_equal(checked, np.array([0, 2], np.int64), strict=True)


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (np.array([0, 1, 2]), r"action must be \[2\] integer, got \[3\] int64"),
        (np.array([[0], [1]]), r"action must be \[2\] integer, got \[2, 1\] int64"),
        (np.array([0.0, 1.0]), r"action must be \[2\] integer, got \[2\] float64"),
        (np.array([True, False]), r"got \[2\] bool"),
        (np.array([0, 3]), r"action must be in 0 … 2, got \[0, 3\]"),
        (np.array([-1, 0]), r"action must be in 0 … 2, got \[-1, 0\]"),
    ],
)
def test_a_wrong_action_is_named(action, message):
    with pytest.raises(ValueError, match=message):
        check_action(action, 2, 3)


LOW, HIGH = np.array([-2, -np.inf], np.float32), np.array([1, np.inf], np.float32)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_continuous_actions_are_clipped_to_the_bounds_and_get_their_dtype(dtype):
    action = np.array([[-3, 1e4], [0.5, -7], [1.5, 0]], dtype)
    given = action.copy()
    expected = np.array([[-2, 1e4], [0.5, -7], [1, 0]], np.float32)
    clipped = clip_action(action, 3, LOW, HIGH)
    np.testing.assert_array_equal(clipped, expected, strict=True)
    np.testing.assert_array_equal(action, given)
    assert not np.shares_memory(clipped, action)
    assert clip_action(action, 3, LOW.astype(np.float64), HIGH.astype(np.float64)).dtype == np.float64


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (np.zeros(2), r"^action must be \[1, 2\] float, got \[2\] float64$"),
        (np.zeros((2, 2)), r"^action must be \[1, 2\] float, got \[2, 2\] float64$"),
        (np.zeros((1, 1), np.float32), r"^action must be \[1, 2\] float, got \[1, 1\] float32$"),
        (np.zeros((1, 2), np.int64), r"^action must be \[1, 2\] float, got \[1, 2\] int64$"),
        (np.array([[np.nan, 0]]), r"^action must be finite float32, got \[\[nan, 0\.0\]\]$"),
        (np.array([[np.inf, 0]]), r"^action must be finite float32, got \[\[inf, 0\.0\]\]$"),
        (np.array([[0, -1e300]]), r"^action must be finite float32, got \[\[0\.0, -inf\]\]$"),
    ],
)
def test_a_wrong_continuous_action_is_named(action, message):
    with pytest.raises(ValueError, match=message):
        clip_action(action, 1, LOW, HIGH)


def test_a_wrong_number_of_environments_is_named():
    assert check_num_envs(1) == 1
    with pytest.raises(ValueError, match="num_envs must be at least 1, got 0"):
        check_num_envs(0)
