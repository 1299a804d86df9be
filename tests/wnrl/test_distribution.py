import py_compile
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from wnrl.distribution import PACKAGES, check_packages, checked_packages

ROOT = Path(__file__).parents[2]


def other(folder, name, distribution=None):
    """A package of that name, as another distribution installs it."""
    (folder / name).mkdir(parents=True)
    (folder / name / "__init__.py").write_text("import nothing_that_there_is\n")
    if distribution:
        info = folder / f"{distribution.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.4\nName: {distribution}\nVersion: 1.0\n")
        (info / "top_level.txt").write_text(f"{name}\n")
    return folder / name / "__init__.py"


def test_our_own_packages_are_told_by_what_they_say():
    check_packages()
    assert set(PACKAGES) == {"agents", "envs"}


@pytest.mark.parametrize("name", PACKAGES)
def test_another_package_is_named_with_its_file(name, tmp_path, monkeypatch):
    file = other(tmp_path, name)
    monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    said = rf"^'{name}' is {re.escape(str(file))} here, not wnrl's package: install wnrl in an environment of its own"
    with pytest.raises(ImportError, match=said) as caught:
        check_packages()
    assert caught.value.name == name
    assert "\n" not in str(caught.value)


def test_its_distribution_is_named(tmp_path, monkeypatch):
    file = other(tmp_path, "agents", "openai-agents")
    monkeypatch.delitem(sys.modules, "agents", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError, match=rf"{re.escape(str(file))} here, of openai-agents, not wnrl's package"):
        check_packages("agents")
    check_packages("envs")


def test_ours_with_their_first_file_in_it_is_theirs(tmp_path, monkeypatch):
    """Two wheels with a package of one name: the later one's __init__.py replaces the other's, the rest stays."""
    other(tmp_path, "agents")
    (tmp_path / "agents" / "registry.py").write_text((ROOT / "agents" / "registry.py").read_text())
    monkeypatch.delitem(sys.modules, "agents", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError, match="not wnrl's package"):
        check_packages()


def test_a_folder_alone_does_not_hide_ours(tmp_path, monkeypatch):
    (tmp_path / "envs").mkdir()
    monkeypatch.delitem(sys.modules, "envs", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.syspath_prepend(ROOT)
    monkeypatch.syspath_prepend(tmp_path)
    check_packages()


def test_ours_in_an_archive_or_without_source(tmp_path, monkeypatch):
    (tmp_path / "bare" / "envs").mkdir(parents=True)
    (source := tmp_path / "__init__.py").write_text('__distribution__ = "wnrl"\n')
    py_compile.compile(str(source), cfile=str(tmp_path / "bare" / "envs" / "__init__.pyc"))
    with zipfile.ZipFile(tmp_path / "ours.zip", "w") as archive:
        archive.write(source, "agents/__init__.py")
    with zipfile.ZipFile(tmp_path / "theirs.zip", "w") as archive:
        archive.writestr("agents/__init__.py", "")
    for name in PACKAGES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    for place in ("bare", "ours.zip"):
        monkeypatch.syspath_prepend(tmp_path / place)
    check_packages()
    monkeypatch.syspath_prepend(tmp_path / "theirs.zip")
    with pytest.raises(ImportError, match=r"theirs.zip/agents/__init__.py here"):
        check_packages()


def test_a_missing_package(tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "agents", raising=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match="the package 'agents' is missing: install wnrl again"):
        check_packages()


@pytest.mark.parametrize("imported", ["agents", "wnrl.sb3"])
def test_imports_that_need_envs_say_so_too(imported, tmp_path):
    """A folder `envs` of one's own next to the script."""
    file = other(tmp_path, "envs")
    code = f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT)!r}]; import {imported}"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"ImportError: 'envs' is {file} here, not wnrl's package")


def test_what_a_script_says(tmp_path, monkeypatch, capsys):
    file = other(tmp_path, "envs")
    monkeypatch.setattr(sys, "argv", ["scripts/train_dqn.py"])
    with checked_packages():
        pass
    assert capsys.readouterr().err == ""
    monkeypatch.delitem(sys.modules, "envs", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SystemExit, match="2"), checked_packages():
        raise AssertionError
    assert capsys.readouterr().err.startswith(f"train_dqn.py: error: 'envs' is {file} here, not wnrl's package: ")
