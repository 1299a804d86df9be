"""Environments whose every number is known beforehand."""

import numpy as np

from envs import Chain, Environment, TimeStep
from envs.stream import check_action, first_rows


class Clockwork(Environment):
    """Environment i ends a game every `lengths[i]` steps; each step pays `reward`, and all observations are alike."""

    def __init__(self, *lengths, reward=1.0, terminates=True, obs_shape=(1,)):
        self.num_envs, self.num_actions, self.obs_shape = len(lengths), 2, obs_shape
        self.obs_dtype = np.dtype(np.float32)
        self.lengths, self.reward, self.terminates = np.array(lengths), reward, terminates
        self.seeds, self.closed = [], False

    def reset(self, seed=None):
        self.seeds.append(seed)
        self.elapsed = np.zeros(self.num_envs, int)
        return first_rows(self._obs())

    def step(self, action):
        check_action(action, self.num_envs, self.num_actions)
        first = self.elapsed == self.lengths
        self.elapsed = np.where(first, 0, self.elapsed + 1)
        last = self.elapsed == self.lengths
        reward = np.where(first, 0.0, self.reward).astype(np.float32)
        discount = np.where(last & self.terminates, 0, 1).astype(np.float32)
        return TimeStep(self._obs(), reward, discount, first, last)

    def close(self):
        self.closed = True

    def _obs(self):
        return np.ones((self.num_envs, *self.obs_shape), np.float32)


class Coloured(Clockwork):
    """Shows a picture that is brighter the longer the game lasts."""

    frame_skip, render_fps = 4, 15.0

    def render(self):
        return np.full((210, 160, 3), 20 * self.elapsed[0], np.uint8)


class Pictured(Chain):
    """A chain that shows its state as images `[2, 36, 36]`: a bright bar, further right in each."""

    def __init__(self, num_envs=1, **options):
        super().__init__(num_envs, **options)
        self.obs_shape, self.obs_dtype = (2, 36, 36), np.dtype(np.uint8)

    def _obs(self):
        images = np.zeros((self.num_envs, *self.obs_shape), np.uint8)
        for image, position in zip(images, self._position, strict=True):
            image[0, :, 7 * position : 7 * position + 7] = 255
            image[1, 7 * position : 7 * position + 7] = 99
        return images
