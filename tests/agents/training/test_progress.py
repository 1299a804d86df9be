import pytest

from agents.training.progress import TerminalProgress, metrics_line

METRICS = {
    "time/fps": 3086.4,
    "time/frames_per_second": 12345.6,
    "rollout/ep_rew_mean": 1.25,
    "rollout/exploration_rate": 0.456,
    "train/loss": 0.01234,
    "train/n_updates": 7,
}


def test_the_line_shows_what_a_person_watches():
    assert metrics_line(METRICS) == "return 1.2, epsilon 0.46, loss 0.0123, frames/s 12,346"
    assert metrics_line({"time/fps": 3086.4}) == "steps/s 3,086"  # where there are no frames
    evaluation = {"eval/mean_reward": 3.0, "eval/mean_ep_length": 9.6}
    assert metrics_line(evaluation) == "evaluation return 3.0, evaluation length 10"
    assert metrics_line({}) == ""


def test_without_a_terminal_each_report_is_a_line(capsys):
    progress = TerminalProgress(bar=False)
    progress.start(0, 20_000)
    progress.update(8)
    progress.report(1_000, METRICS)
    progress.message("hello")
    progress.close()
    out, err = capsys.readouterr()
    assert out.splitlines() == [f"step 1,000 of 20,000: {metrics_line(METRICS)}", "hello"]
    assert err == ""


@pytest.mark.parametrize("terminal", [True, False])
def test_a_bar_is_drawn_where_there_is_a_terminal(terminal, capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal, raising=False)
    progress = TerminalProgress()
    progress.start(0, 100)
    progress.close()
    assert bool(capsys.readouterr().err) is terminal


def test_with_a_terminal_there_is_a_bar(capsys):
    progress = TerminalProgress(bar=True)
    progress.start(20, 100)
    progress.update(60)
    progress.report(60, METRICS)
    progress.report(60, {"eval/mean_reward": 3.0})
    progress.update(104)  # the last row may go beyond the length
    progress.close()
    out, err = capsys.readouterr()
    assert out.splitlines() == ["step 60: evaluation return 3.0"]
    assert "100/100" in err
    assert "104/" not in err
    assert "return 1.2" in err


@pytest.mark.parametrize("first", [0, 150])
def test_a_run_that_was_longer_already_has_a_full_bar(first, capsys):
    progress = TerminalProgress(bar=True)
    progress.start(first, 100)
    progress.close()
    assert f"{min(first, 100)}/100" in capsys.readouterr().err


def test_lines_can_be_shown_before_the_start(capsys):
    TerminalProgress(bar=False).message("hello")
    assert capsys.readouterr() == ("hello\n", "")
