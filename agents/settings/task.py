"""The task of a run, and how its environments are run."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import tyro

from agents.settings.checks import check_at_least, check_at_most, check_shares, check_used

Protocol = Literal["none", "machado", "nature"]
Vectorization = Literal["sync", "async"]

NAME_THE_TASK = "name the task: --game Breakout for Atari or --env CartPole-v1, one of the two"
OF_GAMES = (
    *("life_loss", "noop_max", "fire_reset", "sticky_actions", "full_action_set", "max_frames"),
    "emulator_threads",
)
"""Settings of Atari games alone."""
OF_ENVIRONMENTS = ("env_kwargs", "resize", "grey", "vectorization")
"""Settings of other environments alone."""


@dataclass(frozen=True)
class TaskSettings:
    """The task. Options marked Atari are for --game alone, those marked env for --env alone."""

    game: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """Atari game as Gymnasium names it (Breakout), its ROM id (breakout), or an id (ALE/Breakout-v5)."""
    env: Annotated[str | None, tyro.conf.arg(metavar="ID")] = None
    """Any other Gymnasium id (CartPole-v1, or my_module:Maze-v0, with my_module.py in this folder), instead of
    --game."""
    env_kwargs: Annotated[tuple[str, ...], tyro.conf.arg(metavar="KEY=VALUE")] = ()
    """Env: arguments of the environment, each a Python literal or text, such as continuous=False."""
    frame_skip: int | None = None
    """Frames (of --env: its steps) per step, with one action; None: 4 for --game, 1 for --env."""
    stack: int | None = None
    """Frames or vectors in an observation, oldest first; None: 4 for --game, 1 for --env."""
    resize: Annotated[tuple[int, ...], tyro.conf.arg(metavar="SIDE")] = ()
    """Env: size of images in pixels: height and width, or one number for both."""
    grey: bool = False
    """Env: make colour images grey."""
    vectorization: Vectorization = "sync"
    """Env: step the environments one after the other, or (async) each in a process of its own, if they are slow."""
    protocol: Protocol = "none"
    """Atari: defaults of the settings below and of --eval-epsilon: those of Machado et al. 2018, of Mnih et al. 2015
    (nature), or of the preset (none)."""
    life_loss: bool = True
    """Atari: a lost life ends the return in training (reported scores are always of whole games)."""
    noop_max: int = 30
    """Atari: a game begins with up to this many no-op frames."""
    fire_reset: bool = True
    """Atari: press FIRE when a game begins, if the game has that action."""
    sticky_actions: float = 0.0
    """Atari: probability that a frame repeats the previous action."""
    full_action_set: bool = False
    """Atari: use all actions (18; 9 in Skiing and LostLuggage) instead of the game's minimal set."""
    max_frames: int = 108_000
    """Atari: a game is truncated after this many frames (30 minutes)."""
    emulator_threads: int = 0
    """Atari: threads of the emulators; 0: one per core that the process may use, or per environment if fewer."""

    def __post_init__(self) -> None:
        if self.game is not None and self.env is not None:
            raise ValueError(NAME_THE_TASK)
        if self.protocol != "none" and self.env is not None:
            raise ValueError(f"protocol {self.protocol} is one of Atari games: use it with --game")
        for name in ("env_kwargs", "resize"):  # JSON has lists; Python gives a mapping
            object.__setattr__(self, name, _as_tuple(getattr(self, name)))
        check_used(self, self.env is None, "--game", *OF_GAMES)
        check_used(self, self.game is None, "--env", *OF_ENVIRONMENTS)
        check_at_least(self, 0, "noop_max", "emulator_threads")
        for name in ("frame_skip", "stack"):
            if getattr(self, name) is not None:
                check_at_least(self, 1, name)
                check_at_most(self, 1_000, name)
        check_shares(self, "sticky_actions")
        if len(self.resize) > 2 or not all(1 <= side <= 10_000 for side in self.resize):
            raise ValueError(f"resize takes a height and a width from 1 to 10000, or one number, got {self.resize}")
        self.env_options  # noqa: B018 - refuses what is not KEY=VALUE

    @property
    def name(self) -> str:
        """The game or environment, as it was given.

        Raises:
            ValueError: neither was.
        """
        if self.game is None and self.env is None:
            raise ValueError(NAME_THE_TASK)
        return self.game or self.env or ""

    @property
    def env_options(self) -> dict[str, Any]:
        """`env_kwargs` as values by name."""
        return dict(_option(text) for text in self.env_kwargs)

    @property
    def emulator_options(self) -> dict[str, Any]:
        """Options of `envs.Atari` or `envs.Gym` that make the task what it is, in training and evaluation alike.

        Of a game all, but for `life_loss` (see `agents.training.task`); of another environment those that are set.
        """
        both = {"frame_skip": self.frame_skip, "stack": self.stack}
        if self.game is not None:
            names = [name for name in OF_GAMES if name not in ("life_loss", "emulator_threads")]
            return {name: getattr(self, name) for name in names} | {name: both[name] or 4 for name in both}
        size = self.resize * 2 if len(self.resize) == 1 else self.resize
        options = {"env_kwargs": self.env_options, "resize": size, "grey": self.grey, **both}
        return {name: value for name, value in options.items() if value}

    @property
    def machine_options(self) -> dict[str, Any]:
        """Options of `envs.Atari` or `envs.Gym` that say only how the machine is used, where they are set."""
        if self.game is not None:
            return {"num_threads": self.emulator_threads} if self.emulator_threads else {}
        return {"vectorization": self.vectorization} if self.vectorization != "sync" else {}


def _as_tuple(given: Any) -> tuple[Any, ...]:
    if not isinstance(given, Mapping):
        return tuple(given)
    texts = tuple(f"{key}={value!r}" for key, value in given.items())
    for text, (key, value) in zip(texts, given.items(), strict=True):
        if not _has_text_keys(value) or type(kept := _option(text)[1]) is not type(value) or kept != value:
            raise ValueError(
                f"env_kwargs {key} must be a number, text, True, False, None, or lists and mappings of these, got "
                f"{value!r}: give a function that makes the environment"
            )
    return texts


def _option(text: str) -> tuple[str, Any]:
    """Name and value of `KEY=VALUE`: a literal that JSON can hold, or else text."""
    key, equals, value = text.partition("=")
    if not equals or not key.isidentifier():
        raise ValueError(f"env_kwargs takes KEY=VALUE, such as continuous=False, got {text!r}")
    if key == "render_mode":
        raise ValueError("env_kwargs cannot have render_mode: it is set where pictures are wanted")
    try:
        literal = ast.literal_eval(value)
        kept = json.loads(json.dumps(literal))
    except (ValueError, SyntaxError, TypeError):
        return key, value
    if not _has_text_keys(literal):
        raise ValueError(f"env_kwargs {key} must have text as the keys of mappings, as JSON has it, got {value}")
    return key, kept


def _has_text_keys(value: Any) -> bool:
    """Whether all keys of mappings in a value are text; JSON makes text of others."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and _has_text_keys(one) for key, one in value.items())
    return not isinstance(value, list | tuple) or all(map(_has_text_keys, value))
