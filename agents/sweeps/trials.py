"""A trial: one run of a sweep, as the command line that makes it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agents.registry import AGENTS
from agents.settings.flat import flat_defaults, flat_types
from agents.settings.run import TrainSettings
from agents.settings.sb3 import SB3Settings

SB3 = "sb3-"
"""Before the names of stable-baselines3's algorithms."""
OF_A_TRIAL = ("env", "game", "norm", "seed", "steps", "algo", "run_dir", "resume", "config", "init_from", "trust")
"""Settings that a sweep gives each of its trials, or none."""
LONGEST_NAME = 220
"""Characters of a group in a folder's name, which file systems take up to 255 of, endings included."""


@dataclass(frozen=True)
class Trial:
    """One run of a sweep."""

    agent: str
    """A name in `AGENTS`, or `sb3-` and an algorithm of stable-baselines3."""
    task: str
    """A game, or the id of an environment."""
    game: bool
    """Whether the task is an Atari game."""
    norm: str
    seed: int
    steps: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Further settings, by name."""
    varied: tuple[str, ...] = ()
    """Names of those settings of which the sweep has several values."""

    @property
    def group(self) -> str:
        """What the trials have in common that differ in their seeds alone."""
        return "-".join([self.agent, self.task, self.norm, *(f"{name}={self.shown(name)}" for name in self.varied)])

    @property
    def name(self) -> str:
        """Of its folder; of a long group its beginning, and a checksum of the whole."""
        group = re.sub(r"[^A-Za-z0-9_.+=-]", "_", self.group)
        if len(group) > LONGEST_NAME:
            group = f"{group[:LONGEST_NAME]}-{hashlib.sha256(self.group.encode()).hexdigest()[:12]}"
        return f"{group}-s{self.seed}"

    def shown(self, setting: str) -> str:
        """The value of a setting, as tables show it; empty where the agent's default holds."""
        value = self.settings.get(setting, "")
        return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)

    @property
    def arguments(self) -> list[str]:
        """What follows `wnrl`, but for the folder."""
        agent = self.agent.removeprefix(SB3)
        command = ["sb3", "--algo", agent] if self.agent.startswith(SB3) else ["train", agent]
        task = ["--game" if self.game else "--env", self.task]
        own = ["--norm", self.norm, "--seed", str(self.seed), "--steps", str(self.steps)]
        return [*command, *task, *own, *(text for pair in self.settings.items() for text in as_flag(*pair))]

    def arguments_in(self, folder: Path) -> list[str]:
        """As `arguments`, for the run's folder, in which it goes on where it has a checkpoint and the agent can."""
        return [*self.arguments, "--run-dir", str(folder), *(["--resume", "auto"] if self.resumable else [])]

    @property
    def resumable(self) -> bool:
        """Whether it can go on from a checkpoint, which runs of stable-baselines3's algorithms cannot."""
        return not self.agent.startswith(SB3)


def as_flag(name: str, value: Any) -> list[str]:
    """A setting on the command line."""
    flag = f"--{name.replace('_', '-')}"
    if isinstance(value, bool):
        return [flag if value else f"--no-{flag[2:]}"]
    return [flag, *map(str, value)] if isinstance(value, (list, tuple)) else [flag, str(value)]


def settings_of(agent: str) -> Any:
    """The dataclass of an agent's flags.

    Raises:
        ValueError: an unknown agent.
    """
    if agent.startswith(SB3):
        return SB3Settings
    if agent not in AGENTS:
        raise ValueError(f"there is no agent {agent!r}: choose from {', '.join(AGENTS)}, or {SB3}ppo and its like")
    spec = AGENTS[agent]
    return TrainSettings[spec.settings]  # type: ignore[name-defined]


def setting_names(agent: str) -> set[str]:
    """The settings of an agent that a sweep can set."""
    return flat_defaults(settings_of(agent)).keys() - {*OF_A_TRIAL}


def takes_several(agent: str, name: str) -> bool:
    """Whether a setting takes several words, as the widths of layers do."""
    return str(flat_types(settings_of(agent))[name]).count("tuple[") > 0


def combinations(trials: Sequence[Trial]) -> list[Trial]:
    """The first trial of each group."""
    return list({trial.group: trial for trial in reversed(trials)}.values())[::-1]
