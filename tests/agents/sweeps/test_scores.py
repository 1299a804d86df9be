"""agents.sweeps.scores"""

import csv
import json

import pytest

from agents.sweeps.scores import final_scores, report_settings, write_scores
from agents.sweeps.sweep_folder import SweepFolder
from tests.agents.sweeps.made_up import a_trial, break_down, finish

SCORES = ("final score", "highest score")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "sweep").mkdir()
    return SweepFolder(tmp_path / "sweep")


def rows(path):
    with open(path, newline="") as file:
        return list(csv.reader(file))


def test_tables(folder):
    trials = [
        a_trial(norm=norm, seed=seed, settings={"gamma": gamma}, varied=("gamma",))
        for norm in ("none", "weight")
        for gamma in (0.5, 0.9)
        for seed in range(2)
    ]
    for number, trial in enumerate(trials[:-1]):
        finish(folder, trial, [1, 2, 10 + number])
    table = write_scores(folder, trials)
    found = rows(folder.path / "trials.csv")
    assert found[0] == ["agent", "task", "norm", "gamma", "seed", "steps", "broke down", *SCORES]
    assert found[1][:6] == ["dqn", "CartPole-v1", "none", "0.5", "0", "300"]
    assert float(found[1][7]) == pytest.approx(final_scores(folder, trials)[trials[0].name])
    assert 8 < float(found[1][7]) <= float(found[1][8]) == 10
    assert found[-1][5:] == ["0", "", "", ""]
    assert len(table.rows) == 4
    assert rows(folder.path / "scores.csv") == table.plain_rows()
    assert table.head[-2:] == ("broke down", "missing")
    assert [row[-2:] for row in table.rows] == [(0, 0)] * 3 + [(0, 1)]
    assert "dqn none, gamma 0.5" in table.as_text()
    before = [(folder.path / name).read_bytes() for name in ("trials.csv", "scores.csv")]
    write_scores(folder, trials)
    assert [(folder.path / name).read_bytes() for name in ("trials.csv", "scores.csv")] == before


def test_statistics_of_an_earlier_command_do_not_stay(folder):
    finish(folder, a_trial(), [1, 2, 3])
    write_scores(folder, [a_trial()])
    assert (folder.path / "scores.csv").is_file()
    assert write_scores(folder, [a_trial(seed=1)]) is None
    assert not (folder.path / "scores.csv").exists()


def test_trials_that_cannot_be_compared_are_listed(folder):
    trials = [a_trial(seed=seed) for seed in range(2)]
    for trial in trials:
        finish(folder, trial, [1, 2, 3])
    write_scores(folder, trials)
    late = folder.run_of(trials[1]) / "progress.csv"
    late.write_text(late.read_text().replace("100,", "9100,").replace("200,", "9200,").replace("300,", "9300,"))
    with pytest.raises(ValueError, match="share no steps"):
        write_scores(folder, trials)
    assert [row[4:] for row in rows(folder.path / "trials.csv")[1:]] == [["300", "", "", ""]] * 2
    assert not (folder.path / "scores.csv").exists()


def test_nothing_has_finished(folder):
    finish(folder, a_trial(), [1], step=100)
    assert write_scores(folder, [a_trial()]) is None
    assert rows(folder.path / "trials.csv")[1] == ["dqn", "CartPole-v1", "weight", "0", "100", "", "", ""]
    assert not (folder.path / "scores.csv").exists()


def test_a_trial_whose_learning_broke_down_counts(folder):
    """Else the mean of a normalizer would be that of the seeds that survived."""
    trials = [a_trial(seed=seed) for seed in range(3)]
    for trial in trials[:2]:
        finish(folder, trial, [3, 20, 40])
    break_down(folder, trials[2], [4, 2], step=250)
    table = write_scores(folder, trials)
    assert rows(folder.path / "trials.csv")[3] == ["dqn", "CartPole-v1", "weight", "2", "0", "250", "2.0", "4.0"]
    scores = dict(zip(table.head, table.rows[0], strict=True))
    assert (scores["seeds"], scores["lowest"], scores["steps"]) == (3, 2, 300)
    assert (scores["broke down"], scores["missing"]) == (1, 0)


def test_a_table_of_runs_that_all_ended_well_is_shown_without_their_number(folder):
    """The file has the same columns in any case, for those who read it by program."""
    finish(folder, a_trial(), [1, 2, 3])
    table = write_scores(folder, [a_trial()])
    head, row = rows(folder.path / "scores.csv")
    shown_head, shown_row = table.plain_rows()
    assert head == [*shown_head, "broke down", "missing"]
    assert row == [*shown_row, "0", "0"]


def test_a_normalizer_of_whose_runs_none_has_a_score_is_in_the_table(folder):
    """One run failed, one ended before it had a score, and the learning of one broke down before."""
    trials = [
        a_trial(norm=norm, task=task, seed=seed, settings={"gamma": 0.5}, varied=("gamma",))
        for task in ("Acrobot-v1", "CartPole-v1")
        for norm in ("none", "weight")
        for seed in range(3)
    ]
    for trial in trials[:6]:
        finish(folder, trial, [3, 3, 3])
    for trial in trials[6:9]:
        finish(folder, trial, [], step=100)
    finish(folder, trials[10], [])
    break_down(folder, trials[11], [], step=50)
    write_scores(folder, trials)
    head, *found = rows(folder.path / "scores.csv")
    about = [head.index(name) for name in ("method", "environment", "IQM", "seeds", "broke down", "missing")]
    assert [[row[place] for place in about] for row in found] == [
        ["dqn none, gamma 0.5", "Acrobot-v1", "3", "3", "0", "0"],
        ["dqn weight, gamma 0.5", "Acrobot-v1", "3", "3", "0", "0"],
        ["dqn none, gamma 0.5", "CartPole-v1", "", "0", "0", "3"],
        ["dqn weight, gamma 0.5", "CartPole-v1", "", "0", "1", "3"],
    ]


def test_nothing_but_breakdowns_without_a_score(folder):
    break_down(folder, a_trial(), [], step=50)
    assert write_scores(folder, [a_trial()]) is None
    assert rows(folder.path / "trials.csv")[1][5:] == ["50", "", ""]


def test_values_of_hyperparams_are_compared(folder):
    """A run of stable-baselines3's algorithms has them one by one in its file, derived ones and defaults included."""
    trials = [
        a_trial("sb3-ppo", settings={"hyperparams": words}, varied=("hyperparams",))
        for words in (("n_steps:128",), ("n_steps:256", "gamma:0.9"))
    ]
    for trial, length in zip(trials, (128, 256), strict=True):
        config = finish(folder, trial, [1, 2, length]) / "config.json"
        stored = {"agent": "ppo", "library": "stable-baselines3", "hyperparams": {"n_steps": length, "batch": length}}
        config.write_text(json.dumps(json.loads(config.read_text()) | stored))
    table = write_scores(folder, trials)
    assert [row[0] for row in table.rows] == [
        "sb3-ppo weight, hyperparams n_steps:128",
        "sb3-ppo weight, hyperparams n_steps:256,gamma:0.9",
    ]
    assert len(final_scores(folder, trials)) == 2
    assert report_settings(trials) == ["hyperparams.n_steps", "hyperparams.gamma"]
