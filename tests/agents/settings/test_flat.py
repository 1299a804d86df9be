"""agents.settings.flat: nested settings under flat names."""

import functools
import json
from collections import Counter
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.registry import AGENTS
from agents.settings.dqn import DQNSettings
from agents.settings.earlier import migrated
from agents.settings.flat import (
    flat_defaults,
    from_flat,
    names_of_types,
    not_given,
    python_name,
    replace,
    to_flat,
    to_json,
)
from agents.settings.run import RunSettings, TrainSettings
from tests.agents.settings.any_settings import any_settings, default_settings, kind_of


@dataclass(frozen=True)
class Inner:
    a: int = 1
    b: tuple[int, ...] = (2,)

    def __post_init__(self):
        if self.a < 0:
            raise ValueError(f"a must not be negative, got {self.a}")


@dataclass(frozen=True)
class Outer:
    c: Path | None = None
    inner: Inner = Inner(a=5)


def test_flat_names_reach_the_nested_fields():
    assert from_flat(Outer, {"b": (3, 4)}, c=Path("x")) == Outer(c=Path("x"), inner=Inner(a=5, b=(3, 4)))
    assert from_flat(Outer) == Outer()  # the defaults within the outer dataclass, not the inner one's own
    assert from_flat(TrainSettings[Outer], seed=4, a=7) == TrainSettings(RunSettings(seed=4), Outer(inner=Inner(a=7)))


def test_names_of_types():
    assert names_of_types(Outer, lambda types: int in types) == {"a", "b"}
    assert names_of_types(Outer, lambda types: types == {Path, type(None)}) == {"c"}
    assert names_of_types(int | str, lambda types: True) == set()


def test_what_is_no_field_is_refused():
    with pytest.raises(ValueError, match="Outer has no d, e"):
        from_flat(Outer, e=1, d=2)
    with pytest.raises(ValueError, match="Outer has no d"):
        replace(Outer(), d=2)


def test_each_dataclass_checks_itself():
    with pytest.raises(ValueError, match="a must not be negative, got -1"):
        from_flat(Outer, a=-1)
    with pytest.raises(ValueError, match="a must not be negative, got -1"):
        replace(Outer(), a=-1)


def test_replacing_leaves_the_rest():
    settings = from_flat(TrainSettings[DQNSettings], env="Chain", batch_size=7)
    changed = replace(settings, seed=3, gamma=0.5)
    assert (changed.run.seed, changed.agent.learner.gamma, changed.agent.replay.batch_size) == (3, 0.5, 7)
    assert replace(changed, seed=settings.run.seed, gamma=settings.agent.learner.gamma) == settings


def test_to_flat_is_the_inverse():
    settings = from_flat(TrainSettings[DQNSettings], env="Chain", hidden=(3, 4), tau=0.5, atoms=51)
    assert from_flat(TrainSettings[DQNSettings], to_flat(settings)) == settings
    assert flat_defaults(TrainSettings[DQNSettings]).keys() == to_flat(settings).keys()


def test_json_has_lists_and_texts():
    stored = json.loads(json.dumps(to_json(Outer(c=Path("a/b")))))
    assert stored == {"c": "a/b", "a": 5, "b": [2]}


GOLDEN = sorted((Path(__file__).parent / "golden").glob("*.json"))


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_settings_that_were_stored_in_version_0_1_are_read(path):
    """Each file is what `config.json` held when the settings were one flat dataclass."""
    config = json.loads(path.read_text())
    kind = TrainSettings[AGENTS[config["agent"]].settings]
    stored = migrated(config["settings"], 0, flat_defaults(kind).keys())
    assert config["settings"].items() <= stored.items()
    made = from_flat(kind, stored)
    assert stored.pop("trust") is False  # of a command alone
    assert json.loads(json.dumps(to_json(made))) == json.loads(json.dumps(stored))


def names(kind):
    hints = get_type_hints(kind)
    for field in fields(kind):
        if is_dataclass(hints[field.name]):
            yield from names(hints[field.name])
        else:
            yield field.name


@pytest.mark.parametrize("spec", AGENTS.values(), ids=lambda spec: spec.name)
def test_no_two_fields_of_a_run_have_one_name(spec):
    counts = Counter([*names(RunSettings), *names(spec.settings)])
    assert {name for name, count in counts.items() if count > 1} == set()


class Maze:
    pass


@pytest.mark.parametrize(
    ("made", "name"),
    [
        (Maze, "python:Maze"),
        (Maze(), "python:Maze"),
        (functools.partial(Maze, 3), "python:Maze"),
        (lambda: Maze(), "python:lambda"),
        ("python:Maze", "python:Maze"),
    ],
)
def test_what_is_made_in_python_has_a_name_that_says_so(made, name):
    assert python_name(made) == name


def test_what_was_made_in_python_is_asked_for_by_name():
    error = not_given("python:Maze", "an environment", "env")
    assert str(error) == "Maze is an environment made in Python: give it, as in agents.load(RUN, env=Maze)"


@pytest.mark.parametrize("agent", AGENTS)
@settings(max_examples=6, deadline=None)
@given(data=st.data())
def test_flat_names_and_json_hold_all_that_settings_are(agent, data):
    drawn = data.draw(any_settings(agent))
    flat = to_flat(drawn)
    assert from_flat(kind_of(agent), flat) == drawn
    assert replace(default_settings(agent), **flat) == drawn
    stored = json.loads(json.dumps(to_json(drawn), allow_nan=False))
    read = {name: tuple(value) if isinstance(value, list) else value for name, value in stored.items()}
    assert from_flat(kind_of(agent), read) == drawn
