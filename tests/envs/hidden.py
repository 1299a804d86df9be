"""Environments whose state is in different places."""

import random
import threading

import gymnasium
import numpy as np
from gymnasium import spaces

from envs.restoration import restore
from envs.snapshots import capture


class Piece:
    """A thing on a board."""

    def __init__(self, rng):
        self.rng, self.place, self.path = rng, np.zeros(2, np.int8), []


class Board:
    """Two pieces that share a random generator, and one of which is the first of a list."""

    def __init__(self, rng):
        self.pieces = [Piece(rng), Piece(rng)]
        self.first = self.pieces[0]
        self.cells = np.asfortranarray(np.zeros((3, 4)))
        self.enemies = [None] * 3
        self.seen, self.names = set(), {0: "a", (1, 2): b"b"}

    def advance(self, action):
        for piece in self.pieces:
            piece.place += piece.rng.integers(-1, 2, 2).astype(np.int8)
            piece.path.append((int(piece.place[0]), np.float32(piece.rng.random())))
        self.cells[len(self.first.path) % 3, action] += 0.1
        self.enemies[len(self.first.path) % 3] = [int(self.first.place[0]), True]
        self.seen.add(len(self.first.path))


class Nested(gymnasium.Env):
    """As MinAtar: a game object with more objects, whose generator the environment has too; ends by chance."""

    observation_space = spaces.Box(-np.inf, np.inf, (6,), np.float64)
    action_space = spaces.Discrete(3)

    def __init__(self):
        self.random = np.random.RandomState()
        self.python = random.Random()
        self.game = Board(self.random_generator())
        self.games = 0

    def random_generator(self):
        return np.random.Generator(np.random.Philox(5))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        if seed is not None:
            self.random, self.python = np.random.RandomState(seed), random.Random(seed)
            self.generator = np.random.Generator(np.random.SFC64(seed))
        self.game = Board(self.generator)
        self.games += 1
        self.children = self.np_random.spawn(1)
        return self.seen(), {}

    def step(self, action):
        self.game.advance(int(action))
        return self.seen(), float(self.game.cells.sum()), self.random.rand() < 0.1, self.games % 7 == 6, {}

    def seen(self):
        first, other = self.game.pieces
        noise = self.python.gauss(0, 1) + self.children[0].random() + self.np_random.normal()
        return np.array([*first.place, *other.place, noise, len(self.game.seen)], np.float64)


class Elsewhere(gymnasium.Env):
    """Counts its steps where `counter` says."""

    observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float64)
    action_space = spaces.Discrete(2)
    steps = 0

    def __init__(self, shared=None):
        self.shared = shared

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.count = self.counter()
        return np.array([float(self.count())]), {}

    def step(self, action):
        return np.array([float(self.count())]), 0.0, self.count() % 16 > 13, False, {}


class Plain(Elsewhere):
    """In an attribute: what the others are compared with."""

    def counter(self):
        self.plain = 0
        return self.next

    def next(self):
        self.plain += 1
        return self.plain


class InAClosure(Elsewhere):
    def counter(self):
        steps = 0

        def count():
            nonlocal steps
            steps += 1
            return steps

        return count


class InAClass(Elsewhere):
    def counter(self):
        def count():
            InAClass.steps += 1
            return InAClass.steps

        return count


class InAGenerator(Elsewhere):
    def counter(self):
        counts = iter(range(10**6))
        return lambda: next(counts)


class Shared(Elsewhere):
    """In a list that all environments are given."""

    def counter(self):
        def count():
            self.shared[0] += 1
            return 0

        return count


class GlobalDraws(Elsewhere):
    def counter(self):
        return random.random


class GlobalNumPyDraws(Elsewhere):
    def counter(self):
        return np.random.rand


class DrawnOnReset(Elsewhere):
    """Shows a number that each reset draws, by a function that it is given."""

    def __init__(self, draw):
        self.draw = draw

    def counter(self):
        self.drawn = float(self.draw())
        return self.show

    def show(self):
        return self.drawn


class InSlots(Elsewhere):
    """In an object with slots."""

    class Counter:
        __slots__ = ("steps",)

    def counter(self):
        self.slots = self.Counter()
        self.slots.steps = 0
        return self.next

    def next(self):
        self.slots.steps += 1
        return self.slots.steps


class InALock(Elsewhere):
    """Something that is neither data nor code."""

    def counter(self):
        self.lock = threading.Lock()
        return lambda: 0


class SharedMemory(Elsewhere):
    """Two arrays of one memory."""

    def counter(self):
        self.all = np.zeros(4)
        self.part = self.all[1:]
        return lambda: 0


class Holder(gymnasium.Env):
    """Has whatever it is given, from its first step on; writes down what is called."""

    observation_space = spaces.Box(-1, 1, (1,), np.float32)
    action_space = spaces.Discrete(2)
    calls = ()

    def __init__(self, **attributes):
        self.attributes, self.inner = attributes, Piece(None)

    def reset(self, *, seed=None, options=None):
        self.left, self.right = 0, None
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.__dict__.update(self.attributes.pop("fresh", {}))
        return np.zeros(1, np.float32), 0.0, False, False, {}

    @property
    def trap(self):
        raise AssertionError("called")

    @trap.setter
    def trap(self, value):
        raise AssertionError("called")


def holder(**attributes):
    """An environment after a step, with these attributes."""
    env = Holder(fresh=attributes)
    env.reset()
    env.step(0)
    return env


def through(env, **fresh):
    """Another one, which would have other attributes, in the state of that one."""
    other = Holder(fresh=fresh)
    restore([other], capture([env]), [0])
    return other
