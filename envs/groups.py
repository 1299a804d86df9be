"""Environments in groups that step independently, so that some step while others are acted on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from envs.faults import EnvironmentFault
from envs.seeds import environment_seeds
from envs.stream import Environment, TimeStep, check_action, check_num_envs, clip_action

FEWEST = 32
"""Environments from which on groups are faster, given `CORES`."""
CORES = 8
"""Cores from which on groups are faster."""


class Groups(Environment):
    """N environments in groups, each of which takes its actions and returns its part of a row by itself.

    `send_to` and `recv_from` serve one group; `send`, `recv`, `step` and `reset` all of them. Environment ``i`` is the
    same, with the same seed, as in one environment of all N.

    Args:
        environments: one of each group, alike but for ``num_envs``, which step in the background.
        seed: of the first `reset` if that is given none; None lets each group draw its own.

    Attributes:
        parts: which of the N environments are in each group.

    Raises:
        EnvironmentFault: as the environments do, with the index among the N.
    """

    def __init__(self, environments: Sequence[Environment], seed: int | np.ndarray | None = None) -> None:
        self.environments, self._seed = environments, seed
        ends = np.cumsum([environment.num_envs for environment in environments]).tolist()
        self.parts = [slice(begin, end) for begin, end in zip([0, *ends], ends, strict=False)]
        self.num_envs, one = ends[-1], environments[0]
        self.num_actions, self.action_low, self.action_high = one.num_actions, one.action_low, one.action_high
        self.obs_shape, self.obs_dtype = one.obs_shape, one.obs_dtype
        self.stack, self.frame_skip = one.stack, one.frame_skip
        self.render_fps, self.action_meanings = one.render_fps, one.action_meanings

    def reset(self, seed: int | np.ndarray | None = None) -> TimeStep:
        chosen, self._seed = self._seed if seed is None else seed, None
        seeds = None if chosen is None else environment_seeds(chosen, self.num_envs)
        rows = []
        for index, part in enumerate(self.parts):
            with self._of(index) as environment:
                rows.append(environment.reset(None if seeds is None else seeds[part]))
        return joined(rows)

    def step(self, action: np.ndarray) -> TimeStep:
        self.send(action)
        return self.recv()

    def send(self, action: np.ndarray) -> None:
        if self.action_low is None or self.action_high is None:
            action = check_action(action, self.num_envs, self.num_actions)  # before one of the groups steps
        else:
            action = clip_action(action, self.num_envs, self.action_low, self.action_high)
        for index, part in enumerate(self.parts):
            self.send_to(index, action[part])

    def recv(self) -> TimeStep:
        return joined([self.recv_from(index) for index in range(len(self.parts))])

    def send_to(self, index: int, action: np.ndarray) -> None:
        """Begin a step of one group, whose part of the row `recv_from` returns; see `send`.

        Args:
            index: of the group.
            action: of its environments.
        """
        with self._of(index) as environment:
            environment.send(action)

    def recv_from(self, index: int) -> TimeStep:
        """Wait for the step of one group, and return its part of the row; see `recv`."""
        with self._of(index) as environment:
            return environment.recv()

    def render(self) -> np.ndarray:
        return self.environments[0].render()

    def close(self) -> None:
        for environment in self.environments:
            environment.close()

    @contextmanager
    def _of(self, index: int) -> Iterator[Environment]:
        try:
            yield self.environments[index]
        except EnvironmentFault as fault:
            if fault.index is not None:
                fault.index += self.parts[index].start
            raise


def grouped(
    make: Callable[[int], Environment], num_envs: int, groups: int, seed: int | np.ndarray | None = None
) -> Groups:
    """N environments in so many groups, whose sizes differ by 1 at most.

    Args:
        make: makes the environment of a group from the number of its environments.
        num_envs: N.
        groups: their number.
        seed: as `Groups` takes it.

    Raises:
        ValueError: more groups than environments, or fewer than 1; or as `make`.
    """
    if not 1 <= groups <= check_num_envs(num_envs):
        raise ValueError(f"groups must be from 1 to {num_envs}, the number of environments, got {groups}")
    made: list[Environment] = []
    try:
        for index in range(groups):
            made.append(make(num_envs // groups + (index < num_envs % groups)))
    except BaseException:
        for environment in made:
            environment.close()
        raise
    return Groups(made, seed)


def groups_for(num_envs: int, cores: int) -> int:
    """The number of groups in which N Atari games make the most steps per second, see docs/speed.md.

    Args:
        num_envs: N.
        cores: that the process may use.
    """
    if cores < CORES or num_envs < FEWEST:
        return 1
    return 4 if cores >= 2 * CORES and num_envs >= 2 * FEWEST else 2


def joined(rows: Sequence[TimeStep]) -> TimeStep:
    """The row of all environments from those of the groups, in their order."""
    return TimeStep(*(np.concatenate(columns) for columns in zip(*rows, strict=True)))
