"""What is built: a wheel with the whole of the three packages, a source distribution with all that its tests need, an
editable installation that nothing hides."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_string

import pytest

from tests.metadata import ROOT, pyproject
from wnrl import __version__

PACKAGES = ("wnrl", "agents", "envs")
FOLDERS = (*PACKAGES, "scripts", "tests", "docs", ".ci", ".github")
FILES = ("pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff")
PYTHON_FILES = {str(path.relative_to(ROOT)) for package in PACKAGES for path in (ROOT / package).rglob("*.py")}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A copy of the clone in a folder called wnrl, as git names it."""
    root = tmp_path_factory.mktemp("work") / "wnrl"
    root.mkdir()
    for name in FILES:
        shutil.copy(ROOT / name, root)
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__", "_build"))
    return root


def build(root, what):
    """What setuptools builds there, as pip, uv and build ask for it."""
    code = f"from setuptools import build_meta; print(build_meta.build_{what}('dist/{what}'))"
    subprocess.run([sys.executable, "-c", code], cwd=root, check=True, capture_output=True)
    (built,) = (root / "dist" / what).iterdir()
    return built


@pytest.fixture(scope="module")
def wheel(source):
    return build(source, "wheel")


def held(wheel, kind):
    """The text of a file in `.dist-info`."""
    return zipfile.ZipFile(wheel).read(f"wnrl-{__version__}.dist-info/{kind}").decode()


def test_the_wheel_holds_every_file_of_the_packages_and_nothing_else(wheel):
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert len(PYTHON_FILES) > 100
    assert names == PYTHON_FILES | {f"{package}/py.typed" for package in PACKAGES}


def test_its_metadata(wheel):
    metadata = message_from_string(held(wheel, "METADATA"))
    assert (metadata["Name"], metadata["Version"]) == ("wnrl", __version__)
    assert held(wheel, "entry_points.txt").split() == [
        *["[console_scripts]", "wnrl", "=", "wnrl.__main__:main"],
        *["[wnrl_command]", "main", "=", "agents.commands.entry:main"],
    ]
    assert {*metadata.get_all("Provides-Extra")} == {*pyproject()["project"]["optional-dependencies"]}


def test_the_version_is_written_once():
    assert "version" not in pyproject()["project"]
    assert pyproject()["tool"]["setuptools"]["dynamic"] == {"version": {"attr": "wnrl.__version__"}}


def test_the_source_distribution_holds_what_its_tests_need(source):
    sdist = build(source, "sdist")
    top = f"wnrl-{__version__}/"
    with tarfile.open(sdist) as archive:
        names = {name.removeprefix(top) for name in archive.getnames()}
    folders = {path.relative_to(source) for folder in FOLDERS for path in (source / folder).rglob("*")}
    expected = {str(path) for path in folders if (source / path).is_file()} | {*FILES}
    assert len(expected) > 300
    assert expected - names == set()
    ours = {name for name in names - expected if name not in ("", "PKG-INFO", "setup.cfg") and "egg-info" not in name}
    assert {name for name in ours if (source / name).is_file()} == set()


def test_an_editable_installation_is_not_hidden_by_the_folder_that_holds_the_clone(source, tmp_path):
    """Python takes a folder `wnrl` without `__init__.py` for a package, unless a real one comes later on its path."""
    zipfile.ZipFile(build(source, "editable")).extractall(tmp_path)
    code = (
        f"import site; site.addsitedir({str(tmp_path)!r}); import wnrl, agents; print(wnrl.__file__, agents.__file__)"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], cwd=source.parent, env=plain(), capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [str(source / name / "__init__.py") for name in ("wnrl", "agents")]


def plain(**more):
    """The environment without this clone."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"} | more


@pytest.mark.slow
def test_without_a_clone_the_command_trains_and_evaluates(wheel, tmp_path):
    """The unpacked wheel: no scripts, no repository."""
    zipfile.ZipFile(wheel).extractall(tmp_path / "site-packages")
    environment = plain(PYTHONPATH=str(tmp_path / "site-packages"))

    def wnrl(*arguments):
        command = [sys.executable, "-m", "wnrl", *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    chain = ["--env", "Chain", "--device", "cpu", "--steps", "300", "--run-dir"]
    assert "python -m wnrl evaluate run" in wnrl("train", "ppo", *chain, "run", "--hidden", "8")
    assert "Chain: " in wnrl("evaluate", "run", "--episodes", "2", "--device", "cpu")
    assert (tmp_path / "run" / "model.safetensors").is_file()
    assert '"git_commit": null' in (tmp_path / "run" / "config.json").read_text()
    sb3 = wnrl(
        "sb3", "--algo", "ppo", "--env", "CartPole-v1", "--steps", "64", "--hyperparams", "n_steps:8", "--device", "cpu"
    )
    assert "python -m wnrl evaluate runs/" in sb3
    table = wnrl("benchmark", "start", "--help")
    assert table.startswith("usage: python -m wnrl benchmark start")
