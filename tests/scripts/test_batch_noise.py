import sys
from functools import partial

from rate_study.row_file import held

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


def test_a_second_command_in_a_folder_is_refused(tmp_path):
    with held(tmp_path):
        refused(*TINY, "--out", tmp_path, saying=[f"{tmp_path} is being written by process"])
    assert list(tmp_path.iterdir()) == []


def test_a_table_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "noise.md").mkdir()
    result = call("batch_noise", *TINY, "--out", tmp_path)
    assert result.code == 2
    assert result.err.startswith(f"batch_noise.py: error: cannot write {tmp_path}/noise.md (")
    assert result.err.count("\n") == 1


def test_where_learning_broke_down_a_line_says_so_and_the_table_is_printed(tmp_path):
    result = call("batch_noise", *TINY, "--learning-rates", "batch=1e30", "--out", tmp_path)
    assert result.code == 0
    assert result.err == (
        "learning broke down with batch, in a run or more: Q values are no numbers, or the same in all states\n"
    )
    assert "| `batch` | – | – | – |" in result.out
    assert (tmp_path / "noise.png").is_file()


def test_a_run_that_breaks_down_before_it_is_measured_is_one_line(tmp_path):
    long = [*TINY, "--steps", 2_500, "--measure-at", 2_500, "--learning-rates", "batch=1e30"]
    result = call("batch_noise", *long, "--out", tmp_path)
    assert result.code == 1
    assert result.err.startswith("batch_noise.py: error: learning broke down before step ")
    assert result.err.count("\n") == 1


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
