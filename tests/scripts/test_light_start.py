"""What a training script answers before an agent is built comes without the heavy packages, and so at once."""

import json
import subprocess
import sys

from agents.registry import AGENTS
from tests.scripts.processes import SCRIPTS

RUN = """
import contextlib, io, json, runpy, sys

answers = []
for command in json.loads(sys.argv[1]):
    sys.argv, out, err, code = command, io.StringIO(), io.StringIO(), "none"
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            runpy.run_path(command[0], run_name="__main__")
        except SystemExit as end:
            code = end.code
    heavy = {"torch", "gymnasium", "stable_baselines3", "ale_py", "tensorboard"} & set(sys.modules)
    answers.append([code, out.getvalue(), err.getvalue(), sorted(heavy)])
print(json.dumps(answers))
"""


def answers(*commands):
    """Exit code, output, error output and what is imported by then, of scripts called in turn in one new process."""
    calls = [[str(SCRIPTS / f"{script}.py"), *arguments] for script, *arguments in commands]
    command = [sys.executable, "-c", RUN, json.dumps(calls)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_help():
    for agent, (code, out, err, heavy) in zip(
        AGENTS, answers(*([f"train_{agent}", "--help"] for agent in AGENTS)), strict=True
    ):
        assert (code, err, heavy) == (0, "", [])
        assert out.startswith("usage: ")
        assert f"train_{agent}.py [-h]" in out
        for flag in ("--env ID", "--seed INT", "--learning-rate FLOAT"):
            assert flag in out


def test_the_algorithms_of_stable_baselines3():
    (code, out, err, heavy), (_, _, line, _) = answers(["train_sb3", "--help"], ["train_sb3", "--algo", "ppo"])
    assert (code, err, heavy) == (0, "", [])
    for flag in ("train_sb3.py [-h]", "--algo {a2c,", "--game NAME", "--hyperparams NAME:VALUE"):
        assert flag in out
    assert line.startswith("train_sb3.py: error: name the task: --game Breakout")


WRONG = [
    (["train_dqn", "--env", "CartPole-v1", "--foo", "1"], "--foo"),
    (["train_dqn", "--env", "CartPole-v1", "--seed", "-1"], "seed must not be negative, got -1"),
    (["train_dqn", "--env", "CartPole-v1", "--seed", "x"], "--seed"),
    (["train_dqn", "--preset", "slow"], "unknown preset 'slow': choose from fast"),
    (["train_dqn"], "name the task"),
    (["train_dqn", "--resume", "nowhere"], "nowhere is not the folder of a run"),
    (["train_sb3", "--algo", "ppo"], "name the task"),
    (["evaluate", "nowhere"], "nowhere is not the folder of a run: it has no config.json"),
]


def test_a_wrong_command_line():
    commands, said = zip(*WRONG, strict=True)
    for (script, *_), words, (code, out, err, heavy) in zip(commands, said, answers(*commands), strict=True):
        assert (code, out, heavy) == (2, "", [])
        (line,) = err.splitlines()
        assert line.startswith(f"{script}.py: error: ")
        assert words in line


def test_what_builds_an_agent_imports_torch():
    """So that the tests above can fail."""
    ((code, _, _, heavy),) = answers(["train_dqn", "--env", "CartPole-v1", "--device", "cuda:99"])
    assert code == 2
    assert "torch" in heavy
