import argparse
import os
import random
from collections import deque

import gymnasium
import numpy as np
import pytest

from envs import snapshots
from envs.snapshots import capture
from envs.stream import StateError
from tests.envs.hidden import holder, through

VALUES = {
    "numbers": [0, -0.0, 10**40, float("nan"), float("-inf"), True, None, 0.1],
    "texts": ["ä\ud800", b"\0\xff", ""],
    "nested": ((1, (2.0, [3])), {"a": {1: [(), {}]}, (1, "b"): None}),
    "tables": [[(1, 0.5, False), (2,), ()], [(1, [2])], [(np.int64(1),)]],
    "scalars": [np.float32(0.1), np.int8(-3), np.bool_(True), np.str_("é"), np.str_(""), np.bytes_(b"x"), np.uint64(9)],
    "containers": [{3, 1, 2}, deque([1, [2]], maxlen=3), deque()],
    "arrays": [np.arange(6.0).reshape(2, 3), np.zeros((0, 4)), np.array(2)],
    "others": [np.array([["a", "bc"]]), np.array([True, False])],
    "order": [np.asfortranarray(np.random.default_rng(0).normal(size=(3, 4)))],
    "big": [np.arange(3, dtype=">i4"), np.array([1 + 0.5], np.float16)],
}


@pytest.mark.parametrize("name", VALUES)
def test_values_come_back_as_they_were(name):
    made = through(holder(value=VALUES[name]), value=type(VALUES[name])()).value
    assert described(made) == described(VALUES[name])


def described(value):
    """A value with the types of all in it, to the bit."""
    if isinstance(value, np.ndarray):
        return "array", value.dtype.str, value.shape, value.flags.f_contiguous, value.tobytes()
    if isinstance(value, np.generic):
        return type(value), value.dtype.str, value.tobytes()
    if isinstance(value, dict):
        return "dict", [(described(key), described(item)) for key, item in value.items()]
    if isinstance(value, list | tuple | deque | set):
        return type(value), getattr(value, "maxlen", None), [described(item) for item in value]
    return type(value), repr(value)


def numpy_generator(bits):
    rng = np.random.Generator(bits(4))
    rng.integers(10, dtype=np.uint32)
    rng.spawn(2)
    return rng


@pytest.mark.parametrize("bits", snapshots.BITS.values())
def test_generators_go_on(bits):
    env = holder(rng=numpy_generator(bits))
    other = through(env, rng=np.random.default_rng(1))
    assert drawn(other.rng) == drawn(env.rng)
    assert other.rng is not env.rng


def drawn(rng):
    """What it draws, and what its next child does."""
    return [*rng.integers(9, size=5, dtype=np.uint32), *rng.normal(size=3), rng.spawn(1)[0].random()]


def test_older_generators_go_on():
    env = holder(numpy=np.random.RandomState(3), python=random.Random(3))
    env.numpy.normal(), env.python.gauss(0, 1)  # each keeps a second one
    other = through(env, numpy=np.random.RandomState(), python=random.Random())
    for rng in (env, other):
        rng.drawn = [rng.numpy.normal(size=3).tolist(), rng.python.gauss(0, 1), rng.python.random()]
    assert other.drawn == env.drawn


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (object(), "a builtins.object cannot be saved"),
        (iter([1]), "list_iterator cannot be saved"),
        (argparse.Namespace(a=1), "a argparse.Namespace cannot be saved"),
        (os.environ, "a os._Environ cannot be saved"),
        (1j, "a builtins.complex cannot be saved"),
        (np.array([None]), "an array of object cannot be saved"),
        (np.zeros(2, "M8[s]"), "an array of datetime64.* cannot be saved"),
        (np.zeros((4, 4))[:, 1], "an array that shares its memory"),
        (np.ma.zeros(3), "cannot be saved"),
        ([0] * 70_000, "more than 60,000 values"),
        (np.zeros(2**27, np.uint8), "134,217,730 bytes of data, too many"),
    ],
)
def test_what_cannot_be_saved_is_refused(value, message):
    with pytest.raises(StateError, match=message):
        capture([holder(value=value)])


def test_a_number_of_thousands_of_digits_is_refused():
    with pytest.raises(StateError, match="digits"):
        capture([holder(value=10**5000)])


def test_nesting_has_a_limit():
    value = []
    for _ in range(200):
        value = [value]
    with pytest.raises(StateError, match="nested too deep"):
        capture([holder(value=value)])


def test_two_arrays_of_one_memory_are_refused():
    whole = np.zeros(4)
    with pytest.raises(StateError, match="shares its memory"):
        capture([holder(value=[whole, whole[:2]])])


def test_a_set_whose_order_has_a_history_is_refused():
    few, many = {9, 64}, set(range(100))
    assert list(through(holder(value=few), value=set()).value) == list(few)
    for number in {*many} - few:
        many.remove(number)
    assert list(many) != list(few)
    with pytest.raises(StateError, match="a set whose order"):
        capture([holder(value=many)])


def test_the_parts_of_the_project_that_only_look_are_left_out():
    env = gymnasium.make("CartPole-v1")
    env.reset(seed=0)
    env.step(0)
    assert b"_previous_data" not in capture([env])["tree"].tobytes()
