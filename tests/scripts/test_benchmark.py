"""scripts/benchmark.py as its users call it."""

import json

import pytest

from tests.scripts.processes import SCRIPTS, call


@pytest.fixture(autouse=True)
def beside_the_other_scripts(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)


def test_help_names_what_can_be_measured():
    code, out, _ = call("benchmark", "--help")
    assert code == 0
    assert "dqn" in out
    assert "norms" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["norms", "--norms", "none", "wieght"], "unknown normalizer 'wieght' (nearest: weight)"),
        (["norms", "--rounds", "0"], "rounds must be at least 1, got 0"),
        (["dqn", "--device", "cuda:99"], "device 'cuda:99' is not available"),
        (["speed"], "dqn"),
    ],
)
def test_bad_input_is_one_line(arguments, message):
    code, out, err = call("benchmark", *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize("what", ["dqn", "norms"])
def test_figures_are_printed_and_written(what, tmp_path):
    few = ["--steps", "64"] if what == "dqn" else ["--calls", "1", "--norms", "none", "weight"]
    code, out, err = call("benchmark", what, "--rounds", "1", "--json", tmp_path / "figures.json", *few)
    assert code == 0, err
    assert "torch" in out.splitlines()[0]
    figures = json.loads((tmp_path / "figures.json").read_text())
    rows = figures["summary"] if what == "dqn" else figures["step compiled"]
    assert all(row["median"] > 0 for row in rows.values())
    assert next(iter(rows.values()))["ratio"] == 1.0
