"""Which names are ours, and where they lead; needs no Sphinx."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable
from typing import Any

import agents
import envs
import wnrl
import wnrl.sb3
from agents.registry import AGENTS

PACKAGES = (wnrl, agents, envs, wnrl.sb3)
PUBLIC = {name for package in PACKAGES for name in package.__all__} | {"NormalizedPolicy"}
"""Classes that are shown as bases, by name."""
SETTINGS = {
    f"{spec.settings.__module__}.{spec.settings.__qualname__}": f"reference/train-{name}"
    for name, spec in AGENTS.items()
}
"""The pages with the flags of agents, by the dataclass of their settings."""
NAME = re.compile(r"(wnrl|agents|envs)(\.\w+)*|[A-Z]\w*(\.\w+)*")


def is_name(text: str) -> bool:
    """Whether code between backticks is the name of a class, or begins with one of our packages."""
    return NAME.fullmatch(text) is not None


def page_of_settings(name: str) -> str | None:
    """The page with the flags that a dataclass of settings stands for."""
    return SETTINGS.get(name)


def exists(name: str) -> bool:
    """Whether `package.module.attribute`, of our packages, is in the code."""
    if re.match(r"(wnrl|agents|envs)(\.|$)", name) is None:
        return False
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


def public_bases(bases: Iterable[Any]) -> list[Any]:
    """The base classes, each of ours that is not public replaced by its own bases, without repetitions."""
    shown: dict[Any, None] = {}
    for base in bases:
        ours = base.__module__.split(".")[0] in ("wnrl", "agents", "envs")
        own = public_bases(base.__bases__) if ours and base.__name__ not in PUBLIC else [base]
        shown |= dict.fromkeys(own)
    if len(shown) > 1:
        shown.pop(object, None)
    return list(shown)
