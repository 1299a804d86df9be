"""What the README shows works as it stands there."""

import re
import runpy
from dataclasses import fields
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
ARGUMENTS = {"train_dqn": "TrainDQN", "evaluate": "Evaluate", "benchmark": "Benchmark"}


def test_python_blocks_run():
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})


@pytest.mark.parametrize("script", ARGUMENTS)
def test_flags_exist(script, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    arguments = runpy.run_path(str(ROOT / "scripts" / f"{script}.py"))[ARGUMENTS[script]]
    known = {field.name.replace("_", "-").removeprefix("no-") for field in fields(arguments)}
    commands = re.findall(rf"scripts/{script}\.py([^\n`#]*)", README)
    assert commands
    for command in commands:
        assert set(re.findall(r"--(?:no-)?([a-z-]+)", command)) <= known


def test_pictures_are_there():
    for path in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README):
        assert (ROOT / path).is_file(), path
