"""scripts/soak.py as its users call it."""

import pytest

from tests.scripts.processes import call, refused_by


def test_bad_input_is_one_line(tmp_path):
    refused_by("soak", "--minutes", 0, saying=["minutes must be above 0"])
    (tmp_path / "file").touch()
    refused_by("soak", "--out", tmp_path, saying=["is not empty: give another --out"])


@pytest.mark.slow
def test_a_short_run_on_a_game(tmp_path):
    arguments = ["--replay-size", 1_000, "--num-envs", 2, "--sample-every", 0.5, "--memory-bound", 100]
    code, out, err = call("soak", "--minutes", 4, *arguments, "--out", tmp_path)
    assert (code, err) == (0, "")
    assert "with a full replay buffer" in out
