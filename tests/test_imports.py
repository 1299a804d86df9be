"""Who may import whom: between packages, between the rooms of a package, and what must not come along."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# The rooms of each package, top floor first: a room imports only itself and rooms below it.
ROOMS = {
    "wnrl": [
        "__main__",
        "__init__",
        "api",
        "sb3",
        "diagnostics",
        "networks",
        "initialization",
        "normalizers",
        "weight_norm",
        "replay",
        "tracking",
        "checkpoints",
        "schedules",
        "device",
        "host_memory",
        "uncompiled",
        "distribution",
    ],
    "agents": [
        "__init__",
        "commands",
        "sweeps",
        "reports",
        "benchmarks",
        "algorithm",
        "registry",
        "watching",
        "training",
        "dqn",
        "sac",
        "pqn",
        "policy_gradient",
        "off_policy",
        "on_policy",
        "learner",
        "acting",
        "runtime",
        "settings",
        "losses",
    ],
}
MAY_IMPORT = {
    "wnrl": {"wnrl"},
    "wnrl/sb3": {"wnrl", "envs"},
    "envs": {"envs"},
    "agents": {"agents", "wnrl", "envs"},
    "scripts": {"agents", "comparison_study", "noise_study", "paper", "rate_study", "wnrl"},
    "scripts/comparison_study": {"comparison_study", "rate_study", "agents"},
    "scripts/noise_study": {"noise_study", "rate_study", "agents", "wnrl"},
    "scripts/paper": {"paper", "rate_study", "agents", "envs", "wnrl"},
    "scripts/rate_study": {"rate_study", "agents", "wnrl"},
}
PROJECT = {"wnrl", "envs", "agents", "scripts", "comparison_study", "noise_study", "paper", "rate_study", "tests"}
PACKAGES = ("wnrl", "envs", "agents", "scripts")
MODULE = re.compile(r"(agents|envs|wnrl)(\.\w+)*(?=:\w+$|$)")  # a string, as importlib and python -m take it


def files(package, root=ROOT):
    return sorted((root / package).rglob("*.py"))


def imported(source):
    """The full names of all modules that a file imports, wherever in it; those that it names in strings too."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and "." in node.value:
            names |= {found[0] for found in [MODULE.match(node.value)] if found}
    return names


def imports_of(path):
    return imported(path.read_text())


def tops(path):
    return {name.split(".")[0] for name in imports_of(path)}


def room(path, package, root=ROOT):
    """The folder or file in the package's root that a file belongs to."""
    return path.relative_to(root / package).parts[0].removesuffix(".py")


def room_of_import(name, package, root=ROOT):
    """The room of an imported name; what the package's `__init__` exports is of `__init__`."""
    first = name.split(".")[1] if "." in name else ""
    there = first and ((root / package / first).is_dir() or (root / package / f"{first}.py").is_file())
    return first if there else "__init__"


def wrong_arrows(package, rooms, root=ROOT):
    """What stands against the order, as `FILE imports NAME`."""
    return [
        f"{path.relative_to(root)} imports {name}"
        for path in files(package, root)
        for name in sorted(imports_of(path))
        if name.split(".")[0] == package
        and rooms.index(room_of_import(name, package, root)) < rooms.index(room(path, package, root))
    ]


def test_imports_are_found_wherever_they_stand():
    source = (
        "import a.b, c\nfrom d.e import f\ndef g():\n    if h:\n        from i import j as k\n"
        "if TYPE_CHECKING:\n    import l\n"
        "m('wnrl.n', 'agents.o.p:q', 'agents.r is a sentence', 'wnrl')\n"
    )
    assert imported(source) == {"a.b", "c", "d.e.f", "i.j", "l", "wnrl.n", "agents.o.p"}


@pytest.mark.parametrize("package", ROOMS)
def test_rooms_import_only_rooms_below_them(package):
    assert {room(path, package) for path in files(package)} == set(ROOMS[package])
    assert wrong_arrows(package, ROOMS[package]) == []


@pytest.mark.parametrize(
    "source",
    [
        "from house.top.file import name",
        "import house.top",
        "from house import top",
        "def f():\n    from house.attic import name",
        "if TYPE_CHECKING:\n    from house.top import file",
        "from house import exported",
    ],
)
def test_a_wrong_arrow_is_found(source, tmp_path):
    """In a house whose order is __init__, attic, top, cellar."""
    for file in ("__init__", "attic", "top/__init__", "top/file", "cellar/__init__", "cellar/wrong"):
        path = tmp_path / "house" / f"{file}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("from house.cellar import wrong\nimport os\n")
    order = ["__init__", "attic", "top", "cellar"]
    assert wrong_arrows("house", order, tmp_path) == []
    (tmp_path / "house" / "cellar" / "wrong.py").write_text(source)
    (found,) = wrong_arrows("house", order, tmp_path)
    assert found.startswith("house/cellar/wrong.py imports house")


def may_import(path):
    """The packages of the project that a file may import: those of the innermost folder that is listed."""
    return next(MAY_IMPORT[str(p)] for p in path.relative_to(ROOT).parents if str(p) in MAY_IMPORT)


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_only_what_lies_below_them(package):
    assert len(files(package)) > 3
    wrong = {str(path): sorted(tops(path) & PROJECT - may_import(path)) for path in files(package)}
    assert {name: found for name, found in wrong.items() if found} == {}


def test_scripts_check_what_is_found_before_they_import_agents():
    for path in (ROOT / "scripts").glob("*.py"):
        assert {name for name in imports_of(path) if name.startswith("wnrl")} == {"wnrl.distribution.checked_packages"}
        lines = path.read_text().splitlines()
        assert all(line.startswith(" ") for line in lines if "from agents" in line), path


def test_only_wnrl_sb3_and_the_commands_that_compare_import_stable_baselines3():
    importing = {
        path.relative_to(ROOT)
        for package in PACKAGES
        for path in files(package)
        if tops(path) & {"stable_baselines3", "sb3_contrib"}
    }
    folders = {path.parent for path in importing}
    assert folders == {Path("wnrl/sb3"), Path("agents/benchmarks"), Path("agents/commands/sb3")}


def test_no_agent_needs_the_benchmarks():
    importing = {
        path.relative_to(ROOT).parent
        for package in PACKAGES
        for path in files(package)
        if {name for name in imports_of(path) if name.startswith("agents.benchmarks")}
    }
    assert importing == {Path("agents/benchmarks"), Path("agents/commands")}


def test_nothing_but_the_command_for_sb3_imports_wnrl_sb3():
    importing = {
        path.relative_to(ROOT)
        for package in PACKAGES
        for path in files(package)
        if {name for name in imports_of(path) if name.startswith("wnrl.sb3")}
    }
    assert {path.parent for path in importing} == {
        Path("wnrl/sb3"),
        Path("agents/benchmarks"),
        Path("agents/commands/sb3"),
    }


def come_along(modules):
    """What of the heavy packages is there after these modules are imported in a new process."""
    heavy = {"torch", "gymnasium", "stable_baselines3", "ale_py", "tensorboard", "tyro", "agents", "envs", "wnrl"}
    code = f"import sys, {', '.join(modules)}; print(*sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_import_wnrl_is_light():
    assert come_along(["wnrl", "wnrl.__main__", "wnrl.distribution"]) == {"wnrl"}
    assert come_along(["wnrl.normalizers"]) == {"wnrl", "torch"}


def test_a_command_line_is_read_without_torch():
    light = files("agents/settings") + files("agents/reports")
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in light]
    modules = [name.removesuffix(".__init__") for name in names]
    modules += ["agents.registry", "agents.commands.parser", "agents.commands.sb3.command"]
    modules += ["agents.commands.entry", "agents.commands.train", "agents.commands.report"]
    assert len(modules) > 10
    assert come_along(modules) == {"agents", "tyro", "wnrl"}


SPINS = """
import importlib, os, sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            print("torch after", os.environ.get("GOMP_SPINCOUNT"))
            raise SystemExit

sys.meta_path.insert(0, Finder())
sys.path.insert(0, "scripts")
importlib.import_module(sys.argv[1])
import torch
"""


@pytest.mark.parametrize("script", ["train_a2c", "train_dqn", "benchmark", "agents.commands.entry"])
@pytest.mark.parametrize(
    ("given", "found"), [({}, "30000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, "None")]
)
def test_torch_is_told_before_it_is_imported_how_long_its_threads_wait_awake(script, given, found):
    inherited = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    command = [sys.executable, "-c", SPINS, script]
    done = subprocess.run(command, cwd=ROOT, env=inherited | given, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[0] == f"torch after {found}"
