"""agents.commands.report"""

import re

import pytest

from agents.commands.report import main
from agents.reports.drawing import Chart
from tests.agents.commands.called import caller
from tests.agents.reports.hand_made import curve, undrawn, write_events, write_run

QUICK = ["--resamples", "100"]


@pytest.fixture
def report(monkeypatch, capsys, tmp_path):
    """Calls the command in a folder of its own and returns its exit code, output and error output."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Chart, "drawn", undrawn)
    return caller(monkeypatch, capsys, main, "report.py")


@pytest.fixture
def runs(tmp_path):
    folder = tmp_path / "runs"
    for seed in range(3):
        for norm in ("none", "weight"):
            write_run(folder / f"{norm}-{seed}", curve([1, 2 + seed, 3 + seed]), norm=norm, seed=seed)
    return folder


def refused(result, said, folder):
    code, out, err = result
    assert (code, out) == (2, "")
    assert err.startswith("report.py: error: ")
    assert said in err
    assert err.count("\n") == 1
    assert not (folder / "report").exists()


def test_a_report(report, runs, tmp_path):
    code, out, err = report("runs", *QUICK)
    assert (code, err) == (0, "")
    assert out == (
        "6 runs in 2 curves, on 1 environment, with 3 seeds a curve; the score is rollout/ep_rew_mean. "
        "report/index.html\n"
    )
    assert "dqn weight" in (tmp_path / "report" / "index.html").read_text()
    assert report("runs", "--title", "Mine", *QUICK)[0] == 0
    assert "<title>Mine</title>" in (tmp_path / "report" / "index.html").read_text()


def test_logs_of_other_libraries_are_compared_with_ours(report, runs, tmp_path):
    for seed in range(3):
        points = [("rollout/ep_rew_mean", step, 9.0) for step in (100, 300)]
        write_events(tmp_path / "sb3" / "none" / "Task" / f"PPO_{seed}" / "events.out.tfevents.1", points)
        points = [("charts/episodic_return", step, r) for step in range(100, 301, 50) for r in (1.0, 4.0, 10.0)]
        table = {"exp_name": "clean", "env_id": "Task", "seed": seed}
        write_events(tmp_path / "clean" / f"Task__clean__{seed}" / "events.out.tfevents.1", points, table)
    code, out, _ = report("runs", "sb3", "clean", *QUICK)
    assert code == 0
    assert out.startswith("12 runs in 4 curves, on 1 environment, with 3 seeds a curve")
    scores = (tmp_path / "report" / "tables" / "scores.csv").read_text()
    assert re.findall(r"^(clean unknown|PPO unknown),Task,(\d)", scores, re.MULTILINE) == [
        ("PPO unknown", "9"),
        ("clean unknown", "5"),
    ]
    assert report("sb3", "--folders", "{norm}/{env}/{agent}_{seed}", *QUICK)[0] == 0
    assert "PPO none,Task,9" in (tmp_path / "report" / "tables" / "scores.csv").read_text()


def test_what_was_left_out_is_said_and_stands_on_the_page(report, runs, tmp_path):
    write_run(runs / "begun", [{"step": 5, "train/loss": 1}], seed=7)
    write_run(runs / "short", curve([1]), seed=8)
    path = write_events(tmp_path / "runs" / "cut" / "events.out.tfevents.1", [("rollout/ep_rew_mean", 300, 1.0)] * 3)
    path.write_bytes(path.read_bytes()[:-5])
    code, out, err = report("runs", "--min-steps", 200, *QUICK)
    assert code == 0
    assert out.startswith("7 runs in 3 curves")
    begun, cut, short = sorted(err.splitlines())
    assert begun == "note: runs/begun is left out: it ends at step 5, before --min-steps 200"
    assert cut.startswith("note: runs/cut/events.out.tfevents.1 is truncated or damaged: 3 events in ")
    assert short == "note: runs/short is left out: it ends at step 100, before --min-steps 200"
    assert "runs/short is left out" in (tmp_path / "report" / "index.html").read_text()
    assert "note: runs/begun is left out: it has neither eval/mean_reward nor" in report("runs", *QUICK)[2]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "name a folder that holds runs"),
        (["nowhere"], "there is no folder nowhere"),
        (["runs", "--by", "learnig_rate"], "no setting 'learnig_rate': did you mean learning_rate?"),
        (["runs", "--across", "zzz"], "no setting 'zzz'"),
        (["runs", "--against", "zzz"], "no setting 'zzz'"),
        (["runs", "--against", "env"], "--against takes a setting whose values are numbers: env is Task in some runs"),
        (["runs", "--against", "learning-rate"], "learning_rate is 0.001 in all"),
        (["runs", "--score", "train/los"], "has no metric train/los: "),
        (["runs", "--threshold", "Task"], "--threshold takes ENV=SCORE, got 'Task'"),
        (["runs", "--threshold", "Task=nan"], "--threshold takes ENV=SCORE, got 'Task=nan'"),
        (["runs", "--threshold", "Tusk=3"], "there are no runs on Tusk here: choose from Task"),
        (["runs", "--score-range", "Task=3"], "--score-range takes ENV=LOW:HIGH, got 'Task=3'"),
        (["runs", "--score-range", "Task=3:3"], "--score-range needs a HIGH above LOW, got 'Task=3:3'"),
        (["runs", "--score-range", "Task=1:0"], "--score-range needs a HIGH above LOW, got 'Task=1:0'"),
        (["runs", "--score-range", "Task=0:nan"], "--score-range takes ENV=LOW:HIGH, got 'Task=0:nan'"),
        (["runs", "--baseline", "layer"], "no run has the normalizer layer: --baseline takes none, weight"),
        (["runs", "--folders", "x"], "--folders takes names in braces"),
        (["runs", "--min-steps", "-1"], "min_steps must not be negative, got -1"),
        (["runs", "--min-steps", "1k"], "no run is left: runs/weight-2 is left out: it ends at step 300"),
        (["runs", "--resamples", "3"], "resamples must be at least 100, got 3"),
        (["runs", "--out", "runs"], "runs holds "),
        (["runs", "--sede", "3"], "there is no flag --sede"),
    ],
)
def test_bad_input_is_one_line(report, runs, tmp_path, arguments, said):
    refused(report(*arguments), said, tmp_path)


def test_runs_of_other_settings_are_refused_and_drawn_apart_or_together(report, runs, tmp_path):
    write_run(runs / "other", curve([9, 9, 9]), seed=5, learning_rate=0.1)
    said = "differ in learning_rate (0.001 in 3, runs/none-0 for example; 0.1 in 1, runs/other)"
    refused(report("runs"), said, tmp_path)
    assert "in 3 curves" in report("runs", "--by", "learning-rate", *QUICK)[1]
    assert "in 2 curves" in report("runs", "--across", "learning-rate", *QUICK)[1]
    assert "in 3 curves" in report("runs", "--against", "learning-rate", *QUICK)[1]
    assert "<h2>Scores against learning_rate</h2>" in (tmp_path / "report" / "index.html").read_text()
    assert (tmp_path / "report" / "figures" / "learning-rate-Task.svg").is_file()


def test_runs_whose_learning_broke_down_count(report, runs):
    write_run(runs / "none-3", curve([1]), seed=3, broke_down=150)
    write_run(runs / "weight-3", curve([1, 1, 1]), seed=3, norm="weight")
    code, _, err = report("runs", *QUICK)
    assert code == 0
    assert err == (
        "note: Task: learning broke down in 1 run, from there on counted with the lowest score of all, 1: "
        "runs/none-3 at step 150\n"
    )
    code, _, err = report("runs", "--score", "time/time_elapsed", *QUICK)
    assert code == 0
    assert "all curves end at 100, where runs/none-3 does" in err
    assert "counted" not in err
    _, _, err = report("runs", "--score", "time/time_elapsed", "--min-steps", 200, *QUICK)
    assert "runs/none-3 is left out: it ends at step 100, where its learning broke down, before --min-steps 200" in err


def test_nothing_but_a_run_whose_learning_broke_down(report, tmp_path):
    write_run(tmp_path / "runs" / "a", [{"step": 20, "train/loss": 1.0}], broke_down=150, steps=300)
    code, _, err = report("runs", *QUICK)
    assert code == 2
    assert (
        "no run is left: runs/a is left out: its learning broke down at step 150, and no run on Task has a score" in err
    )


def test_a_run_whose_score_ends_early_is_left_out_by_min_steps(report, runs):
    """Its training goes on, and a score that the others lack does not count."""
    rows = [*curve([1]), {"step": 300, "train/loss": 1.0}]
    write_run(runs / "none-3", rows, [(100, 1), (300, 1)], seed=3)
    assert "all curves end at 100, where runs/none-3 does" in report("runs", *QUICK)[2]
    code, out, err = report("runs", "--min-steps", 200, *QUICK)
    assert (code, out.partition(" in ")[0]) == (0, "6 runs")
    assert err == ("note: runs/none-3 is left out: its rollout/ep_rew_mean ends at step 100, before --min-steps 200\n")


def test_min_steps_holds_for_the_score_that_is_left(report, tmp_path):
    """Without the first run all have evaluations, which end early in the second."""
    games = [(100, 1), (300, 1)]
    write_run(tmp_path / "runs" / "a", [*curve([1]), {"step": 300, "train/loss": 1.0}], seed=0)
    write_run(tmp_path / "runs" / "b", curve([1, 1, 1]), [(50, 1), (100, 1)], seed=1)
    for seed in (2, 3):
        write_run(tmp_path / "runs" / f"c{seed}", curve([1, 1, 1]), games, seed=seed)
    code, out, err = report("runs", "--min-steps", 200, *QUICK)
    assert (code, out.partition(" in ")[0]) == (0, "2 runs")
    assert "runs/b is left out: its eval/mean_reward ends at step 100, before --min-steps 200" in err


def test_ctrl_c(report, runs, monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("agents.reports.discovery.find_runs", interrupted)
    assert report("runs")[0] == 130
