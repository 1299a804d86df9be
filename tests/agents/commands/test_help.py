import ast
import contextlib
import dataclasses
import io
import re
import subprocess
import sys
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import tyro

from agents.commands.help import COMMON, documented, flags_of, help_text, metavar, wanted
from agents.commands.parser import parse
from agents.registry import AGENTS
from agents.settings.flat import flat_defaults, flat_types
from agents.settings.run import TrainSettings

ROOT = Path(__file__).parents[3]


def help_of(agent, *argv):
    """What the training command of an agent prints, in 80 columns."""
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setenv("COLUMNS", "80")
        patch.setattr(sys, "argv", [f"scripts/train_{agent}.py", *argv])
        with pytest.raises(SystemExit) as end:
            parse(AGENTS[agent], "Trains.")
    assert end.value.code == 0
    return printed.getvalue()


def shown_flags(text):
    """The flags that have an entry, in order."""
    entries = re.findall(r"^  (?:-h, )?(--[a-z0-9-]+(?:, --[a-z0-9-]+)?)", text, flags=re.MULTILINE)
    return [name for entry in entries for name in re.findall(r"--([a-z0-9-]+)", entry)]


def entry(text, flag):
    """The entry of a flag, in one line."""
    (found,) = re.findall(rf"^  --{flag}\b.*(?:\n {{26}}.*)*", text, flags=re.MULTILINE)
    return " ".join(found.split())


@pytest.mark.parametrize("agent", AGENTS)
def test_the_short_help_fits_a_screen_or_two(agent):
    text = help_of(agent, "--help")
    lines = text.splitlines()
    assert lines[0] == f"usage: train_{agent}.py [-h] [--help-all] --game NAME | --env ID [flags]"
    assert lines[2] == "Trains."
    assert [name.replace("-", "_") for name in shown_flags(text)] == [*COMMON, "help", "help_all"]
    assert len(lines) < 50
    assert max(map(len, lines)) <= 80
    assert help_of(agent, "-h") == text


def docstrings_of_flags():
    """Docstrings of the settings whose help tyro prints, as written."""
    paths = [*(ROOT / "agents/commands").rglob("*.py"), *(ROOT / "agents/benchmarks").glob("*.py")]
    paths += [ROOT / "agents/settings/sb3.py", *(ROOT / "scripts").rglob("*_experiment.py")]
    for path in paths:
        for kind in ast.walk(ast.parse(path.read_text())):
            for field, after in pairwise(getattr(kind, "body", []) if isinstance(kind, ast.ClassDef) else []):
                if isinstance(field, ast.AnnAssign) and isinstance(after, ast.Expr):
                    yield f"{kind.name}.{field.target.id}", after.value.value


def test_lines_that_tyro_leaves_as_they_are_end_with_sentences():
    texts = dict(docstrings_of_flags())
    assert "SweepSettings.tune" in texts
    broken = {name for name, text in texts.items() for line in text.splitlines()[:-1] if not line.endswith(".")}
    assert broken == set()


def flags_of_tyro(spec):
    """The flags that the command takes, as the library that reads it lists them."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        tyro.cli(
            TrainSettings[spec.settings],
            args=["--help"],
            config=(tyro.conf.OmitArgPrefixes,),
            default=spec.defaults({}, observation="game"),
        )
    left = re.findall(r"^[│ ]{0,2}(--[a-z].*?)(?:  |│|$)", printed.getvalue(), flags=re.MULTILINE)
    return {name for column in left for name in re.findall(r"--([a-z0-9-]+)", column)}


@pytest.mark.parametrize("agent", AGENTS)
def test_the_long_help_has_exactly_the_flags_that_the_command_takes_each_once(agent, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    text = help_of(agent, "--env", "CartPole-v1", "--help-all")
    shown = shown_flags(text)
    assert len(shown) == len(set(shown))
    types = flat_types(TrainSettings[AGENTS[agent].settings])
    own = {f"no-{name.replace('_', '-')}" for name, hint in types.items() if hint == bool | None}  # see `booleans`
    assert set(shown) - {"help", "help-all"} == flags_of_tyro(AGENTS[agent]) | own
    assert [name.replace("-", "_") for name in shown[: len(COMMON)]] == [*COMMON]
    assert max(map(len, text.splitlines())) <= 80
    (count,) = re.findall(r"Show all (\d+) flags", text)
    assert int(count) == len(list(flags_of(TrainSettings[AGENTS[agent].settings])))


@pytest.mark.parametrize("agent", AGENTS)
def test_every_flag_is_explained_under_a_heading(agent):
    kind = TrainSettings[AGENTS[agent].settings]
    flags = list(flags_of(kind))
    assert flat_defaults(kind).keys() - {flag.name for flag in flags} <= {"own_torso"}  # given in Python alone
    assert all(flag.text.endswith((".", ")")) and flag.group for flag in flags)
    headings = [line for line in help_of(agent, "--help-all").splitlines() if re.fullmatch(r"[A-Z].*:", line)]
    assert headings[0] == "The most used flags:"
    assert {"Optimizer, initialization and rewards:", "The network and its normalizer:"} < set(headings)


def test_defaults_without_a_task_name_the_kind_of_task():
    text = help_of("dqn", "--help")
    assert entry(text, "steps").endswith("(default: 10_000_000 with --game, 100_000 with --env)")
    assert entry(text, "seed").endswith("(default: 0)")
    assert "Add --game or --env" in text


@pytest.mark.parametrize(
    ("argv", "steps", "said"),
    [
        (["--game", "Pong"], "10_000_000", "Defaults: preset fast on Atari games."),
        (["--env", "CartPole-v1"], "100_000", "Defaults: preset fast on vectors"),
        (["--game", "Pong", "--preset", "paper"], "50_000_000", "Defaults: preset paper on Atari games."),
    ],
)
def test_defaults_of_a_task_are_those_of_its_preset(argv, steps, said):
    text = help_of("dqn", *argv, "--help")
    assert entry(text, "steps").endswith(f"(default: {steps})")
    assert said in text


def test_a_preset_for_games_alone_has_one_default():
    assert entry(help_of("dqn", "--preset", "paper", "--help"), "steps").endswith("(default: 50_000_000)")


@pytest.mark.parametrize(
    ("hint", "text"),
    [
        (bool, ""),
        (int, "INT"),
        (float | None, "FLOAT|None"),
        (bool | None, ""),
        (Literal["a", "b"], "{a,b}"),
        (tuple[int, ...], "INT ..."),
        (Path | None, "PATH|None"),
        (Annotated[str | None, tyro.conf.arg(metavar="ID")], "ID"),
        (Annotated[tuple[str, ...], tyro.conf.arg(metavar="KEY=VALUE")], "KEY=VALUE ..."),
        (Annotated[str, tyro.conf.arg(help="x")], "NAME"),
    ],
)
def test_what_a_flag_takes(hint, text):
    assert metavar(hint) == text


@pytest.mark.parametrize(
    ("argv", "which"),
    [([], ""), (["--seed", "1"], ""), (["-h"], "common"), (["--help"], "common"), (["--help", "--help-all"], "all")],
)
def test_which_help_is_wanted(argv, which):
    assert wanted(argv) == which


@dataclass
class Base:
    """Of a base class."""

    a: int = 1
    """What a
    is."""


@dataclass
class Own(Base):
    """The heading. More."""

    b: bool = False
    """What b is."""
    c: tyro.conf.Suppress[int] = 3
    """Hidden."""
    d: float | None = None


def test_docstrings_of_attributes():
    assert documented(Own) == {"a": "What a is.", "b": "What b is.", "c": "Hidden."}


def test_an_entry(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py"])
    defaults: dict[str, Any] = dataclasses.asdict(Own(b=True))
    lines = help_text(Own, "D.", "all", defaults, {**defaults, "a": 2}, remark="R.", columns=60).splitlines()
    assert lines[:7] == [
        *("usage: train.py [-h] [--help-all] --game NAME | --env ID [flags]", "", "D.", "", "The heading. More:"),
        "  --a INT                 What a is. (default: 1 with",
        "                          --game, 2 with --env)",
    ]
    assert "  --b, --no-b             What b is. (default: on)" in lines
    assert "  --d FLOAT|None" in [line.rstrip() for line in lines]
    assert not any("--c" in line for line in lines)
    assert lines[-1] == "R."


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_any_encoding_and_a_reader_that_leaves(encoding, monkeypatch):
    monkeypatch.setenv("PYTHONIOENCODING", encoding)
    command = [sys.executable, str(ROOT / "scripts" / "train_dqn.py"), "--help-all"]
    whole = subprocess.run(command, capture_output=True)
    assert (whole.returncode, whole.stderr) == (0, b"")
    assert ("ε".encode() in whole.stdout) == (encoding == "utf-8")
    assert whole.stdout.isascii() == (encoding == "ascii")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as left:
        left.stdout.close()
        assert left.stderr.read() == b""
