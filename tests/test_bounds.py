"""The lowest versions that continuous integration installs are those that `pyproject.toml` promises."""

import re

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from tests.metadata import ROOT, pyproject

PROJECT = pyproject()["project"]
EXTRAS = PROJECT["optional-dependencies"]
PROMISED = [Requirement(text) for texts in (PROJECT["dependencies"], *EXTRAS.values()) for text in texts]
LOWEST = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / ".ci" / "lowest.txt").read_text(), flags=re.MULTILINE))


@pytest.mark.parametrize("requirement", PROMISED, ids=str)
def test_the_lowest_version_is_the_one_that_is_tested(requirement):
    if not requirement.specifier:
        pytest.skip("any version, of an extra of another dependency")
    if requirement.marker and not requirement.marker.evaluate():
        pytest.skip("of another system")
    (bound,) = requirement.specifier
    assert bound.operator == ">="
    tested = Version(LOWEST[requirement.name])
    assert tested in requirement.specifier
    assert tested.release[: len(Version(bound.version).release)] == Version(bound.version).release


def test_a_dependency_has_one_bound():
    bounds = {}
    for requirement in PROMISED:
        if requirement.specifier:
            bounds.setdefault(requirement.name, set()).add(str(requirement.specifier))
    assert {name: found for name, found in bounds.items() if len(found) > 1} == {}


def test_the_same_pythons_are_promised_everywhere():
    assert PROJECT["requires-python"] == ">=3.10"
    classifiers = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
    assert classifiers == [f"3.{minor}" for minor in range(10, 14)]
    assert "Python 3.10 to 3.13" in (ROOT / "README.md").read_text()
    tested = re.findall(r'python: "(3\.\d+)"', (ROOT / ".github" / "workflows" / "ci.yml").read_text())
    assert {classifiers[0], classifiers[-1]} <= {*tested}


@pytest.mark.parametrize(
    ("extra", "file", "module"),
    [
        ("contrib", "wnrl/sb3/trpo.py", "sb3_contrib"),
        ("docs", "docs/conf.py", "furo"),
        ("onnx", "wnrl/sb3/export.py", "onnxscript"),
        ("report", "agents/reports/drawing.py", "matplotlib"),
        ("sweep", "agents/sweeps/ray_runs.py", "ray"),
        ("sweep", "agents/sweeps/optuna_search.py", "optuna"),
        ("video", "agents/watching/mp4.py", "imageio"),
    ],
)
def test_an_extra_is_what_a_file_imports(extra, file, module):
    assert {*EXTRAS} == {"contrib", "docs", "onnx", "report", "sweep", "video", "test"}
    assert any(text.startswith(module.replace("_", "-")) for text in EXTRAS[extra])
    assert module in (ROOT / file).read_text()


def test_continuous_integration_names_files_that_there_are():
    workflow = ROOT / ".github" / "workflows" / "ci.yml"
    if not workflow.is_file():
        pytest.skip("the source distribution has no workflow")
    text = workflow.read_text()
    assert {"constraints.txt", "lowest.txt", ""} == {*re.findall(r"constraints: \"?([\w.]*)", text)}
    named = re.findall(r"\b(?:tests|\.ci)/[\w./]+", text)
    assert {path for path in named if not (ROOT / path).exists()} == set()
