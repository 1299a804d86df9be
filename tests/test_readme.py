"""What the README shows works as it stands there."""

import re
import runpy
from dataclasses import fields
from pathlib import Path

import pytest

from agents.benchmarks import commands
from agents.registry import AGENTS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
ARGUMENTS = {  # of each script, or of each of its commands
    **{f"train_{name}": kind.settings for name, kind in AGENTS.items()},
    "evaluate": "Evaluate",
    "benchmark.py dqn": commands.DQN,
    "benchmark.py ppo": commands.PPO,
    "benchmark.py a2c": commands.A2C,
    "benchmark.py norms": commands.Norms,
    "learning_rates": "LearningRates",
}
SHOWN = {"train_dqn", "evaluate", "benchmark.py dqn", "benchmark.py norms", "learning_rates"}  # at least


def test_python_blocks_run():
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})


@pytest.mark.parametrize("script", ARGUMENTS)
def test_flags_exist(script, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    name, _, what = script.partition(".py ")
    namespace, arguments = runpy.run_path(str(ROOT / "scripts" / f"{name}.py")), ARGUMENTS[script]
    arguments = namespace[arguments] if isinstance(arguments, str) else arguments
    known = {field.name.replace("_", "-").removeprefix("no-") for field in fields(arguments)}
    commands = re.findall(rf"scripts/{name}\.py {what}([^\n`#]*)", README)
    assert commands or script not in SHOWN
    for command in commands:
        assert set(re.findall(r"--(?:no-)?([a-z-]+)", command)) <= known


def test_pictures_are_there():
    for path in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README):
        assert (ROOT / path).is_file(), path
