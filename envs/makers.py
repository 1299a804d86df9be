"""What makes a Gymnasium environment: a registered id, a class or a function. What is wrong with it is one line."""

from __future__ import annotations

import difflib
import importlib
import importlib.metadata
import inspect
import os
import re
import sys
import traceback
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
from gymnasium import spaces
from gymnasium.envs.registration import load_env_creator

from envs.games import game_name, game_names

Source = str | Callable[..., gymnasium.Env]
"""A registered id, or a class or function that makes an environment."""
_VARIANT = re.compile(r"(-ram)?(Deterministic|NoFrameskip)?-v\d+$")  # of an Atari id, after the game


@dataclass(frozen=True)
class Maker:
    """Makes environments, each call another one.

    Args:
        source: a registered id, for example ``CartPole-v1``, one with the namespace of an installed package
            (``MinAtar/Breakout-v1``), or ``module:Id-v0``, whose module is looked for in the current folder too; or a
            class or function that makes an environment.
        kwargs: passed to the environment.
        render_mode: passed where it is set and the environment takes it.
        warns: whether Gymnasium's checker, which warns of doubtful observations, comes with the environment of an id.

    Raises:
        ValueError: neither an id nor a class nor a function, or an Atari id.
    """

    source: Source
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    render_mode: str | None = None
    warns: bool = True
    _made: _Made = field(default_factory=weakref.WeakValueDictionary, compare=False, repr=False)

    def __post_init__(self) -> None:
        if isinstance(self.source, gymnasium.Env | gymnasium.vector.VectorEnv):
            raise ValueError(
                f"{_name(self.source)} is an environment, which all would share: pass its class, or a function that "
                "makes one"
            )
        if isinstance(self.source, str):
            refuse_atari(self.source)
        elif not callable(self.source):
            raise ValueError(f"env must be an id, a class or a function that makes one, got {self.source!r}")

    @property
    def name(self) -> str:
        """The id, or the name of the class or function."""
        return self.source if isinstance(self.source, str) else _name(self.source)

    def __call__(self) -> gymnasium.Env:
        """An environment.

        Raises:
            ValueError: an unknown id (the message suggests similar ones), a dependency that is not installed, any error
                of the constructor, which is the cause, or what is made is no environment with its spaces.
        """
        if ":" in self.name and os.getcwd() not in sys.path:
            sys.path.append(os.getcwd())  # for the module of an id; that of a script is its own folder
        make = self.source
        if isinstance(make, str):
            make = partial(gymnasium.make, make, **({} if self.warns else {"disable_env_checker": True}))
        try:
            if isinstance(self.source, str):
                _register(self.source)
            render_mode = {"render_mode": self.render_mode} if self.render_mode and self._takes_render_mode() else {}
            env = make(**render_mode, **self.kwargs)
        except gymnasium.error.UnregisteredEnv as error:
            raise ValueError(_unknown(self.name)) from error
        except (Exception, SystemExit) as error:
            raise ValueError(f"cannot make {self.name}: {describe(error)}") from error
        env = self._checked(env)
        made = _made_by(self.source, self._made)
        if made.get(id(env)) is env:
            raise ValueError(f"{self.name} returns the same environment again, which all would share: make another one")
        made[id(env)] = env
        return env

    def __reduce__(self) -> tuple[Any, ...]:
        """Of a pickle, which holds none of the environments that were made."""
        return type(self), (self.source, self.kwargs, self.render_mode, self.warns)

    def _takes_render_mode(self) -> bool:
        """Whether what makes it has that argument; yes, where that cannot be known."""
        make: Any = self.source
        if isinstance(make, str):
            module, _, id = make.rpartition(":")
            if module:
                importlib.import_module(module)
            make = getattr(gymnasium.registry.get(id), "entry_point", None)
            make = load_env_creator(make) if isinstance(make, str) else make
        try:
            taken = inspect.signature(make).parameters.values()
        except (TypeError, ValueError):
            return True
        return any(one.name == "render_mode" or one.kind is inspect.Parameter.VAR_KEYWORD for one in taken)

    def _checked(self, env: Any) -> gymnasium.Env:
        if not isinstance(env, gymnasium.Env):
            kind = type(env)
            raise ValueError(f"{self.name} makes no gymnasium.Env but {kind.__module__}.{kind.__qualname__}")
        for name in ("observation_space", "action_space"):
            if not isinstance(getattr(env, name, None), spaces.Space):
                raise ValueError(f"{self.name} has no {name}: set self.{name} to one of gymnasium.spaces")
        return env


_Made = weakref.WeakValueDictionary[int, gymnasium.Env]
"""Environments by their `id`, since they may have no hash."""
_MADE: weakref.WeakKeyDictionary[Any, _Made] = weakref.WeakKeyDictionary()
"""What each class or function has made, for all of its makers."""


def _made_by(source: Source, own: _Made) -> _Made:
    """What makers of the source have made: to learn in, to play in, to look at; `own` of an id, whose are new."""
    try:
        return _MADE.setdefault(source, own)
    except TypeError:  # an id, or what no weak reference or dictionary takes
        return own


def describe(error: BaseException) -> str:
    """An error in one line: its message, and for those of the environment's own code its type, file and line."""
    if isinstance(error, gymnasium.error.Error | ImportError):
        return one_line(error)
    text = f"{type(error).__name__}: {one_line(error)}" if str(error) else type(error).__name__
    frames = traceback.extract_tb((error.__cause__ or error).__traceback__)
    library = Path(gymnasium.__file__).parent
    if not frames or library in Path(frames[-1].filename).parents or Path(__file__) == Path(frames[-1].filename):
        return text
    return f"{text} ({Path(frames[-1].filename).name}, line {frames[-1].lineno})"


def one_line(message: object) -> str:
    """The text without line breaks."""
    return " ".join(str(message).split())


def refuse_atari(id: str) -> None:
    """Raise ValueError where that is the id of an Atari game, whose environments have a frame skip of their own."""
    module, _, name = id.rpartition(":")  # which registers it
    spec = gymnasium.registry.get(name)
    if spec is None:
        game = "" if module not in ("", "ale_py") else _VARIANT.sub("", name.removeprefix("ALE/"))
    else:
        game = game_name(spec.kwargs["game"]) if str(spec.entry_point).startswith("ale_py") else ""
    if game in game_names():
        raise ValueError(f"{id} is an Atari game: use --game {game} (game={game!r}), not --env")
    if name.startswith("ALE/"):
        raise ValueError(f"{id} is an Atari id: use --game NAME (game='Breakout'), not --env")


def _name(source: object) -> str:
    named = source if hasattr(source, "__qualname__") else type(source)
    return getattr(getattr(source, "func", named), "__name__", type(source).__name__)


def _register(id: str) -> None:
    """Let the package that is installed for an unknown namespace of an id register its environments.

    Gymnasium before 1.0 did so for all packages, by their entry points; without it `MinAtar/Breakout-v1` is unknown.
    """
    namespace = id.rpartition("/")[0]
    known = any(name.startswith(f"{namespace}/") for name in gymnasium.registry)
    if namespace and ":" not in id and not known:
        for found in importlib.metadata.entry_points(group="gymnasium.envs", name=namespace):
            found.load()()


def _unknown(id: str) -> str:
    ids = [i for i, spec in gymnasium.registry.items() if not str(spec.entry_point).startswith("ale_py")]
    near = difflib.get_close_matches(id.rpartition(":")[2], ids, n=3)
    suggestion = (
        f"did you mean {' or '.join(near)}?"
        if near
        else "no registered id is like it; package:ID imports a package first"
    )
    return f"unknown environment {id!r}: {suggestion}"
