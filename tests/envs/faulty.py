"""An environment that does one thing wrong at one step."""

import os
import signal
import sys

import gymnasium
import numpy as np
from gymnasium import spaces

BOX = spaces.Box(-1, 1, (2,), np.float32)
PICTURE = spaces.Box(0, 1, (4, 5, 3), np.float32)


class Faulty(gymnasium.Env):
    """Steps on, until the environment of this index comes to its third row, which is wrong as `fault` says."""

    def __init__(self, fault="", space=BOX, index=2, at=3):
        self.observation_space, self.action_space = space, spaces.Discrete(2)
        self.fault, self.wrong, self.at = fault, index, at
        self.rows, self.index = 0, -1

    def reset(self, *, seed=None, options=None):
        if seed is not None:
            self.index = seed  # `reset_all` seeds each with its index
        return self._row()[0], {}

    def step(self, action):
        obs, reward = self._row()
        return obs, reward, self.fault == "reset", False, {}

    def _row(self):
        self.rows += 1
        obs = np.zeros(self.observation_space.shape, self.observation_space.dtype)
        if self.index != self.wrong or self.rows != self.at:
            return obs, 1.0
        match self.fault:
            case "error" | "reset":
                raise ZeroDivisionError("division\nby zero")
            case "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            case "exit":
                os._exit(3)
            case "sys.exit":
                sys.exit()
            case "nan obs" | "inf obs":
                obs.flat[1] = float(self.fault.split()[0])
            case "shape":
                obs = np.zeros((3, *self.observation_space.shape), self.observation_space.dtype)
            case "broadcast":
                obs = np.zeros((1,), self.observation_space.dtype)
            case "dtype":
                obs = obs.astype(np.complex64)
            case "text":
                obs = "north"
        rewards = {"None": None, "two": [1.0, 2.0], "words": "much"}
        return obs, rewards.get(self.fault, float(self.fault) if self.fault in ("nan", "inf", "-inf") else 1.0)


def reset_all(environment):
    """Reset, each with its index as its seed."""
    return environment.reset(seed=np.arange(environment.num_envs))


def play(environment):
    """Reset and four steps."""
    reset_all(environment)
    for _ in range(4):
        environment.step(np.zeros(environment.num_envs, int))
