"""Environments as users write them."""

import copy

import gymnasium
import numpy as np
from gymnasium import spaces


class Own(gymnasium.Env):
    """Without `render_mode`: shows samples of a space, pays 1 for action 1, and ends after `length` steps."""

    observation_space = spaces.Box(-1, 1, (3,), np.float32)
    action_space = spaces.Discrete(2)
    shown = observation_space
    length = 7

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        if seed is not None:
            self.shown = copy.deepcopy(self.observation_space)
            self.shown.seed(seed)
        self.steps = 0
        return self.shown.sample(), {}

    def step(self, action):
        self.steps += 1
        return self.shown.sample(), float(np.sum(action) == 1), self.steps == self.length, False, {}


def of(space, actions=None):
    """A class of environments with that observation space, and those actions."""

    class Some(Own):
        def __init__(self):
            self.observation_space = self.shown = space
            self.action_space = actions or Own.action_space

    return Some


class Paddle(gymnasium.Env):
    """Breakout of MinAtar in small: bool `[10, 10, 4]`, a ball that falls, and a paddle to be below it; 9 steps."""

    observation_space = spaces.Box(0.0, 1.0, (10, 10, 4), np.bool_)
    action_space = spaces.Discrete(3)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.row, self.ball, self.paddle = 0, int(self.np_random.integers(10)), 5
        return self._seen(), {}

    def step(self, action):
        self.row += 1
        self.paddle = int(np.clip(self.paddle + int(action) - 1, 0, 9))
        end = self.row == 9
        return self._seen(), float(end and self.paddle == self.ball), end, False, {}

    def _seen(self):
        obs = np.zeros((10, 10, 4), np.bool_)
        obs[self.row, self.ball, 0] = obs[9, self.paddle, 1] = True
        obs[max(self.row - 1, 0), self.ball, 2] = True
        return obs


class Camera(gymnasium.Env):
    """A colour picture `[64, 64, 3]` whose brighter half says which of two actions is paid; 5 steps."""

    observation_space = spaces.Box(0, 255, (64, 64, 3), np.uint8)
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self._seen(), {}

    def step(self, action):
        paid = float(action == self.side)
        self.steps += 1
        return self._seen(), paid, self.steps == 5, False, {}

    def _seen(self):
        self.side = int(self.np_random.integers(2))
        picture = np.zeros((64, 64, 3), np.uint8)
        picture[:, 32 * self.side : 32 * self.side + 32] = (200, 100, 50)
        return picture


class Parts(Own):
    """A Dict of vectors."""

    observation_space = spaces.Dict(speed=spaces.Box(-1, 1, (2,), np.float32), gear=spaces.Discrete(3))
