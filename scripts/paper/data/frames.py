"""Frames of an Atari game as a classification task: which action was held while they were drawn."""

from __future__ import annotations

import numpy as np
import torch
from paper.data.image_set import ImageSet
from torch import Tensor

from envs import Atari

HELD = 4  # steps for which an action is held: as many as there are frames in an observation
ENVIRONMENTS = 8


def read_frames(game: str, training: int, test: int) -> ImageSet:
    """Observations `[N, 4, 84, 84]` of a random policy that holds each action for 4 steps, and the held action.

    The class shows in how things move from frame to frame, so it can be learned in any game whose actions move
    something; not fully, since an action may do nothing, as at a wall. Observations come from the ends of holds in
    which no episode began or ended. The test set is of other emulators and episodes; states that many episodes pass, as
    before a ball is served, occur in both, until `ImageSet.without_repeats`. The same frames come on every machine.

    Args:
        game: Gymnasium's name or the ROM id.
        training: number of observations.
        test: number of those held out.

    Raises:
        ValueError: an unknown game.
    """
    images, labels, classes = _play(game, training, seed=0)
    test_images, test_labels, _ = _play(game, test, seed=1)
    return ImageSet(f"frames of {game}", images, labels, test_images, test_labels, classes)


def _play(game: str, wanted: int, seed: int) -> tuple[Tensor, Tensor, int]:
    environment = Atari(game, ENVIRONMENTS)
    random = np.random.default_rng(seed)
    observations: list[np.ndarray] = []
    actions: list[np.ndarray] = []
    try:
        environment.reset(seed)
        while sum(map(len, actions)) < wanted:
            held = random.integers(environment.num_actions, size=ENVIRONMENTS)
            whole = np.ones(ENVIRONMENTS, np.bool_)
            for _ in range(HELD):
                row = environment.step(held)
                whole &= ~(row.first | row.last)
            observations.append(row.obs[whole])
            actions.append(held[whole])
    finally:
        environment.close()
    images = torch.from_numpy(np.concatenate(observations)[:wanted])
    return images, torch.from_numpy(np.concatenate(actions)[:wanted].astype(np.int64)), environment.num_actions
