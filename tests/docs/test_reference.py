"""Every public name is on a page of the reference."""

import re

import pytest

import agents
import envs
import wnrl
import wnrl.sb3
from tests.metadata import ROOT

REFERENCE = ROOT / "docs" / "reference"


@pytest.mark.parametrize(("package", "page"), [(wnrl, "wnrl"), (agents, "agents"), (envs, "envs"), (wnrl.sb3, "sb3")])
def test_every_public_name_is_documented(package, page):
    text = (REFERENCE / f"{page}.md").read_text()
    shown = re.findall(r"^\.\. (?:auto(?:class|function|exception)|py:data):: (\w+)$", text, flags=re.MULTILINE)
    assert sorted(shown) == sorted(package.__all__)
    for name in shown:
        assert (getattr(package, name).__doc__ or "").strip(), name


def test_every_module_of_policies_is_documented():
    modules = {path.stem for path in (ROOT / "wnrl" / "sb3").glob("*.py") if "\nMlp" in path.read_text()}
    shown = re.findall(r"automodule:: wnrl\.sb3\.(\w+)$", (REFERENCE / "sb3.md").read_text(), flags=re.MULTILINE)
    assert sorted(shown) == sorted(modules)


def test_every_page_is_in_the_contents():
    """Sphinx says so too, where it is installed."""
    for folder in (ROOT / "docs", REFERENCE):
        text = (folder / "index.md").read_text()
        pages = {path.stem for path in folder.glob("*.md")} - {"index"}
        assert pages <= {*re.findall(r"^([\w-]+)$", text, flags=re.MULTILINE)}
    contents = {*re.findall(r"^how-to/([\w-]+)$", (ROOT / "docs" / "index.md").read_text(), flags=re.MULTILINE)}
    assert contents == {path.stem for path in (ROOT / "docs" / "how-to").glob("*.md")}
