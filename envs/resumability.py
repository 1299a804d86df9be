"""Whether environments can be continued exactly from a snapshot: tried on two others that are made for that alone."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from envs.restoration import put, restore
from envs.snapshots import MOST_BYTES, Graph, pack
from envs.stream import StateError

SECONDS = 0.2
"""Processor time that the trial may take, and ten times as long in all; what takes longer is not resumable."""
_BEFORE, _LONGEST, _AFTER = 3, 200, 10
"""Steps before the snapshot; of an episode after it, which a reset ends there; and of the next episode."""


def resumable(envs: Sequence[gymnasium.Env], make: Callable[[], gymnasium.Env], seconds: float = SECONDS) -> bool:
    """Whether an environment continues exactly as another one, from whose snapshot it was restored.

    One is played into an episode, another restored from its snapshot; both then take the same actions through the end
    of the episode into the next one, and must return the same. Neither may draw from the global generators of `random`
    and NumPy, which are left as they were, nor change what it shares with others.

    Args:
        envs: of the run; they are looked at, and nothing is called.
        make: makes another one.
        seconds: of processor time of this thread.

    Returns:
        False too where they cannot be made or step, or hold what is no plain data.
    """
    deadline = Deadline(seconds)
    try:
        graph = Graph(envs[:1])  # before others are made, which may take long where there is no hope
        with _global_generators_kept(), _two(envs, make, deadline) as (one, other):
            return _continues(one, other, graph, len(envs), deadline)
    except Exception:  # whatever an environment can do: it is as if this were not there
        return False


class Deadline:
    """So many seconds of this thread's processor time from now, or ten times as many in all."""

    def __init__(self, seconds: float) -> None:
        self._processor, self._all = time.thread_time() + seconds, time.perf_counter() + 10 * seconds

    def passed(self) -> bool:
        """Whether they are over."""
        return time.thread_time() > self._processor or time.perf_counter() > self._all


@contextmanager
def _two(
    envs: Sequence[gymnasium.Env], make: Callable[[], gymnasium.Env], deadline: Deadline
) -> Iterator[list[gymnasium.Env]]:
    """A context with two more environments, which are closed in the end; raises StateError where one is no other."""
    made: list[gymnasium.Env] = []
    bases = [env.unwrapped for env in envs]
    try:
        for _ in range(2):
            env = make()
            if any(env.unwrapped is base for base in bases):
                raise StateError("environments share one")
            made.append(env)
            bases.append(env.unwrapped)
            if deadline.passed():
                raise StateError("it takes too long to make one")
        yield made
    finally:
        for env in made:
            env.close()


@contextmanager
def _global_generators_kept() -> Iterator[None]:
    """A context that raises StateError where a global generator was drawn from, and puts it back."""
    before, legacy = random.getstate(), np.random.get_state(legacy=False)
    drawn = False
    try:
        yield
    finally:
        drawn = random.getstate() != before or _bytes(np.random.get_state(legacy=False)) != _bytes(legacy)
        if drawn:
            random.setstate(before)
            np.random.set_state(legacy)
    if drawn:
        raise StateError("environments draw from a global generator")


def _bytes(state: dict[str, Any]) -> list[bytes]:
    """The state of a `RandomState`, to be compared."""
    return [np.asarray(value).tobytes() for value in (*state["state"].values(), state["has_gauss"], state["gauss"])]


def _continues(one: gymnasium.Env, other: gymnasium.Env, of_run: Graph, number: int, deadline: Deadline) -> bool:
    """What `resumable` returns, for a number of environments of which one is ``of_run``."""
    actions = _Actions(one.action_space)
    one.reset(seed=1)
    one.reset()  # once more than the other, so that what only resets advance differs where it is not restored
    for _ in range(_BEFORE):
        _, _, terminated, truncated, _ = one.step(actions.draw())
        if terminated or truncated:
            one.reset()
    graph = Graph([one])
    shared, state = _Shared(graph, of_run), pack(graph)
    if any(len(state[name]) * number > most for name, most in MOST_BYTES.items()):
        return False
    before = restore([other], state, [actions.draw()])
    try:
        return _steps_alike(one, other, actions, deadline) and not shared.changed()
    finally:
        put(before)  # each closes what is its own


def _steps_alike(one: gymnasium.Env, other: gymnasium.Env, actions: _Actions, deadline: Deadline) -> bool:
    left, first = _LONGEST, True
    while left:
        if deadline.passed():
            return False
        action = actions.draw()
        row, twin = _row(one.step(action)), _row(other.step(action))
        if row != twin:
            return False
        left -= 1
        if first and (row[-1] or not left):
            first, left = False, _AFTER
            row[-1] = True
        if row[-1] and _row((one.reset()[0], 0.0, False, False)) != _row((other.reset()[0], 0.0, False, False)):
            return False
    return True


def _row(row: Sequence[Any]) -> list[Any]:
    """What a step returned, to be compared; last whether the episode has ended."""
    obs, reward, terminated, truncated = row[:4]
    values = np.asarray(obs)
    kept = values.dtype, values.shape, values.tobytes(), np.asarray(reward).tobytes()
    return [*kept, bool(terminated), bool(terminated or truncated)]


class _Actions:
    """Random actions of a space, with a generator of their own.

    Args:
        space: of actions, as `envs.preprocessing.check_actions` returns it.
    """

    def __init__(self, space: spaces.Space) -> None:
        self._space, self._rng = space, np.random.default_rng(0)

    def draw(self) -> Any:
        space = self._space
        if isinstance(space, spaces.Discrete):
            return np.asarray(space.start + self._rng.integers(space.n), space.dtype)[()]
        assert isinstance(space, spaces.Box)
        return np.clip(self._rng.normal(size=space.shape), space.low, space.high).astype(space.dtype)


class _Shared:
    """What two environments share that can change in place; all that are made alike share it."""

    def __init__(self, one: Graph, other: Graph) -> None:
        values = [value for key, (_, value) in one.numbers.items() if key in other.numbers]
        self._before = [(value, _contents(value)) for value in values]

    def changed(self) -> bool:
        """Whether anything of it has."""
        return any(_differ(_contents(value), before) for value, before in self._before)


def _contents(value: Any) -> list[Any]:
    """What something holds, of which only itself is looked into."""
    if isinstance(value, np.ndarray):
        return [value.tobytes()]
    if isinstance(value, np.random.Generator):
        return [str(value.bit_generator.state)]
    if isinstance(value, np.random.RandomState):
        return [str(value.get_state(legacy=False))]
    if isinstance(value, random.Random):
        return [str(value.getstate())]
    if isinstance(value, dict):
        return [*value, *value.values()]
    return list(value) if isinstance(value, Iterable) else [*vars(value), *vars(value).values()]


def _differ(some: list[Any], others: list[Any]) -> bool:
    plain = (bool, int, float, str, bytes)
    alike = (
        one is other or (type(one) is type(other) and type(one) in plain and one == other)
        for one, other in zip(some, others, strict=False)
    )
    return len(some) != len(others) or not all(alike)
