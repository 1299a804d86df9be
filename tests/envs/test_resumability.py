import random
import time

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from envs import Gym
from envs.resumability import resumable
from tests.envs import hidden
from tests.envs.own import Camera, Paddle

TAXI, CLIFF = (
    next(id for id in sorted(gymnasium.registry, reverse=True) if id.startswith(f"{name}-v"))
    for name in ("Taxi", "CliffWalking")
)
IDS = {
    "CartPole-v1": {},
    "Acrobot-v1": {},
    "MountainCar-v0": {},
    "Pendulum-v1": {},
    "FrozenLake-v1": {},
    "FrozenLake8x8-v1": {"desc": None},
    CLIFF: {"is_slippery": True},
    "Blackjack-v1": {},
}
"""Environments with their arguments; each map of the large lake is another one."""


@pytest.fixture(autouse=True)
def generous(monkeypatch):
    """No limit of time, on busy machines."""
    monkeypatch.setattr(resumable, "__defaults__", (60.0,))


def draw(environment, rng):
    if environment.num_actions:
        return rng.integers(0, environment.num_actions, environment.num_envs)
    return rng.uniform(-1, 1, (environment.num_envs, environment.action_size))


def play(environment, rng, steps):
    """Rows of so many steps, and how many episodes ended in them."""
    rows = [environment.step(draw(environment, rng)) for _ in range(steps)]
    return rows, sum(int(row.last.sum()) for row in rows)


def check_continues(make, before, after):
    """An environment played so far, and another one restored from its state, return the same rows."""
    environment, other = make(), make()
    assert environment.resumable
    environment.reset(seed=3)
    rng = np.random.default_rng(1)
    play(environment, rng, before)
    state = {name: array.copy() for name, array in environment.get_state().items()}
    again = environment.get_state()
    assert {name: array.tobytes() for name, array in again.items()} == {n: a.tobytes() for n, a in state.items()}
    later = np.random.default_rng(2)
    truth, ended = play(environment, later, after)
    other.set_state(state)
    rows, _ = play(other, np.random.default_rng(2), after)
    for row, true in zip(rows, truth, strict=True):
        for value, expected in zip(row, true, strict=True):
            np.testing.assert_array_equal(value, expected, strict=True)
    environment.close()
    other.close()
    return ended


@pytest.mark.parametrize("num_envs", [1, 4])
@pytest.mark.parametrize("id", [*IDS, TAXI])
def test_a_restored_environment_continues_exactly(id, num_envs):
    make = lambda: Gym(id, num_envs, env_kwargs=IDS.get(id, {}))  # noqa: E731
    for before in (0, 7):
        ended = check_continues(make, before, 520)
    assert ended >= 1 or id == CLIFF


def test_at_every_row_of_an_episode():
    """Where the next step is a reset, too."""
    for before in range(40):
        assert check_continues(lambda: Gym("CartPole-v1", 2), before, 60) >= 2


@pytest.mark.parametrize("options", [{"stack": 3}, {"frame_skip": 2}, {"stack": 2, "frame_skip": 3}])
def test_with_preprocessing(options):
    assert check_continues(lambda: Gym("CartPole-v1", 3, **options), 11, 100) >= 6


@pytest.mark.parametrize("options", [{}, {"stack": 2}, {"grey": True, "resize": (32, 32), "stack": 4, "frame_skip": 2}])
def test_with_images(options):
    if "grey" in options:
        pytest.importorskip("cv2")
    assert check_continues(lambda: Gym(Camera if "grey" in options else Paddle, 2, **options), 6, 40) >= 6


@pytest.mark.parametrize("num_envs", [1, 4])
def test_objects_within_objects(num_envs):
    for before in (0, 1, 20):
        assert check_continues(lambda: Gym(hidden.Nested, num_envs), before, 200) >= 10


def test_wrappers_with_statistics_of_their_own():
    def make():
        env = gymnasium.wrappers.NormalizeObservation(gymnasium.make("CartPole-v1", max_episode_steps=9))
        return gymnasium.wrappers.NormalizeReward(gymnasium.wrappers.TimeAwareObservation(env))

    assert check_continues(lambda: Gym(make, 2), 30, 60) >= 8


@pytest.mark.parametrize(
    "kind",
    [
        *(hidden.InAClosure, hidden.InAClass, hidden.InAGenerator, hidden.GlobalDraws, hidden.GlobalNumPyDraws),
        *(hidden.InSlots, hidden.InALock, hidden.SharedMemory),
    ],
)
def test_what_is_kept_elsewhere_is_found(kind):
    environment = Gym(kind)
    states = random.getstate(), np.random.get_state()[1].tolist()
    assert not environment.resumable
    assert states == (random.getstate(), np.random.get_state()[1].tolist())
    with pytest.raises(RuntimeError, match="cannot be saved: it is not resumable"):
        environment.get_state()
    with pytest.raises(RuntimeError, match="cannot be restored: it is not resumable"):
        environment.set_state({})


@pytest.mark.parametrize(
    "draw",
    [
        lambda: random.Random(0).random,
        lambda: np.random.default_rng(3).random,
        lambda: spaces.Discrete(9, seed=7).sample,
    ],
)
def test_what_only_resets_advance_is_found(draw):
    assert not Gym(lambda: hidden.DrawnOnReset(draw())).resumable
    assert Gym(lambda: hidden.DrawnOnReset(int)).resumable


def test_the_same_in_an_attribute_is_resumable():
    assert check_continues(lambda: Gym(hidden.Plain, 2), 20, 40) >= 4


def test_what_changes_and_is_shared_is_found():
    assert not Gym(hidden.Shared, env_kwargs={"shared": [0]}).resumable

    class Constant(hidden.Shared):
        def counter(self):
            return lambda: 0

    assert Gym(Constant, env_kwargs={"shared": [0, [1.5], {}]}).resumable


class Awkward(gymnasium.Env):
    """Does something else than it should from a point on."""

    observation_space = spaces.Box(-1, 1, (2,), np.float32)
    action_space = spaces.Discrete(2)
    made = 0

    def __init__(self, fault=""):
        Awkward.made += 1
        if Awkward.made == 3 and fault == "init":
            raise OSError("no more of them")
        self.fault, self.number, self.steps = fault, Awkward.made, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.steps += 1
        if self.fault == "step" and self.steps == 20:
            raise ZeroDivisionError
        return np.zeros(2, np.float32), 0.0, self.steps % 30 == 0, False, {}

    def close(self):
        if self.fault == "close":
            raise OSError("closed")


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # older Gymnasiums close again at the end
@pytest.mark.parametrize("fault", ["init", "step", "close"])
def test_whatever_fails_is_silent(fault, capsys):
    Awkward.made = 0
    assert not Gym(Awkward, env_kwargs={"fault": fault}).resumable
    assert capsys.readouterr() == ("", "")


def test_environments_of_one_base_are_left_alone():
    base = Awkward()
    environment = Gym(lambda: gymnasium.wrappers.TimeLimit(base, 5))
    assert not environment.resumable
    assert base.steps == 0


def test_what_takes_long_is_given_up(monkeypatch):
    monkeypatch.setattr(resumable, "__defaults__", (0.0,))
    assert not Gym("CartPole-v1").resumable


def test_what_waits_long_is_given_up(monkeypatch):
    class Slow(Awkward):
        def step(self, action):
            time.sleep(0.02)
            return super().step(action)

    monkeypatch.setattr(resumable, "__defaults__", (0.03,))
    begun = time.perf_counter()
    assert not Gym(Slow).resumable
    assert time.perf_counter() - begun < 1  # 30 steps of both take longer


def test_looking_changes_nothing():
    environment, twin = Gym("CartPole-v1", 2), Gym("CartPole-v1", 2)
    for each in (environment, twin):
        each.reset(seed=0)
        play(each, np.random.default_rng(0), 5)
    assert environment.resumable
    rows, _ = play(environment, np.random.default_rng(0), 50)
    for row, other in zip(rows, play(twin, np.random.default_rng(0), 50)[0], strict=True):
        np.testing.assert_array_equal(row.obs, other.obs)


def test_it_is_tried_once_and_only_where_it_may_be():
    made = []

    def make(render_mode=None):
        made.append(1)
        return Awkward()

    environment = Gym(make)
    assert len(made) == 1
    assert environment.resumable
    assert environment.resumable
    assert len(made) == 3
    assert not Gym(make, render_mode="rgb_array").resumable
    assert len(made) == 4
