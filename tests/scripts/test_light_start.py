"""What a training script answers before an agent is built comes without the heavy packages, and so at once."""

import subprocess
import sys

import pytest

from agents.registry import AGENTS
from tests.scripts.processes import SCRIPTS

RUN = """
import runpy, sys

sys.argv = sys.argv[1:]
code = "none"
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as end:
    code = end.code
heavy = {"torch", "gymnasium", "stable_baselines3", "ale_py", "tensorboard"} & set(sys.modules)
print("code", code, *sorted(heavy), file=sys.stderr)
"""


def answer(agent, *arguments):
    """The output, the error output, and the exit code with what was imported, of a training script."""
    return answer_of(f"train_{agent}", *arguments)


def answer_of(script, *arguments):
    """The same of any script."""
    command = [sys.executable, "-c", RUN, SCRIPTS / f"{script}.py", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    *errors, end = done.stderr.splitlines()
    return done.stdout, errors, end


@pytest.mark.parametrize("agent", AGENTS)
def test_help(agent):
    out, errors, end = answer(agent, "--help")
    assert (errors, end) == ([], "code 0")
    assert out.startswith("usage: ")
    assert f"train_{agent}.py [-h]" in out
    for flag in ("--env ID", "--seed INT", "--learning-rate FLOAT"):
        assert flag in out


def test_help_of_the_algorithms_of_stable_baselines3():
    out, errors, end = answer("sb3", "--help")
    assert (errors, end) == ([], "code 0")
    for flag in ("train_sb3.py [-h]", "--algo {a2c,", "--game NAME", "--hyperparams NAME:VALUE"):
        assert flag in out
    out, (line,), end = answer("sb3", "--algo", "ppo")
    assert (out, end) == ("", "code 2")
    assert line.startswith("train_sb3.py: error: name the task: --game Breakout")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--env", "CartPole-v1", "--foo", "1"], "--foo"),
        (["--env", "CartPole-v1", "--seed", "-1"], "seed must not be negative, got -1"),
        (["--env", "CartPole-v1", "--seed", "x"], "--seed"),
        (["--preset", "slow"], "unknown preset 'slow': choose from fast"),
        ([], "name the task"),
        (["--resume", "nowhere"], "nowhere is not the folder of a run"),
    ],
)
def test_a_wrong_command_line(arguments, said):
    out, errors, end = answer("dqn", *arguments)
    assert (out, end) == ("", "code 2")
    (line,) = errors
    assert line.startswith("train_dqn.py: error: ")
    assert said in line


def test_a_folder_that_is_no_run():
    out, errors, end = answer_of("evaluate", "nowhere")
    assert errors == ["evaluate.py: error: nowhere is not the folder of a run: it has no config.json"]
    assert (out, end) == ("", "code 2")


def test_what_builds_an_agent_imports_torch():
    """So that the tests above can fail."""
    _, _, end = answer("dqn", "--env", "CartPole-v1", "--device", "cuda:99")
    assert end.startswith("code 2 ")
    assert "torch" in end
