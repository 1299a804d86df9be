"""scripts/report.py as its users call it."""

from tests.scripts.processes import call, refused_by, train


def test_short_runs_of_our_own(tmp_path):
    for norm in ("none", "weight"):
        train(tmp_path / "runs" / norm, "--steps", 400, "--norm", norm, "--eval-interval", 0, "--log-interval", 50)
    code, out, err = call("report", tmp_path / "runs", "--out", tmp_path / "report", "--resamples", 100)
    assert (code, err) == (0, "")
    assert out.startswith(
        "2 runs in 2 curves, on 1 environment, with 1 seed a curve; the score is rollout/ep_rew_mean."
    )
    scores = (tmp_path / "report" / "tables" / "scores.csv").read_text().splitlines()
    assert [line.split(",")[:2] for line in scores[1:]] == [["dqn none", "Chain"], ["dqn weight", "Chain"]]
    assert (tmp_path / "report" / "figures" / "curve-Chain.png").read_bytes().startswith(b"\x89PNG")
    assert "base64" in (tmp_path / "report" / "index.html").read_text()


def test_bad_input_is_one_line(tmp_path):
    refused_by("report", tmp_path, saying=["is empty: name a folder that holds runs"])
