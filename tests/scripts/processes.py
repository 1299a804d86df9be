"""The command lines, called in this process as a shell would call them, or in one of their own."""

import contextlib
import csv
import io
import json
import os
import runpy
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple
from unittest import mock

from wnrl.checkpoints.tensor_files import read_model

SCRIPTS = Path(__file__).parents[2] / "scripts"
CHAIN = ["--env", "Chain", "--hidden", "16", "--device", "cpu", "--learning-starts", "50"]
CHAIN += ["--batch-size", "8", "--train-interval", "2"]


class Result(NamedTuple):
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str


def call(script, *arguments):
    """Run `scripts/SCRIPT.py ARGUMENTS` here, from its first line to its exit code."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    argv = [f"scripts/{script}.py", *map(str, arguments)]
    with mock.patch.object(sys, "argv", argv), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            runpy.run_path(str(SCRIPTS / f"{script}.py"), run_name="__main__")
        except SystemExit as end:
            code = end.code
    return Result(code, out.getvalue(), err.getvalue())


def start(script, *arguments):
    """The same in a process of its own, whose output is read while it runs."""
    command = [sys.executable, str(SCRIPTS / f"{script}.py"), *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, **pipes, text=True, env=environment, preexec_fn=heed_signals)


def heed_signals():
    """Ctrl-C too, which a test run in the background has its processes ignore."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def train(run_dir, *arguments):
    """A short run on the chain that must succeed."""
    result = call("train_dqn", *CHAIN, "--num-envs", 3, "--run-dir", run_dir, *arguments)
    assert result.code == 0, result.err
    return result


def model(run_dir):
    """The last model, to the bit."""
    tensors, description = read_model(run_dir / "model")
    return {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}, description


def refused_by(script, *arguments, saying):
    """`scripts/SCRIPT.py ARGUMENTS` ends with one line that has these words."""
    result = call(script, *arguments)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith(f"{script}.py: error: ")
    assert result.err.count("\n") == 1
    assert all(words in result.err for words in saying), result.err


def read_progress(run_dir):
    """Rows of `progress.csv`, without the columns of time."""
    with (run_dir / "progress.csv").open(newline="") as file:
        return [
            {name: value for name, value in row.items() if not name.startswith("time/")} for row in csv.DictReader(file)
        ]


def read_json(path):
    return json.loads(path.read_text())


def stopped_line(script, step, run_dir):
    """What `start`'s process says last when it is stopped."""
    path = SCRIPTS / f"{script}.py"
    shown = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    return f"stopped at step {step:,} with a checkpoint: python {shown} --resume {run_dir} continues the run"


def checkpoints(run_dir):
    """Steps of the run's checkpoints."""
    return sorted(int(path.stem) for path in (run_dir / "checkpoints").iterdir())
