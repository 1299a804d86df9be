"""Random settings of an agent, for properties that all of them have."""

import contextlib
import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from hypothesis import strategies as st

from agents.registry import AGENTS
from agents.settings.flat import flat_types, from_flat, replace
from agents.settings.run import TrainSettings

# Named for what they are: other values are refused, or mean that something else is read.
GIVEN = {
    "env",
    "game",
    "preset",
    "device",
    "norm",
    "env_kwargs",
    "run_dir",
    "resume",
    "config",
    "init_from",
    "own_torso",
    "trust",
}


def kind_of(agent: str) -> Any:
    """The dataclass of an agent's settings."""
    return TrainSettings[AGENTS[agent].settings]


def default_settings(agent: str) -> Any:
    """All defaults, on the chain."""
    return from_flat(kind_of(agent), env="Chain")


@st.composite
def any_settings(draw: st.DrawFn, agent: str) -> Any:
    """Up to 12 values are changed, each to one that is allowed next to those before it."""
    hints = {name: hint for name, hint in flat_types(kind_of(agent)).items() if name not in GIVEN}
    settings = default_settings(agent)
    for name in draw(st.lists(st.sampled_from(sorted(hints)), max_size=12)):
        with contextlib.suppress(ValueError):
            settings = replace(settings, **{name: draw(values_of(hints[name]))})
    return settings


def values_of(hint: Any) -> st.SearchStrategy[Any]:
    """Values of a field of this type."""
    if get_origin(hint) is Annotated:
        return values_of(get_args(hint)[0])
    if get_origin(hint) in (Union, types.UnionType):
        return st.one_of(*(values_of(part) for part in get_args(hint)))
    if get_origin(hint) is Literal:
        return st.sampled_from(get_args(hint))
    if get_origin(hint) is tuple:
        return st.lists(values_of(get_args(hint)[0]), max_size=3).map(tuple)
    by_type = {
        int: st.integers(0, 300) | st.integers(0, 2**40),
        float: st.floats(0, 1) | st.floats(-1e9, 1e9),
        bool: st.booleans(),
        type(None): st.none(),
    }
    return by_type[hint]
