"""Seeds of a run: all are spawned from its one seed, so that none of its parts shares random numbers with another."""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """What random numbers are for; runs are reproduced as long as the numbers here stay as they are."""

    NETWORK = 0  # initial parameters
    REPLAY = 1  # draws from the replay buffer
    AGENT = 2  # exploration, sampled actions, noise, minibatches
    TRAINING = 3  # environments to learn in, by the step at which they start
    EVALUATION = 4  # environments of an evaluation, by the step at which it was due
    EVALUATION_POLICY = 5  # what the policy draws there, by the same
    GAMES = 6  # environments of the evaluation command
    GAMES_POLICY = 7  # what the policy draws there
    PROCESS = 8  # everything of a process of a run of several, by its rank
    MODEL = 9  # an algorithm of stable-baselines3


def sequence(seed: int, purpose: Purpose, index: int = 0) -> np.random.SeedSequence:
    """The seed sequence of one purpose, spawned from that of the run.

    Args:
        seed: of the run, not negative.
        purpose: what it is for.
        index: tells apart those of one purpose: a step, or the rank of a process.
    """
    return np.random.SeedSequence(seed, spawn_key=(purpose, index))


def generator(seed: int, purpose: Purpose, index: int = 0) -> np.random.Generator:
    """A generator of one purpose; arguments as in `sequence`."""
    return np.random.default_rng(sequence(seed, purpose, index))


def integer(seed: int, purpose: Purpose, index: int = 0, bits: int = 63) -> int:
    """An integer of so many bits as the seed of one purpose, for what takes no sequence; arguments as in `sequence`.

    63 bits are what torch takes, 31 what NumPy's global generator and every emulator takes.
    """
    return int(sequence(seed, purpose, index).generate_state(1, np.uint64)[0]) >> (64 - bits)


def process_seed(seed: int, rank: int) -> int:
    """The seed of one process of a run, to spawn its own random numbers from; the first one's is the run's."""
    return integer(seed, Purpose.PROCESS, rank) if rank else seed
