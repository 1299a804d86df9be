"""The task of a run: environments to learn in, and those to play whole games in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import gymnasium

from agents.settings.flat import PYTHON, flat_defaults, not_given
from agents.settings.presets.base import SMALL, Observation
from agents.settings.task import TaskSettings
from envs import Environment, Interface, make, probe
from envs.atari import usable_cores
from envs.games import settings_of_id
from envs.groups import groups_for

Source = Callable[..., gymnasium.Env]
"""Makes an environment: a class, or a function; what Python gives instead of an id."""


@dataclass(frozen=True)
class Task:
    """A game or environment by its settings, or a maker of environments.

    Args:
        settings: name and options of the task.
        source: makes the environments, instead of an id; called once for each, and for a few that are only tried.
    """

    settings: TaskSettings
    source: Source | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Of copies and pickles: what was found out by a probe is found out again."""
        return {name: value for name, value in vars(self).items() if name != "_interface"}

    @classmethod
    def of(cls, values: Mapping[str, Any], source: Source | None = None) -> Task:
        """The task of those of these settings, by flat name, that are of a task."""
        return cls(
            TaskSettings(**{name: values[name] for name in flat_defaults(TaskSettings) if name in values}), source
        )

    def probe(self) -> Interface:
        """What its environments show and take.

        No emulator is started for a game. One environment of any other kind is made, reset, stepped once and closed, at
        the first call.

        Raises:
            ValueError: it cannot be made, or its ``reset`` or ``step`` is not as `gymnasium.Env` says.
        """
        return self._interface

    @property
    def observation(self) -> Observation:
        """What presets depend on; raises as `probe`."""
        if self.settings.game is not None:
            return "game"
        shape = self.probe().obs_shape
        if len(shape) != 3:
            return "vector"
        return "small image" if min(shape[1:]) < SMALL else "image"

    @cached_property
    def _interface(self) -> Interface:
        task = self.settings
        return probe(game=task.game, env=self._env, **task.emulator_options)

    def training(self, num_envs: int, groups: int | None = 1) -> Environment:
        """N environments to learn in, where a lost life ends the return if the settings say so.

        Args:
            num_envs: N.
            groups: in how many they step, see `envs.make`; None: of games as many as are fastest, of others one.
        """
        if self.settings.game is None:
            return self._make(num_envs, groups=groups or 1)
        groups = groups or groups_for(num_envs, usable_cores())
        return self._make(num_envs, groups=groups, life_loss=self.settings.life_loss)

    def evaluation(self, num_envs: int, **options: Any) -> Environment:
        """N environments for true scores: whole games, whatever a lost life means in training."""
        return self._make(num_envs, **options)

    def _make(self, num_envs: int, **options: Any) -> Environment:
        task = self.settings
        return make(
            game=task.game, env=self._env, num_envs=num_envs, **task.emulator_options, **task.machine_options, **options
        )

    def check_source(self) -> None:
        """Raise ValueError where the environment was made in Python, and is not given."""
        self._env  # noqa: B018

    @property
    def _env(self) -> str | Source | None:
        if self.source is not None:
            return self.source
        check_not_of_python(self.settings.env)
        return self.settings.env

    @property
    def remark(self) -> str:
        """A line on a game that is given as the id of an environment of Gymnasium; empty for any other task."""
        return (settings_of_id(self.settings.game) or "") if self.settings.game else ""

    def describe(self) -> dict[str, Any]:
        """The task, as a model's description has it."""
        task = self.settings
        own = {} if task.game is None else {"protocol": task.protocol, "life_loss": task.life_loss}
        return {"game": task.game, "env": task.env, "emulator": task.emulator_options, **own}


def check_not_of_python(env: str | None) -> None:
    """Raise ValueError where that is the name of an environment that was made in Python, and not an id."""
    if env is not None and env.startswith(PYTHON):
        raise not_given(env, "an environment", "env")
