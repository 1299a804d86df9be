import sys
from functools import partial

from tests.scripts.processes import call, refused_by

refused = partial(refused_by, "batch_noise")

TINY = ["--env", "Chain", "--norms", "none", "batch", "--seeds", "1", "--steps", "1100", "--measure-at", "1100"]
TINY += ["--batch-sizes", "8", "16", "--states", "2", "--companies", "2"]


def test_table_figure_and_rows_come_out_and_a_second_call_trains_nothing(tmp_path):
    out = tmp_path / "new"
    first = call("batch_noise", *TINY, "--out", out)
    assert (first.code, first.err) == (0, "")
    assert "2 of 2: Chain, batch, seed 0: score " in first.out
    assert (out / "noise.md").read_text() in first.out
    assert (out / "noise.png").read_bytes().startswith(b"\x89PNG")
    assert (out / "noise.svg").is_file()
    rows = (out / "noise.csv").read_text()
    assert rows.count("\n") == 5
    again = call("batch_noise", *TINY, "--out", out)
    assert again.out == (out / "noise.md").read_text()
    assert (out / "noise.csv").read_text() == rows


def test_ctrl_c_leaves_in_one_line(tmp_path, monkeypatch):
    def interrupt(plan):
        raise KeyboardInterrupt

    monkeypatch.setattr("noise_study.noise_rows.train", interrupt)
    result = call("batch_noise", *TINY, "--out", tmp_path)
    assert (result.code, result.out) == (130, "stopped: the same command goes on\n")


def test_bad_input_is_one_line(tmp_path, monkeypatch):
    refused("--norms", "wieght", saying=["got 'wieght'"])
    refused("--env", "Carpole-v1", saying=["unknown environment 'Carpole-v1'"])
    refused("--env", "Pendulum-v1", saying=["DQN takes discrete actions"])
    refused("--steps", "x", saying=["--steps"])
    refused("--jobs", 0, "--out", tmp_path, saying=["jobs must be at least 1, got 0"])
    (tmp_path / "noise.csv").write_text("a,b\n1,2\n")
    refused("--out", tmp_path, saying=["was made by something else"])
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    refused(saying=["matplotlib", 'pip install "wnrl[report]"'])
