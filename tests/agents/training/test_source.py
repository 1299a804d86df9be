"""agents.training.source: environments that are given in Python."""

import functools
import threading

import gymnasium
import pytest

from agents.training.source import source_of
from envs.chain import Chain


class Counter(gymnasium.Env):
    """Counts its steps."""

    observation_space = gymnasium.spaces.Box(-1, 1, (1,))
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, length=3):
        self.length, self.count = length, 0

    def step(self, action):
        self.count += 1


def make_counter():
    return Counter(5)


def test_an_id_is_left_to_gymnasium():
    assert source_of("CartPole-v1") == ("CartPole-v1", None)


@pytest.mark.parametrize(
    ("env", "name"),
    [
        (Counter, "python:Counter"),
        (make_counter, "python:make_counter"),
        (functools.partial(Counter, 7), "python:Counter"),
        (lambda: Counter(2), "python:lambda"),
    ],
)
def test_a_class_or_function_makes_the_environments(env, name):
    found, source = source_of(env)
    assert found == name
    assert source is env


def test_an_object_is_copied_as_it_is_so_that_nobody_steps_anothers():
    mine = Counter(9)
    name, make = source_of(mine)
    mine.length = 1  # too late
    first, second = make(), make()
    first.step(0)
    assert name == "python:Counter"
    assert (first.length, first.count, second.count, mine.count) == (9, 1, 0, 0)


def test_an_object_in_wrappers_is_named_for_what_is_inside():
    assert source_of(gymnasium.wrappers.TimeLimit(Counter(), 5))[0] == "python:Counter"


def test_an_object_that_cannot_be_copied_is_refused_with_the_reason():
    env = Counter()
    env.lock = threading.Lock()
    with pytest.raises(ValueError, match=r"copies of the Counter, which cannot be copied .*lock.*: give the class, or"):
        source_of(env)


@pytest.mark.parametrize("env", [3, Chain(1)])
def test_what_makes_no_environment_is_refused(env):
    with pytest.raises(
        TypeError, match=f"a class or function that makes a gymnasium.Env, or one, got {type(env).__name__}"
    ):
        source_of(env)


def test_a_vector_of_environments_is_refused():
    env = gymnasium.make_vec("CartPole-v1", 2, vectorization_mode="sync")
    with pytest.raises(TypeError, match="parallel copies are made by num_envs"):
        source_of(env)
    env.close()
