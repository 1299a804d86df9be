import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = {"wnrl", "envs", "agents", "scripts", "tests"}
MAY_IMPORT = {"wnrl": {"wnrl"}, "envs": {"envs"}, "agents": {"agents", "wnrl", "envs"}}


def files(package):
    return sorted((ROOT / package).rglob("*.py"))


def imported(source):
    """The full names of all modules that a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def tops(path):
    return {name.split(".")[0] for name in imported(path.read_text())}


def test_imports_are_found_wherever_they_stand():
    source = "import a.b, c\nfrom d.e import f\ndef g():\n    if h:\n        from i import j as k\n"
    assert imported(source) == {"a.b", "c", "d.e.f", "i.j"}


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_packages_import_only_what_lies_below_them(package):
    assert len(files(package)) > 3
    wrong = {path.name: sorted(tops(path) & PROJECT - MAY_IMPORT[package]) for path in files(package)}
    assert {name: found for name, found in wrong.items() if found} == {}


def rooms(path):
    """The folders of a file, below the tree's root."""
    return path.relative_to(ROOT).parent.parts


def test_only_wnrl_sb3_and_the_benchmarks_import_stable_baselines3():
    wrong = {
        rooms(path)
        for package in MAY_IMPORT
        for path in files(package)
        if tops(path) & {"stable_baselines3", "sb3_contrib"}
    }
    assert wrong == {("wnrl", "sb3"), ("agents", "benchmarks")}


def test_no_agent_needs_the_benchmarks():
    for package in MAY_IMPORT:
        for path in files(package):
            if rooms(path) not in (("agents", "benchmarks"), ("agents", "commands")):
                assert not {n for n in imported(path.read_text()) if n.startswith("agents.benchmarks")}, path


def test_nothing_but_wnrl_sb3_imports_wnrl_sb3():
    for package in ("wnrl", "envs"):
        for path in files(package):
            if path.relative_to(ROOT).parts[1] not in ("sb3", "sb3.py"):
                assert not {name for name in imported(path.read_text()) if name.startswith("wnrl.sb3")}, path


def test_import_wnrl_is_light():
    heavy = {"stable_baselines3", "gymnasium", "ale_py", "tensorboard", "tyro", "agents", "envs"}
    code = f"import sys, wnrl; print(sorted({heavy!r} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


SPINS = """
import importlib, os, sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            print("torch after", os.environ.get("GOMP_SPINCOUNT"))

sys.meta_path.insert(0, Finder())
sys.path.insert(0, "scripts")
importlib.import_module(sys.argv[1])
"""


@pytest.mark.parametrize("script", ["train_a2c", "train_dqn", "benchmark"])
@pytest.mark.parametrize(
    ("given", "found"), [({}, "30000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, "None")]
)
def test_torch_is_told_before_it_is_imported_how_long_its_threads_wait_awake(script, given, found):
    inherited = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    command = [sys.executable, "-c", SPINS, script]
    done = subprocess.run(command, cwd=ROOT, env=inherited | given, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[0] == f"torch after {found}"
