import json
import os
import re
import subprocess
from importlib import metadata
from pathlib import Path

import pytest
import torch

from agents.training import provenance
from agents.training.provenance import PACKAGES, source_commit
from tests.metadata import write_metadata
from wnrl import __version__

URL = {"url": "https://example.org/wnrl.git", "vcs_info": {"vcs": "git", "commit_id": "c" * 40}}


def git(folder, *arguments):
    """Output of git, as an author whom no configuration of this machine changes."""
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    environment |= {f"GIT_{who}_{what}": "a@b.c" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout.strip()


def place(folder, monkeypatch):
    """A copy of the module in a folder as its package has it; the functions take it for their own file."""
    file = folder / "agents" / "training" / "provenance.py"
    file.parent.mkdir(parents=True)
    file.write_text("A copy.\n")
    monkeypatch.setattr(provenance, "__file__", str(file))
    return file


@pytest.fixture
def repository(tmp_path):
    git(tmp_path, "init", "-q")
    (tmp_path / "README").write_text("Somebody's own work.\n")
    (tmp_path / ".gitignore").write_text("venv/\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "One")
    return tmp_path


def test_versions_and_the_build_of_torch():
    made = provenance.provenance()
    assert made.keys() == {"versions", "git_commit", "started"}
    assert made["versions"].keys() == {"python", *PACKAGES}
    assert made["versions"]["wnrl"] == __version__
    assert made["versions"]["gymnasium"] == metadata.version("gymnasium")


def test_the_build_of_torch_is_recorded_where_its_metadata_leaves_it_out(monkeypatch):
    """config.json has to tell a CUDA build from a CPU one."""
    for build in ("2.14.1+cu130", "2.14.1+cpu"):
        monkeypatch.setattr(torch, "__version__", build)
        monkeypatch.setattr(metadata, "version", lambda name: "2.14.1")
        assert provenance.provenance()["versions"]["torch"] == build


def test_packages_without_metadata(monkeypatch):
    """As from a folder on PYTHONPATH."""

    def none(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", none)
    monkeypatch.setattr(metadata, "distribution", none)
    versions = provenance.provenance()["versions"]
    assert (versions["wnrl"], versions["torch"], versions["numpy"]) == (__version__, torch.__version__, None)


def test_the_commit_of_the_repository_that_tracks_the_file(repository, monkeypatch):
    file = place(repository, monkeypatch)
    git(repository, "add", ".")
    git(repository, "commit", "-q", "-m", "Two")
    git(repository, "tag", "-a", "v1", "-m", "A release")
    commit = git(repository, "rev-parse", "HEAD")
    assert source_commit() == commit
    file.write_text("Changed.\n")
    assert source_commit() == f"{commit}-dirty"


@pytest.mark.parametrize("folder", ["venv/lib", "src"])
def test_not_that_of_a_repository_around_it(folder, repository, monkeypatch):
    """Of one's own work, with the virtual environment in it, ignored or only not added."""
    place(repository / folder, monkeypatch)
    assert git(repository, "rev-parse", "HEAD")
    assert source_commit() is None


def test_not_that_of_a_repository_that_the_environment_names(repository, tmp_path_factory, monkeypatch):
    """Git sets GIT_DIR for its hooks."""
    place(tmp_path_factory.mktemp("elsewhere"), monkeypatch)
    monkeypatch.setenv("GIT_DIR", str(repository / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(repository))
    assert source_commit() is None


def test_without_git(repository, monkeypatch):
    place(repository, monkeypatch)
    git(repository, "add", ".")
    monkeypatch.setenv("PATH", "")
    assert source_commit() is None


@pytest.mark.parametrize(
    ("written", "commit"),
    [(URL, "c" * 40), ({"url": "file:///a", "dir_info": {"editable": True}}, None), (None, None)],
)
def test_the_commit_that_pip_installed_from(written, commit, tmp_path, monkeypatch):
    site = write_metadata(tmp_path / "site-packages")
    place(site, monkeypatch)
    if written:
        (next(site.glob("*.dist-info")) / "direct_url.json").write_text(json.dumps(written))
    monkeypatch.syspath_prepend(site)
    assert source_commit() == commit


def test_not_that_of_another_copy_that_is_installed(tmp_path, monkeypatch):
    """A folder on PYTHONPATH runs, another copy is installed."""
    site = write_metadata(tmp_path / "site-packages")
    (next(site.glob("*.dist-info")) / "direct_url.json").write_text(json.dumps(URL))
    (site / "agents" / "training").mkdir(parents=True)
    (site / "agents" / "training" / "provenance.py").write_text("Another copy.\n")
    place(tmp_path / "unpacked", monkeypatch)
    monkeypatch.syspath_prepend(site)
    assert source_commit() is None


def test_this_copy():
    """A clone knows its commit."""
    root = Path(__file__).parents[3]
    if not (root / ".git").exists():
        pytest.skip("this is no clone")
    assert re.fullmatch("[0-9a-f]{40}(-dirty)?", source_commit())
