import sys

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from envs.api_check import check_api
from tests.envs.own import Camera, Own, Paddle, Parts


class NoSeed(Own):
    def reset(self):
        return np.zeros(3), {}


class NoInfo(Own):
    def reset(self, *, seed=None, options=None):
        return np.zeros(3)


class OldStep(Own):
    def step(self, action):
        return np.zeros(3), 0.0, True, {}


class WrongShape(Own):
    def reset(self, *, seed=None, options=None):
        return np.zeros(4), {}


class WrongShapeLater(Own):
    def step(self, action):
        return np.zeros((3, 1)), 0.0, False, False, {}


class FloatImage(Camera):
    def reset(self, *, seed=None, options=None):
        return np.zeros((64, 64, 3)), {}


class Unscaled(Camera):
    observation_space = spaces.Box(0, 1, (64, 64, 3), np.float32)

    def step(self, action):
        obs, *rest = super().step(action)
        return obs.astype(np.float32), *rest

    def reset(self, *, seed=None, options=None):
        return super().reset(seed=seed)[0] / np.float32(255), {}


class MissingPart(Parts):
    def reset(self, *, seed=None, options=None):
        return {"gear": 1}, {}


class VectorReward(Own):
    def step(self, action):
        return np.zeros(3), np.zeros(1), False, False, {}


class VectorEnd(Own):
    def step(self, action):
        return np.zeros(3), 0.0, np.zeros(1, bool), False, {}


class NoTruncated(Own):
    def step(self, action):
        return np.zeros(3), 0.0, False, None, {}


class NumberEnds(Own):
    def step(self, action):
        return np.zeros(3), 0.0, 0, np.array(False), {}


class Fails(Own):
    def reset(self, *, seed=None, options=None):
        raise RuntimeError("no\nroom")


class Leaves(Own):
    def step(self, action):
        sys.exit()


class DoublePrecision(Own):
    def reset(self, *, seed=None, options=None):
        obs, info = super().reset(seed=seed)
        return obs.astype(np.float64), info


@pytest.mark.parametrize("kind", [Own, Paddle, Camera, Parts, DoublePrecision, NumberEnds])
def test_good_ones(kind):
    check_api(kind(), "Mine")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (NoSeed, r"reset\(\) must take seed and options and return \(observation, info\), as gymnasium.Env"),
        (NoInfo, r"reset\(\) must return \(observation, info\), as gymnasium.Env, got ndarray"),
        (
            OldStep,
            r"step\(\) must return \(observation, reward, terminated, truncated, info\), as gymn.*, got 4 values",
        ),
        (
            WrongShape,
            r"reset\(\) returns observations float64 \[4\], its observation_space is Box\(-1.0, 1.0, \(3,\).*",
        ),
        (WrongShapeLater, r"step\(\) returns observations float64 \[3, 1\], its observation_space is Box.*"),
        (FloatImage, r"reset\(\) returns observations float64 \[64, 64, 3\], its observation_space is Box\(0, 255.*"),
        (Unscaled, r"step\(\) returns an image with 200.0 at \[0, \d+, 0\], its observation_space is Box\(0.0, 1.0.*"),
        (MissingPart, r"reset\(\) returns observations dict, its observation_space is Dict.*"),
        (VectorReward, r"step\(\) must return a number as the reward, got \[0.\]"),
        (VectorEnd, r"step\(\) must return a bool as terminated, got \[False\]"),
        (NoTruncated, r"step\(\) must return a bool as truncated, got None"),
        (Leaves, r"step\(\) fails: SystemExit \(test_api_check.py, line \d+\)"),
        (Fails, r"reset\(\) fails: RuntimeError: no room \(test_api_check.py, line \d+\)"),
    ],
)
def test_what_is_wrong_is_one_line(kind, message):
    with pytest.raises(ValueError, match=f"^Mine: {message}$") as error:
        check_api(kind(), "Mine")
    assert "\n" not in str(error.value)


@pytest.mark.filterwarnings("ignore")
def test_under_the_wrappers_of_an_id():
    gymnasium.register("WnrlOld-v0", OldStep)
    try:
        with pytest.raises(
            ValueError, match=r"^Mine: step\(\) must return \(observation, reward, term.*(: not enough|got 4)"
        ):
            check_api(gymnasium.make("WnrlOld-v0"), "Mine")
    finally:
        del gymnasium.registry["WnrlOld-v0"]


def test_a_step_is_sampled():
    class Continuous(Own):
        action_space = spaces.Box(-2, 2, (2,))

        def step(self, action):
            assert self.action_space.contains(action)
            return super().step(action)

    check_api(Continuous(), "Mine")
