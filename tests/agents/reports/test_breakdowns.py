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


def evaluated(run, scores):
    metrics = {**run.metrics, EVALUATED: Points.of((150 * (i + 1), score) for i, score in enumerate(scores))}
    return replace(run, metrics=metrics)


def analysed(runs):
    return analyse(group(with_breakdowns(runs, [])), Choices(None, None, {}, {}, 100))


def test_others_are_as_they_were():
    runs, notes = [a_run([1, 2, 3])], []
    assert with_breakdowns(runs, notes) == runs
    assert notes == []


def test_the_lowest_score_of_all_holds_to_its_end():
    runs = [a_run([5, 9, 30], name="ok"), replace(a_run([8, 7, 20], name="bad"), broke_down=350, planned=1_000)]
    notes = []
    whole, broken = with_breakdowns(runs, notes)
    assert whole == runs[0]
    assert points_of(broken) == [(100, 8), (200, 7), (300, 20), (351, 5), (1_000, 5)]
    assert notes == [
        "Task: learning broke down in 1 run, from there on counted with the lowest score of all, 5: bad at step 350"
    ]


@pytest.mark.parametrize(("planned", "end"), [(0, 500), (400, 500), (900, 900)])
def test_its_end_is_at_least_that_of_the_others(planned, end):
    """Where its settings do not say how long it was to be, for example."""
    runs = [a_run([1, 2, 3, 4, 5]), replace(a_run([1], norm="weight"), broke_down=150, planned=planned)]
    assert with_breakdowns(runs, [])[1].metrics[TAG].steps[-1] == end


def test_what_it_has_reached_until_then_stays():
    [run] = with_breakdowns([replace(a_run([8, 7, 20]), broke_down=300, planned=300)], [])
    assert points_of(run) == [(100, 8), (200, 7), (300, 20), (301, 7)]


def test_one_without_a_score_has_the_lowest_from_the_beginning():
    """So that it does not make the curves begin, or end, where it broke down."""
    none = replace(a_run([], name="bad"), metrics={}, broke_down=5_000, planned=9_000)
    runs = with_breakdowns([a_run([5, 6]), a_run([4, 9], norm="weight"), none, a_run([-1, 0], env="Other")], [])
    assert points_of(runs[2]) == [(0, 4), (5_001, 4), (9_000, 4)]
    assert EVALUATED not in runs[2].metrics
    analysis = analysed([a_run([5, 6, 6]), replace(none, norm="weight", seed=0)])
    assert [result.finals.tolist() for result in analysis.environments[0].curves] == [[6], [5]]


def test_without_any_score_in_its_environment_it_stays_as_it_is():
    none, notes = replace(a_run([], name="bad"), metrics={}, broke_down=50, planned=300), []
    assert with_breakdowns([none, a_run([1], env="Other")], notes)[0] == none
    assert notes == []


def test_a_run_without_evaluations_does_not_change_the_score_that_is_compared():
    whole = [evaluated(a_run([1, 2, 3, 4, 5], seed=seed), [10, 20, 30]) for seed in range(2)]
    analysis = analysed([*whole, replace(a_run([1], seed=2), broke_down=120, planned=500)])
    assert analysis.tag == EVALUATED
    [result] = analysis.environments[0].curves
    assert result.steps[-1] == 450
    assert result.finals[2] == 1
    assert result.finals[0] == pytest.approx(29, abs=1)


def test_perfect_evaluations_of_the_others_do_not_make_it_perfect():
    whole = [evaluated(a_run([20, 500, 500, 500, 500], seed=seed), [500, 500, 500]) for seed in range(2)]
    [result] = analysed([*whole, replace(a_run([20], seed=2), broke_down=140, planned=500)]).environments[0].curves
    assert result.finals.tolist() == [500, 500, 20]


def test_a_peak_before_it_broke_down_does_not_hold():
    runs = [a_run([100, 200, 200, 200, 200], seed=seed) for seed in range(2)]
    [result] = analysed([*runs, replace(a_run([300], seed=2), broke_down=150, planned=500)]).environments[0].curves
    assert result.finals[2] == 100
    assert result.bests[2] == 300


def test_it_is_not_left_out_and_no_curve_is_cut():
    """Two of three seeds learn: without the third the mean would flatter."""
    runs = [a_run([1, 5, 9], seed=seed) for seed in range(2)]
    analysis = analysed([*runs, replace(a_run([1], seed=2), broke_down=150, planned=9_000)])
    [result] = analysis.environments[0].curves
    assert result.steps[-1] == 300
    assert result.finals[2] == 1
    assert min(result.finals[:2]) > 8
    assert analysis.notes == ()


def test_many_are_named_by_three():
    runs = [replace(a_run([1], seed=seed, name=f"r{seed}"), broke_down=1_100, planned=2_000) for seed in range(5)]
    notes = []
    with_breakdowns(runs, notes)
    assert "broke down in 5 runs, " in notes[0]
    assert notes[0].endswith(": r0 at step 1,100, r1 at step 1,100, r2 at step 1,100 and 2 more")
