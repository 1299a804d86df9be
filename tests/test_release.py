"""What a release needs: a changelog in its form, one version everywhere, and a workflow whose scripts exist."""

import os
import re

import pytest

from tests.metadata import ROOT, pyproject
from wnrl import __version__

CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
KINDS = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]  # of Keep a Changelog


def test_the_changelog_has_sections_of_the_known_kinds():
    first, *others = re.split(r"^## ", CHANGELOG, flags=re.MULTILINE)[1:]
    assert first.startswith("[Unreleased]\n")
    for section in others:
        assert re.match(r"\[\d+\.\d+\.\d+\] - \d{4}-\d{2}-\d{2}\n", section), section[:40]
    for section in (first, *others):
        kinds = re.findall(r"^### (.*)$", section, flags=re.MULTILINE)
        assert kinds == [kind for kind in KINDS if kind in kinds]


def test_every_change_is_a_line_of_a_list():
    for line in CHANGELOG.partition("### Added")[2].splitlines():
        assert not line or line.startswith(("- ", "  ", "#", "Against earlier commits")), line


def test_the_citation_has_version_and_title():
    yaml = pytest.importorskip("yaml")
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert (citation["version"], citation["license"]) == (__version__, pyproject()["project"]["license"])
    assert citation["authors"] == [{"name": "The wnrl authors"}]
    assert citation["title"] in readme
    assert citation["references"][0]["title"] in readme


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_run_scripts_that_exist(workflow):
    yaml = pytest.importorskip("yaml")
    jobs = yaml.safe_load(workflow.read_text(encoding="utf-8"))["jobs"]
    commands = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    scripts = [command.split()[0] for command in commands if command.startswith(".ci/")]
    assert scripts
    assert all(os.access(ROOT / script, os.X_OK) for script in scripts)
    needed = {name for job in jobs.values() for name in re.findall(r"[\w-]+", str(job.get("needs", "")))}
    assert needed <= jobs.keys()


def test_a_release_is_tested_on_each_promised_python():
    text = (ROOT / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8")
    (tested,) = re.findall(r"python: \[(.*)\]", text)
    promised = re.findall(r"Python :: (3\.\d+)", "\n".join(pyproject()["project"]["classifiers"]))
    assert re.findall(r"3\.\d+", tested) == promised


@pytest.mark.parametrize(
    "form", sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")), ids=lambda path: path.stem
)
def test_issue_forms_have_what_github_needs(form):
    yaml = pytest.importorskip("yaml")
    fields = yaml.safe_load(form.read_text(encoding="utf-8"))
    if form.stem == "config":
        return
    assert {"name", "description", "body"} <= fields.keys()
    names = [part["id"] for part in fields["body"]]
    assert len(names) == len(set(names))
    assert all(part["type"] in {"textarea", "input", "dropdown", "checkboxes"} for part in fields["body"])
    assert all(part["attributes"]["label"] for part in fields["body"])
