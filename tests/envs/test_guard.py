import re

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from envs import EnvironmentFault, Gym
from envs.guard import Guard, check_finite
from tests.envs.faulty import BOX, PICTURE, Faulty, play, reset_all
from tests.envs.own import Own

FORKS = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork")
TWO = spaces.Dict(a=BOX, b=spaces.Discrete(3))
WRONG = [
    ("nan", BOX, "returned a reward of nan", ""),
    ("-inf", BOX, "returned a reward of -inf", ""),
    ("None", BOX, "returned a reward of None", ""),
    ("two", BOX, r"returned a reward of \[1.0, 2.0\]", ""),
    ("words", BOX, "returned a reward of much", ""),
    ("nan obs", BOX, r"returned an observation with nan at \[1\]", ""),
    ("inf obs", BOX, r"returned an observation with inf at \[1\]", ": infinite, or beyond the range of float32"),
    ("nan obs", PICTURE, r"returned an image with nan at \[0, 0, 1\]", r": its observation_space is Box\(.*\)"),
    ("shape", BOX, r"returned an observation of float32 \[3, 2\]", r": its observation_space is Box\(.*\)"),
    ("broadcast", BOX, r"returned an observation of float32 \[1\]", r": its observation_space is Box\(.*\)"),
    ("dtype", BOX, r"returned an observation of complex64 \[2\]", r": its observation_space is Box\(.*\)"),
    ("text", BOX, r"returned an observation of <U5 \[\]", r": its observation_space is Box\(.*\)"),
    ("shape", spaces.Box(0, 255, (4, 5, 3), np.uint8), r"returned an observation of uint8 \[3, 4, 5, 3\]", ": .*"),
    ("error", BOX, "failed", r": ZeroDivisionError: division by zero \(faulty.py, line \d+\)"),
    ("sys.exit", BOX, "failed", r": SystemExit \(faulty.py, line \d+\)"),
    ("reset", BOX, r"failed in reset\(\)", r": ZeroDivisionError: division by zero \(faulty.py, line \d+\)"),
]


def check_fault(vectorization, fault, space, what, detail, index=2):
    environment = Gym(Faulty, 4, env_kwargs={"fault": fault, "space": space}, vectorization=vectorization)
    with pytest.raises(EnvironmentFault, match=f"^environment {index} {what}{detail}$") as raised:
        play(environment)
    raised.value.step = 1234
    assert f" {index} {raised.value.what} at step 1,234" in str(raised.value)
    environment.close()
    return raised.value


@pytest.mark.parametrize(("fault", "space", "what", "detail"), WRONG)
def test_a_fault_is_named_with_the_index(fault, space, what, detail):
    error = check_fault("sync", fault, space, what, detail)
    if fault in ("error", "reset"):
        assert isinstance(error.__cause__, ZeroDivisionError)


@FORKS
@pytest.mark.parametrize(("fault", "space", "what", "detail"), [WRONG[i] for i in (0, 2, 5, 7, 9, 13, 14, 15)])
def test_in_processes_too(fault, space, what, detail):
    error = check_fault("async", fault, space, what, detail)
    if fault in ("error", "reset"):
        assert "faulty.py" in str(error.__cause__)


def test_the_first_observations_are_looked_at_too():
    environment = Gym(Faulty, 3, env_kwargs={"fault": "nan obs", "at": 1})
    with pytest.raises(EnvironmentFault, match=r"^environment 2 returned an observation with nan at \[1\]$"):
        reset_all(environment)


def test_nothing_is_wrong_with_what_is_right():
    play(Gym(Faulty, 4, env_kwargs={"fault": "none"}))


class Fixed(gymnasium.Env):
    def __init__(self, space, obs, reward=1.0, ends=(False, False)):
        self.observation_space, self.action_space, self.row = space, spaces.Discrete(2), (obs, reward)
        self.ends = ends

    def reset(self, *, seed=None, options=None):
        return self.row[0], {}

    def step(self, action):
        return *self.row, *self.ends, {}


@pytest.mark.parametrize(
    ("space", "obs"),
    [
        (BOX, [0.5, 1]),
        (BOX, np.zeros(2)),
        (BOX, np.zeros(2, int)),
        (spaces.Discrete(3), np.int64(2)),
        (TWO, {"a": np.zeros(2), "b": 1}),
    ],
)
@pytest.mark.parametrize(
    "reward", [1, 0.5, True, np.float32(1), np.float16(1), np.uint8(3), np.ones(()), np.ones((), int)]
)
def test_what_gymnasium_takes_is_taken(space, obs, reward):
    guard = Guard(Fixed(space, obs, reward), 0)
    assert guard.reset()[0] is obs
    for _ in range(2):
        assert guard.step(0) == (obs, reward, False, False, {})


@pytest.mark.parametrize("end", [True, 0, 1, 1.0, np.bool_(True), np.int8(1), np.array(True), np.array(0)])
def test_ends_may_be_any_one_number(end):
    for ends in ((end, False), (False, end)):
        environment = Gym(Fixed, 2, env_kwargs={"space": BOX, "obs": np.zeros(2), "ends": ends})
        environment.reset()
        row = environment.step(np.zeros(2, int))
        assert row.last.tolist() == [bool(end)] * 2
        assert row.discount.tolist() == [1.0 - bool(ends[0])] * 2


@pytest.mark.parametrize("end", [np.array([False]), [True], np.zeros((1, 1), bool), None, "no", "0", {}])
@pytest.mark.parametrize("num_envs", [1, 2])
def test_ends_that_are_no_bool_are_named(end, num_envs):
    for name, ends in (("terminated", (end, False)), ("truncated", (False, end))):
        environment = Gym(Fixed, num_envs, env_kwargs={"space": BOX, "obs": np.zeros(2), "ends": ends})
        environment.reset()
        message = rf"^environment 0 returned {re.escape(str(end))} as {name}: it must be a bool$"
        with pytest.raises(EnvironmentFault, match=message):
            environment.step(np.zeros(num_envs, int))


@pytest.mark.parametrize("obs", [{"a": np.zeros(2)}, {"a": np.zeros(3), "b": 1}, {"a": np.zeros(2), "b": 0.5}, None])
def test_observations_of_parts(obs):
    guard = Guard(Fixed(TWO, obs), 7)
    for call in (guard.reset, lambda: guard.step(0)):
        with pytest.raises(
            EnvironmentFault, match=r"^environment 7 returned an observation of another kind, .*: its ob"
        ):
            call()


COUNTED = [
    (spaces.Discrete(3), [0, 2, np.int64(1), np.array(2)], [3, -1, np.int64(7), np.array(-1)]),
    (spaces.Discrete(3, start=-2), [-2, 0], [1, -3]),
    (spaces.MultiDiscrete([2, 4]), [np.array([1, 3]), np.zeros(2, int)], [np.array([2, 0]), np.array([0, -1])]),
    (spaces.MultiDiscrete([2, 4]), [np.array([0, 0], np.uint8)], [np.array([0.5, 0])]),
    (spaces.MultiDiscrete([2, 4], start=[5, -1]), [np.array([5, 2])], [np.array([0, 0]), np.array([5, 3])]),
    (TWO, [{"a": np.zeros(2), "b": 2}], [{"a": np.zeros(2), "b": 3}]),
    (spaces.Tuple([BOX, TWO]), [(np.ones(2), {"a": np.ones(2), "b": 0})], [(np.ones(2), {"a": np.ones(2), "b": -1})]),
]


@pytest.mark.parametrize(("space", "inside", "outside"), COUNTED)
def test_a_number_of_nothing_is_named(space, inside, outside):
    for obs in inside:
        guard = Guard(Fixed(space, obs), 7)
        assert guard.reset()[0] is obs
        assert guard.step(0)[0] is obs
    for obs in outside:
        guard = Guard(Fixed(space, obs), 7)
        for call in (guard.reset, lambda guard=guard: guard.step(0)):
            with pytest.raises(
                EnvironmentFault, match=r"^environment 7 returned an observation outside of its space, .*: its observa"
            ):
                call()


def image(value, dtype, shape=(4, 5, 3)):
    array = np.zeros(shape, dtype)
    array[1, 2, 0] = value
    return array


UNIT = {dtype: spaces.Box(0, 1, (4, 5, 3), dtype) for dtype in (np.float32, np.int64, np.uint8, np.bool_)}
BYTES = spaces.Box(0, 255, (3, 4, 5), np.uint8)  # not converted


@pytest.mark.parametrize(
    ("space", "obs"),
    [
        (UNIT[np.float32], image(-1, np.float32)),
        (UNIT[np.float32], image(2, np.float64)),
        (UNIT[np.float32], image(1, int)),
        (UNIT[np.int64], image(1, np.uint8)),
        (UNIT[np.uint8], image(1, np.uint8)),
        (UNIT[np.bool_], image(1, np.bool_)),
        (BYTES, image(255, np.uint16, (3, 4, 5))),
        (spaces.Box(0, 9, (2,)), np.array([-5, 15.0])),
    ],
)
def test_images_may_be_outside_of_their_bounds_a_little(space, obs):
    guard = Guard(Fixed(space, obs), 7)
    assert guard.reset()[0] is obs
    assert guard.step(0)[0] is obs


@pytest.mark.parametrize(
    ("space", "obs", "value"),
    [
        (UNIT[np.float32], image(200.0, np.float32), "200.0"),
        (UNIT[np.float32], image(-1.5, np.float64), "-1.5"),
        (UNIT[np.float32], image(-np.inf, np.float32), "-inf"),
        (UNIT[np.float32], image(2, int), "2"),
        (UNIT[np.int64], image(2, int), "2"),
        (UNIT[np.int64], image(-1, int), "-1"),
        (UNIT[np.uint8], image(255, np.uint8), "255"),
        (BYTES, image(256, np.uint16, (3, 4, 5)), "256"),
    ],
)
def test_images_far_outside_of_their_bounds_are_refused(space, obs, value):
    guard = Guard(Fixed(space, obs), 7)
    message = rf"^environment 7 returned an image with {value} at \[1, 2, 0\]: its observation_space is Box\(.*\)$"
    with pytest.raises(EnvironmentFault, match=message):
        guard.reset()
    guard.unwrapped.row = (np.zeros_like(obs), 0.0)
    guard.reset()
    guard.step(0)
    guard.unwrapped.row = (obs, 0.0)
    with pytest.raises(EnvironmentFault, match=message):
        guard.step(0)


@pytest.mark.parametrize("obs", [0, np.array(0)])
def test_a_number_of_nothing_is_named_in_a_later_step(obs):
    guard = Guard(Fixed(spaces.Discrete(3), obs), 7)
    guard.reset()
    guard.step(0)
    guard.unwrapped.row = (obs - 1, 0.0)
    with pytest.raises(EnvironmentFault, match=r"^environment 7 returned an observation outside of its space, -1: its"):
        guard.step(0)


def test_integers_that_would_wrap_around_are_refused():
    guard = Guard(Fixed(spaces.Box(-9, 9, (2,), np.int8), np.array([127, -128])), 7)
    guard.reset()
    guard.step(0)
    guard.unwrapped.row = (np.array([1, 300]), 0.0)
    for call in (lambda: guard.step(0), guard.reset):
        with pytest.raises(
            EnvironmentFault, match=r"^environment 7 returned an observation with 300 at \[1\]: its obse"
        ):
            call()


@pytest.mark.parametrize("info", [None, []])
def test_infos_that_are_no_dict_are_named(info):
    class Silent(Fixed):
        def reset(self, *, seed=None, options=None):
            return self.row[0], info

        def step(self, action):
            return *self.row, False, False, info

    guard = Guard(Silent(BOX, np.zeros(2)), 7)
    for call in (guard.reset, lambda: guard.step(0)):
        with pytest.raises(EnvironmentFault, match=r"^environment 7 returned (None|\[\]) as info: it must be a dict$"):
            call()


@pytest.mark.parametrize("reward", [10**400, -(10**400), "1.5", b"1", np.str_("2")])
def test_rewards_that_are_no_number_are_named(reward):
    guard = Guard(Fixed(BOX, np.zeros(2), reward), 7)
    with pytest.raises(EnvironmentFault, match=r"^environment 7 returned a reward of "):
        guard.step(0)
    assert Guard(Fixed(BOX, np.zeros(2), 10**300), 7).step(0)[1] == 10**300


def test_a_run_names_the_step_of_a_number_of_nothing():
    environment = Gym(Fixed, 2, env_kwargs={"space": spaces.MultiDiscrete([2, 4]), "obs": np.array([1, 3])})
    reset_all(environment)
    environment._env.envs[1].unwrapped.row = (np.array([1, 4]), 0.0)
    with pytest.raises(EnvironmentFault, match=r"^environment 1 returned an observation outside of its space, \[1 4\]"):
        environment.step(np.zeros(2, int))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_every_place_is_looked_at(dtype, value):
    rewards, largest = np.zeros(3), np.finfo(dtype).max
    check_finite(np.full((3, 2, 2), -largest, dtype), np.full(3, np.finfo(float).max))
    for place in np.ndindex(3, 2, 2):
        obs = np.full((3, 2, 2), largest, dtype)
        obs[place] = value
        with pytest.raises(EnvironmentFault) as raised:
            check_finite(obs, rewards)
        assert (raised.value.index, raised.value.what.split(" with ")[1]) == (place[0], f"{value} at {list(place[1:])}")
    for index in range(3):
        rewards = np.ones(3)
        rewards[index] = value
        with pytest.raises(EnvironmentFault, match=f"^environment {index} returned a reward of {value}$"):
            check_finite(np.zeros((3, 2, 2), dtype), rewards)


def test_images_of_bytes_are_always_finite():
    check_finite(np.full((2, 4), 255, np.uint8), np.ones(2))
    with pytest.raises(EnvironmentFault, match=r"^environment 1 returned a reward of nan"):
        check_finite(np.zeros((2, 4), np.uint8), np.array([0, np.nan]))


class Stuck(Own):
    def close(self):
        raise RuntimeError("no window")


def test_what_fails_in_close_is_a_warning_and_the_others_are_closed():
    environment = Gym(Stuck, 2)
    with pytest.warns(UserWarning, match=r"^environment \d failed in close\(\): RuntimeError: no window") as told:
        environment.close()
    assert [str(one.message)[:14] for one in told] == ["environment 0 ", "environment 1 "]
