"""envs.toy_environment: what holds for every small environment."""

import numpy as np
import pytest

from envs import Chain, Recall
from envs.stream import StateError

each_kind = pytest.mark.parametrize("kind", [Chain, Recall])


@each_kind
def test_step_comes_after_reset(kind):
    with pytest.raises(RuntimeError, match="reset"):
        kind().step(np.array([1]))


@each_kind
def test_state_before_the_first_reset(kind):
    env = kind()
    env.set_state(kind().get_state())
    with pytest.raises(RuntimeError, match="reset"):
        env.step(np.array([0]))


@each_kind
def test_a_state_of_another_size_is_refused(kind):
    with pytest.raises(StateError, match=r"^(position|cue) of the state must be int64 \[3\], got int64 \[2\]$"):
        kind(3).set_state(kind(2).get_state())


@each_kind
def test_a_state_that_does_not_fit_changes_nothing(kind):
    env = kind(2)
    env.reset(seed=1)
    env.step(np.array([1, 0]))
    before = env.get_state()
    limited = next(iter(before))
    for name, value in [*((name, None) for name in before), (limited, np.array([0, 5])), (limited, np.array([-1, 0]))]:
        state = {other: array for other, array in before.items() if other != name}
        if value is not None:
            state[name] = value
        with pytest.raises(StateError, match=f"^{name} of the state must be "):
            env.set_state(state)
        assert all(np.array_equal(array, before[name]) for name, array in env.get_state().items())


@each_kind
def test_there_is_no_picture(kind):
    with pytest.raises(ValueError, match=rf"{kind.__name__} has no picture to render, got render_mode='rgb_array'"):
        kind(1, render_mode="rgb_array")


@pytest.mark.parametrize("env", [Recall(4, delay=1), Chain(4, length=3)], ids=["Recall", "Chain"])
def test_a_time_step_is_not_overwritten_by_later_ones(env):
    held = [env.reset(seed=0)] + [env.step(np.ones(4, np.int64)) for _ in range(3)]
    copies = [[field.copy() for field in step] for step in held]
    for _ in range(7):
        env.step(np.zeros(4, np.int64))
    for step, copy in zip(held, copies, strict=True):
        for field, other in zip(step, copy, strict=True):
            np.testing.assert_array_equal(field, other)
