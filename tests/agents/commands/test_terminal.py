from types import SimpleNamespace

import pytest
from agents.training.progress import Progress, summary

FIGURES = {
    "time/frames_per_second": 12345.6,
    "rollout/ep_rew_mean": 1.25,
    "rollout/exploration_rate": 0.456,
    "train/loss": 0.01234,
    "train/n_updates": 7,
}


def test_summary_shows_what_a_person_watches():
    assert summary(FIGURES) == "return 1.2, epsilon 0.46, loss 0.0123, frames/s 12,346"
    assert (
        summary({"eval/mean_reward": 3.0, "eval/mean_ep_length": 9.6}) == "evaluation return 3.0, evaluation length 10"
    )
    assert summary({}) == ""


def test_without_a_terminal_each_report_is_a_line(capsys):
    progress = Progress(20_000, 0, 4, bar=False)
    progress(SimpleNamespace(steps=8), 0)
    progress.report(1_000, FIGURES)
    progress.say("hello")
    progress.close()
    out, err = capsys.readouterr()
    assert out.splitlines() == [f"step 1,000 of 20,000: {summary(FIGURES)}", "hello"]
    assert err == ""


def test_with_a_terminal_there_is_a_bar(capsys):
    progress = Progress(100, 20, 4, bar=True)
    progress(SimpleNamespace(steps=60), 20)
    progress.report(60, FIGURES)
    progress.report(60, {"eval/mean_reward": 3.0})
    progress(SimpleNamespace(steps=104), 60)  # the last row may go beyond the length
    progress.close()
    out, err = capsys.readouterr()
    assert out.splitlines() == ["step 60: evaluation return 3.0"]
    assert "100/100" in err
    assert "104/" not in err
    assert "return 1.2" in err


@pytest.mark.parametrize("first", [0, 150])
def test_a_run_that_was_longer_already_has_a_full_bar(first, capsys):
    Progress(100, first, 4, bar=True).close()
    assert f"{min(first, 100)}/100" in capsys.readouterr().err
