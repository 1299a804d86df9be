"""`pyproject.toml`, and metadata as an installation writes it, for tests that hold however this copy was installed."""

import importlib
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def pyproject():
    """The contents of `pyproject.toml`."""
    tomllib = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def write_metadata(folder, version="0.1.0"):
    """Make `folder` a place on the path that says that wnrl is installed, with its entry points."""
    project = pyproject()["project"]
    tables = {"console_scripts": project["scripts"], **project["entry-points"]}
    lines = [
        line for name, table in tables.items() for line in (f"[{name}]", *(f"{k} = {v}" for k, v in table.items()))
    ]
    info = folder / f"wnrl-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.4\nName: wnrl\nVersion: {version}\n")
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return folder
