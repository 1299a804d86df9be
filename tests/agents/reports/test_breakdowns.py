"""agents.reports.breakdowns"""

from dataclasses import replace

import pytest

from agents.reports.analysis import Choices, analyse
from agents.reports.breakdowns import with_breakdowns
from agents.reports.curves import group
from agents.reports.run import Points
from tests.agents.reports.hand_made import a_run

TAG, EVALUATED = "rollout/ep_rew_mean", "eval/mean_reward"


def points_of(run, tag=TAG):
    return [*zip(*(part.tolist() for part in run.metrics[tag]), strict=True)]


def test_others_are_as_they_were():
    runs, notes = [a_run([1, 2, 3])], []
    assert with_breakdowns(runs, notes) == runs
    assert notes == []


def test_the_lowest_score_that_it_has_had_holds_to_its_end():
    runs = [a_run([5, 9, 30], name="ok"), replace(a_run([8, 7, 20], name="bad"), broke_down=350, planned=1_000)]
    notes = []
    whole, broken = with_breakdowns(runs, notes)
    assert whole == runs[0]
    assert points_of(broken) == [(100, 8), (200, 7), (300, 20), (350, 7), (1_000, 7)]
    assert notes == [
        "Task: learning broke down in some runs, which count from there on with their lowest score: bad at step 350"
    ]


def test_a_row_of_the_step_at_which_it_broke_down():
    [run] = with_breakdowns([replace(a_run([8, 7, 20]), broke_down=300, planned=300)], [])
    assert points_of(run) == [(100, 8), (200, 7), (300, 7)]


def test_where_it_has_had_none_the_lowest_of_its_environment_does():
    none = replace(a_run([], name="bad"), metrics={}, broke_down=50, planned=300)
    elsewhere = a_run([-1, 0], env="Other")
    runs = with_breakdowns([a_run([5, 6]), a_run([4, 9], norm="weight"), none, elsewhere], [])
    assert points_of(runs[2]) == [(50, 4), (300, 4)]
    assert EVALUATED not in runs[2].metrics
    assert with_breakdowns([none], [])[0].metrics == {}


def test_a_run_without_evaluations_does_not_change_the_score_that_is_compared():
    def evaluated(run, scores):
        metrics = {**run.metrics, EVALUATED: Points.of((150 * (i + 1), score) for i, score in enumerate(scores))}
        return replace(run, metrics=metrics)

    whole = [evaluated(a_run([1, 2, 3, 4, 5], seed=seed), [10, 20, 30]) for seed in range(2)]
    broken = replace(a_run([1], seed=2), broke_down=120, planned=500)
    analysis = analyse(group(with_breakdowns([*whole, broken], [])), Choices(None, None, {}, {}, 100))
    assert analysis.tag == EVALUATED
    [result] = analysis.environments[0].curves
    assert result.steps[-1] == 450
    assert result.finals[2] == 10
    assert result.finals[0] == pytest.approx(29, abs=1)


def test_it_is_not_left_out_and_its_curve_is_not_cut():
    """Two of three seeds learn: without the third the mean would flatter."""
    runs = [a_run([1, 5, 9], seed=seed) for seed in range(2)]
    runs.append(replace(a_run([1], seed=2), broke_down=150, planned=300))
    analysis = analyse(group(with_breakdowns(runs, [])), Choices(None, None, {}, {}, 100))
    [result] = analysis.environments[0].curves
    assert result.steps[-1] == 300
    assert result.finals[2] == 1
    assert min(result.finals[:2]) > 8
    assert analysis.notes == ()


def test_many_are_named_by_three():
    runs = [replace(a_run([1], seed=seed, name=f"r{seed}"), broke_down=1_100, planned=2_000) for seed in range(5)]
    notes = []
    with_breakdowns(runs, notes)
    assert notes[0].endswith(": r0 at step 1,100, r1 at step 1,100, r2 at step 1,100 and 2 more")
