"""What a sweep consists of: the trials over agents, tasks, normalizers, settings and seeds."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agents.settings.nearest import nearest_setting
from agents.sweeps.trials import OF_A_TRIAL, Trial, setting_names, settings_of, takes_several

SELECTING = ("agent", "env", "game", "norm")
"""Entries of an override that say which trials it is for."""


@dataclass(frozen=True)
class Override:
    """Settings of some of the trials."""

    where: Mapping[str, tuple[str, ...]]
    """Values of agent, env, game or norm; a trial has one of each that is named."""
    settings: Mapping[str, Any]

    @classmethod
    def of(cls, entries: Mapping[str, Any]) -> Override:
        """An override from a flat table, as files of sweeps have it.

        Raises:
            ValueError: it selects nothing, or sets nothing, or has a value of the wrong kind.
        """
        where = {name: _several(name, entries[name]) for name in SELECTING if name in entries}
        settings = {name: value for name, value in entries.items() if name not in SELECTING}
        if not where or not settings:
            raise ValueError(
                f"an override needs one of {', '.join(SELECTING)}, which select trials, and a setting that they get"
            )
        for name, value in settings.items():
            words = value if isinstance(value, (list, tuple)) else [value]
            if any(isinstance(word, (list, tuple, Mapping)) for word in words):
                raise ValueError(f"{name} in an override must be a value or a list of values, got {value}")
        return cls(where, settings)

    @property
    def condition(self) -> str:
        """Of which trials it is, in words."""
        return " and ".join(f"{name} {' or '.join(values)}" for name, values in self.where.items())

    def holds(self, agent: str, task: str, norm: str) -> bool:
        """Whether it is for trials of these."""
        found = {"agent": agent, "env": task, "game": task, "norm": norm}
        return all(found[name] in values for name, values in self.where.items())

    def holds_any(self, combinations: Iterable[tuple[str, str, str]]) -> bool:
        """Whether it is for trials of one of these, see `kinds`."""
        return any(self.holds(*combination) for combination in combinations)


def kinds(agents: Sequence[str], tasks: Sequence[str], norms: Sequence[str]) -> list[tuple[str, str, str]]:
    """The combinations of agents, tasks and normalizers, as `Override.holds` takes them."""
    return list(itertools.product(agents, tasks, norms))


@dataclass(frozen=True)
class Plan:
    """A sweep's axes.

    Raises:
        ValueError: nothing to run, an unknown agent or setting, or a value that is given twice.
    """

    agents: tuple[str, ...]
    envs: tuple[str, ...]
    games: tuple[str, ...]
    norms: tuple[str, ...]
    seeds: tuple[int, ...]
    steps: int
    axes: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """Values of further settings by name; of one value, it holds for all trials."""
    overrides: tuple[Override, ...] = ()

    def __post_init__(self) -> None:
        for name in ("agents", "norms", "seeds"):
            if not getattr(self, name):
                raise ValueError(f"name at least one of --{name}")
        if not self.envs and not self.games:
            raise ValueError("name the tasks: --envs CartPole-v1, or --games Breakout for Atari")
        for name, values in {**vars(self), **self.axes}.items():
            if isinstance(values, tuple) and (twice := _given_twice(values)):
                raise ValueError(f"--{name.replace('_', '-')} has {twice}")
        for name, values in self.axes.items():
            if not values:
                raise ValueError(f"{name} has no values")
        for override in self.overrides:
            if not override.holds_any(self._kinds()):
                raise ValueError(f"no run has {override.condition}, which an override is for")
        for agent in self.agents:
            settings_of(agent)
            for setting in self.axes:
                check_setting(agent, setting)
            for override in self.overrides:
                if agent in override.where.get("agent", self.agents):
                    self._check_override(agent, override)

    def _check_override(self, agent: str, override: Override) -> None:
        for setting in override.settings:
            check_setting(agent, setting)
            if len(self.axes.get(setting, ())) > 1:
                raise ValueError(f"{setting} is an axis with {len(self.axes[setting])} values, and in an override")

    def _kinds(self) -> list[tuple[str, str, str]]:
        return kinds(self.agents, (*self.envs, *self.games), self.norms)

    def trials(self) -> list[Trial]:
        """All of them, those with the first seed first."""
        varied = tuple(sorted(name for name, values in self.axes.items() if len(values) > 1))
        tasks = [*((env, False) for env in self.envs), *((game, True) for game in self.games)]
        found = []
        for seed, agent, (task, game), norm, *values in itertools.product(
            self.seeds, self.agents, tasks, self.norms, *self.axes.values()
        ):
            settings = {name: _words(agent, name, value) for name, value in zip(self.axes, values, strict=True)}
            for override in self.overrides:
                if override.holds(agent, task, norm):
                    settings |= override.settings
            found.append(Trial(agent, task, game, norm, seed, self.steps, settings, varied))
        return found


def _given_twice(values: Sequence[Any]) -> str | None:
    """The first value that one before it means too, in words, also as another text: 1e-3 and 0.001."""
    known: dict[Any, Any] = {}
    for value in values:
        if (meaning := _meaning(value)) in known:
            first = known[meaning]
            return f"{first} twice" if str(first) == str(value) else f"{first} and {value}, which is the same"
        known[meaning] = value
    return None


def _meaning(value: Any) -> Any:
    """A number for the text of one; else a text."""
    try:
        return str(value) if isinstance(value, bool) or str(value).lower() == "nan" else float(value)
    except (TypeError, ValueError):
        return str(value)


def check_setting(agent: str, setting: str) -> None:
    """Raise ValueError where an agent has no such setting, or a sweep gives it its value."""
    if setting in OF_A_TRIAL:
        advice = {"env": "--envs", "game": "--games", "norm": "--norms", "seed": "--seeds", "algo": "--agents sb3-ppo"}
        raise ValueError(f"a sweep sets {setting} itself: {advice.get(setting, 'leave it out')}")
    if setting not in (names := setting_names(agent)):
        near = nearest_setting(setting, names)
        meant = f": did you mean {near}?" if near else "; an override can set it for other agents alone"
        raise ValueError(f"{agent} has no setting {setting!r}{meant}")


def _words(agent: str, name: str, value: Any) -> Any:
    """A value as a command line takes it: `64,64` is two words where the setting takes several."""
    if isinstance(value, str) and takes_several(agent, name):
        return tuple(re.split(_BETWEEN.get(name, ","), value))
    return value


_BETWEEN = {"hyperparams": r",(?=\w+:)", "env_kwargs": r",(?=\w+=)"}
"""Where the words of settings end whose words may have commas."""


def _several(name: str, values: Any) -> tuple[str, ...]:
    """The names by which an override selects trials."""
    names = [values] if isinstance(values, str) else values
    if not isinstance(names, (list, tuple)) or not names or not all(isinstance(one, str) for one in names):
        raise ValueError(f"{name} in an override must be a name or a list of names, got {values!r}")
    return tuple(names)


def seed_range(first: int, count: int) -> tuple[int, ...]:
    """So many seeds; any two give unrelated runs.

    Raises:
        ValueError: there is none.
    """
    if count < 1:
        raise ValueError(f"seeds must be at least 1, got {count}")
    return tuple(range(first, first + count))


def values_of(texts: Sequence[str]) -> tuple[Any, ...]:
    """Values of a setting from words of a command line; none stands for a bare flag."""
    plain = {"True": True, "False": False}
    return tuple(plain.get(text, text) for text in texts) or (True,)
