"""What a run was made with: versions, and the commit of this library's source."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from wnrl import __version__

PACKAGES = ("wnrl", "torch", "numpy", "gymnasium", "ale-py", "stable-baselines3")


def provenance() -> dict[str, Any]:
    """Versions of Python and of the packages, the commit of this library's source, and the time.

    Returns:
        `versions` of `python` and of the `PACKAGES` by name, None where a package has no metadata; that of torch names
        the build too (`2.14.1+cu130`). `git_commit`, see `source_commit`. `started`, the time now.
    """
    import torch  # half of a command line's time: only where a run is made

    versions = {"python": sys.version.split()[0], **{name: _version(name) for name in PACKAGES}}
    versions |= {"wnrl": __version__, "torch": torch.__version__}
    return {"versions": versions, "git_commit": source_commit(), "started": time.strftime("%Y-%m-%dT%H:%M:%S%z")}


def source_commit() -> str | None:
    """The git commit of this library's source, `-dirty` after it where files were changed; None where it is unknown.

    It is that of the repository that tracks this very file, never that of one around a virtual environment; else the
    one that pip installed from (`pip install git+…`).
    """
    return _commit_of_work_tree(Path(__file__)) or _commit_of_installation(Path(__file__))


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _commit_of_work_tree(file: Path) -> str | None:
    """The commit of the repository that tracks the file."""
    try:
        _git(file, "ls-files", "--error-unmatch", file.name)
        return _git(file, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(file: Path, *arguments: str) -> str:
    """Output of git in a file's folder, whatever repository the environment names, as it does in a hook."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "-C", str(file.parent), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout.strip()


def _commit_of_installation(file: Path) -> str | None:
    """The commit in pip's `direct_url.json`, if the file is that of the installed distribution."""
    try:
        distribution = metadata.distribution("wnrl")
        installed = Path(str(distribution.locate_file("agents/training/provenance.py")))
        if not installed.is_file() or not installed.samefile(file):
            return None
        return json.loads(distribution.read_text("direct_url.json") or "{}").get("vcs_info", {}).get("commit_id")
    except (metadata.PackageNotFoundError, ValueError, OSError):
        return None
