"""The command `wnrl`: what it lists, what it refuses, and that the rest is what the scripts do."""

import ast
import re
import sys
from pathlib import Path

import pytest

from agents.commands import entry
from agents.registry import AGENTS
from tests.scripts.processes import CHAIN
from wnrl import __version__

SCRIPTS = Path(__file__).parents[3] / "scripts"
PROGRAMS = {"wnrl": "/env/bin/wnrl", "python -m wnrl": "/clone/wnrl/__main__.py"}


@pytest.fixture
def wnrl(monkeypatch, capsys):
    """Calls the command and returns its exit code, output and error output."""

    def call(*arguments, program="wnrl"):
        monkeypatch.setattr(sys, "argv", [PROGRAMS[program], *map(str, arguments)])
        before = sys.argv
        try:
            code = entry.main()
        except SystemExit as end:
            code = end.code or 0
        assert sys.argv is before
        return (code, *capsys.readouterr())

    return call


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_help_lists_the_commands_in_plain_lines(wnrl, arguments, program):
    code, out, err = wnrl(*arguments, program=program)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == f"usage: {program} COMMAND ..."
    listed = [re.split(r"  +", line.strip()) for line in lines if line.startswith("  ")]
    assert listed[0] == ["train AGENT", "Train an agent: dqn, ppo, a2c, reinforce, pqn, sac"]
    assert [row[0] for row in listed] == [
        "train AGENT",
        "evaluate RUN",
        "watch RUN",
        "sb3",
        "benchmark WHAT",
        "sweep",
        "report DIR",
        "--version",
    ]
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("arguments", [["train"], ["train", "--help"], ["train", "-h"]])
def test_help_of_train_lists_the_agents(wnrl, arguments, program):
    code, out, err = wnrl(*arguments, program=program)
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == f"usage: {program} train AGENT ..."
    assert re.findall(r"^  (\w+) --", out, flags=re.MULTILINE) == [*AGENTS]
    assert "\n  dqn --game Breakout " in out


def test_version(wnrl):
    assert wnrl("--version") == (0, f"wnrl {__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["trian"], "wnrl: error: there is no command 'trian': did you mean wnrl train?"),
        (["dqn"], "wnrl: error: there is no command 'dqn': did you mean wnrl train dqn?"),
        (
            ["--game", "Pong"],
            "wnrl: error: there is no command '--game': wnrl train|evaluate|watch|sb3|benchmark|sweep|report",
        ),
        (["train", "DQN"], "wnrl: error: there is no agent 'DQN': did you mean wnrl train dqn?"),
        (
            ["train", "--game", "Pong"],
            "wnrl: error: the agent comes first: wnrl train dqn|ppo|a2c|reinforce|pqn|sac",
        ),
        (["train", "pqn"], "wnrl train pqn: error: name the task"),
        (
            ["train", "ppo", "--env", "Chain", "--seed", "-1"],
            "wnrl train ppo: error: seed must not be negative, got -1",
        ),
        (["evaluate", "nowhere"], "wnrl evaluate: error: nowhere is not the folder of a run"),
        (["sb3", "--algo", "ppo"], "wnrl sb3: error: name the task"),
        (["report", "nowhere"], "wnrl report: error: there is no folder nowhere: name one that holds runs"),
        (["benchmark", "norms", "--device", "cuda:99"], "wnrl benchmark: error: "),
    ],
)
def test_a_wrong_command_line_is_one_line(wnrl, arguments, said):
    code, out, err = wnrl(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith(said)
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "command", ["train dqn", "train sac", "evaluate", "watch", "sb3", "benchmark replay", "sweep", "report"]
)
def test_a_command_has_its_own_help(wnrl, command):
    code, out, err = wnrl(*command.split(), "--help")
    assert (code, err) == (0, "")
    assert out.startswith(f"usage: wnrl {command} [-h] ")


def test_sentences_and_examples_are_those_of_the_scripts():
    def first_line(script):
        return ast.get_docstring(ast.parse((SCRIPTS / f"{script}.py").read_text(encoding="utf-8"))).splitlines()[0]

    assert {*entry.TRAIN} == {*AGENTS}
    for agent, (sentence, example) in entry.TRAIN.items():
        assert first_line(f"train_{agent}") == f"{sentence}: python scripts/train_{agent}.py {example}"
    for name, command in entry.COMMANDS.items():
        script = {"sb3": "train_sb3"}.get(name, name)
        assert first_line(script) == f"{command.sentence}: python scripts/{script}.py {command.example}"


def test_ctrl_c(wnrl, monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("agents.commands.train.train", interrupted)
    assert wnrl("train", "dqn", "--env", "CartPole-v1")[0] == 130


def test_train_stop_resume_and_evaluate(wnrl, tmp_path):
    """The same folder as a script writes, and the lines at the end name the command that was used."""
    run = tmp_path / "my run"
    flags = [*CHAIN, "--num-envs", "1", "--eval-interval", "0"]
    code, out, _ = wnrl("train", "dqn", *flags, "--steps", "60", "--run-dir", run)
    assert code == 0
    assert f"wnrl evaluate '{run}'" in out
    assert "scripts/" not in out
    assert '"wnrl train dqn",' in (run / "config.json").read_text()
    code, out, _ = wnrl("train", "dqn", "--resume", run, "--steps", "90", program="python -m wnrl")
    assert code == 0
    assert f"python -m wnrl evaluate '{run}'" in out
    code, out, _ = wnrl("evaluate", run, "--episodes", "2", "--device", "cpu")
    assert code == 0
    assert "Chain: " in out


def test_an_agent_without_train_is_answered_with_the_command(wnrl):
    code, out, error = wnrl("dqn", "--env", "CartPole-v1")
    assert (code, out) == (2, "")
    assert "there is no command 'dqn': did you mean wnrl train dqn?" in error
    assert wnrl("version") == wnrl("--version")
