"""agents.reports.analysis"""

import dataclasses
import math

import numpy as np
import pytest
from scipy.stats import ttest_rel

from agents.reports.analysis import Choices, analyse, first_step, score_tag, seconds_at
from agents.reports.charts import charts
from agents.reports.curves import group
from agents.reports.run import Points
from agents.reports.score_scales import HUMAN, RELATIVE
from tests.agents.reports.hand_made import a_run

CHOICES = Choices(None, None, {}, {}, 100)


def study(runs, by=(), **options):
    return analyse(group(runs, by=by), CHOICES.__class__(**{**CHOICES.__dict__, **options}))


def test_a_curve_is_the_iqm_of_its_runs_and_the_final_score_that_of_the_last_tenth():
    """Of straight lines; of 4 seeds the IQM is the mean of the middle two."""
    runs = [a_run([top * i / 10 for i in range(11)], seed=s) for s, top in enumerate([10, 20, 40, 1000])]
    found = study(runs)
    ((result,),) = [env.curves for env in found.environments]
    assert (result.steps[0], result.steps[-1]) == (100, 1100)
    assert result.band.value[[0, -1]] == pytest.approx([0, 30])
    assert result.band.value[100] == pytest.approx(30 * (result.steps[100] - 100) / 1000)
    assert result.finals == pytest.approx(np.array([10, 20, 40, 1000]) * 0.95, rel=0.01)
    assert result.bests == pytest.approx([10, 20, 40, 1000])
    assert result.final.value == pytest.approx(28.5, rel=0.01)
    assert (found.tag, found.notes) == ("rollout/ep_rew_mean", ())


def test_only_returns_are_human_normalized():
    metrics = {tag: Points.of([(100, 1), (200, 2)]) for tag in ("losses/td_loss", "charts/episodic_return")}
    runs = [dataclasses.replace(a_run([1, 2], env="Breakout", seed=s), metrics=metrics) for s in range(2)]
    assert study(runs, score="losses/td_loss").environments[0].scale.source == RELATIVE
    assert study(runs, score="charts/episodic_return").environments[0].scale.source == HUMAN


def test_curves_end_at_the_shortest_run_which_is_named():
    runs = [a_run([1, 2, 3, 4, 100], seed=0), a_run([5, 6, 7], norm="weight", name="short")]
    found = study(runs)
    none, weight = found.environments[0].curves
    assert none.steps[-1] == weight.steps[-1] == 300
    assert none.bests == 3
    assert found.notes == (
        "Task: runs have different lengths, up to 500 steps; all curves end at 300, where short does (1 of 2 are "
        "short; --min-steps leaves such runs out)",
    )


def test_curves_begin_apart_and_final_scores_are_of_the_same_steps():
    late = [a_run([0] * 10, seed=s, norm="weight") for s in range(2)]
    for run in late:
        run.metrics["rollout/ep_rew_mean"] = Points.of([(900, 0), (1000, 10)])
    none, weight = study([a_run(range(10)), *late]).environments[0].curves
    assert (none.steps[0], none.steps[-1]) == (100, 1000)
    assert (weight.steps[0], weight.steps[-1]) == (900, 1000)
    assert none.finals == pytest.approx([8.5], rel=0.01)
    assert weight.finals == pytest.approx([5, 5], rel=0.01)


def test_almost_equal_lengths_are_no_note():
    assert study([a_run([1] * 100, seed=0), a_run([1] * 97, seed=1)]).notes == ()


def test_runs_that_share_no_steps_are_refused():
    late = a_run([1, 2], seed=1, name="late")
    late.metrics["rollout/ep_rew_mean"] = Points.of([(900, 1), (1000, 2)])
    with pytest.raises(ValueError, match="share no steps: one ends at 200, and late has its first"):
        study([a_run([1, 2], name="early"), late])


def test_single_rows_of_one_interval_are_one_point():
    """Runs of one row each, whose last games before it ended some steps apart."""
    runs = [a_run([1], seed=seed, norm=norm) for seed in range(2) for norm in ("none", "weight")]
    for run, step, score in zip(runs, (2000, 2006, 2003, 2001), (10, 20, 30, 40), strict=True):
        run.metrics["rollout/ep_rew_mean"] = Points.of([(step, score)])
    found = {result.curve.method.norm: result for result in study(runs).environments[0].curves}
    assert found["none"].finals.tolist() == [10, 30]
    assert found["weight"].finals.tolist() == [20, 40]
    assert [found[norm].steps.tolist() for norm in ("none", "weight")] == [[2003], [2006]]


def test_one_point_a_run_is_enough():
    ((result,),) = [env.curves for env in study([a_run([4.0], seed=s) for s in range(3)]).environments]
    assert (result.steps.tolist(), result.finals.tolist()) == ([100], [4, 4, 4])


def evaluated(*steps, **options):
    run = a_run([1, 2], **options)
    run.metrics["eval/mean_reward"] = Points.of((step, 9) for step in steps)
    return run


def test_evaluations_are_the_score_where_all_runs_have_them():
    both = [evaluated(50, 100), evaluated(50, 100, seed=1)]
    assert score_tag(both, None) == "eval/mean_reward"
    assert score_tag([*both, a_run([1], seed=2)], None) == "rollout/ep_rew_mean"
    assert score_tag([evaluated(100), *both], None) == "rollout/ep_rew_mean"
    assert score_tag(both, "rollout/ep_rew_mean") == "rollout/ep_rew_mean"
    with pytest.raises(ValueError, match=r"has no metric eval/mean: its nearest are eval/mean_reward; choose another"):
        score_tag(both, "eval/mean")


def test_steps_and_time_to_a_threshold():
    """Two of three runs come to 4 at steps 400 and 200, a fiftieth of a second a step."""
    runs = [a_run([1, 2, 3, 4, 5]), a_run([1, 4, 5, 5, 5], seed=1), a_run([1, 1, 1, 1, 1], seed=2)]
    (found,) = study(runs, thresholds={"Task": 4.0}).thresholds
    assert (found.reached, found.steps, found.seconds, found.source) == (2, 400, 8, "given")
    (found,) = study(runs, thresholds={"Task": 4.5}).thresholds
    assert (found.reached, found.steps) == (2, 500)
    (found,) = study([*runs, a_run([0] * 5, seed=3)], thresholds={"Task": 4.0}).thresholds
    assert (found.reached, found.steps, found.seconds) == (2, math.inf, math.inf)
    assert study(runs).thresholds == ()
    (found,) = study([a_run([1, 500], env="CartPole-v1")]).thresholds
    assert (found.threshold, found.source, found.steps) == (475, "Gymnasium's", 200)


def test_what_comes_after_the_shared_steps_counts_for_nothing():
    runs = [a_run([1, 6, 2, 9]), a_run([3, 1, 1], seed=1)]
    found = study(runs, thresholds={"Task": 7.0})
    assert found.environments[0].curves[0].bests.tolist() == [6, 3]
    assert found.thresholds[0].reached == 0
    assert study(runs, thresholds={"Task": 6.0}).thresholds[0].reached == 1


def test_first_step_and_seconds():
    points = Points.of([(10, 1), (20, 3), (30, 2)])
    assert first_step(points, 2) == 20
    assert first_step(points, 4) == math.inf
    assert seconds_at(points, 15) == 2
    assert seconds_at(points, math.inf) == math.inf
    assert math.isnan(seconds_at(Points.of([]), 10))


def test_improvement_is_over_the_same_agent_with_the_baseline():
    scores = {"none": (1, 2, 3), "weight": (2, 5, 6), "layer": (0, 0, 0)}
    runs = [a_run([v, v], seed=s, norm=n) for n, values in scores.items() for s, v in enumerate(values)]
    runs += [a_run([9, 9], seed=s, norm="weight", agent="ppo") for s in range(3)]
    found = study(runs).improvements
    assert [(one.env, str(one.method), str(one.baseline)) for one in found] == [
        ("Task", "dqn weight", "dqn none"),
        ("Task", "dqn layer", "dqn none"),
    ]
    assert float(found[0].probability.value) == pytest.approx((1.5 + 3 + 3) / 9)
    assert float(found[1].probability.value) == 0
    assert [str(one.method) for one in study(runs, baseline="layer").improvements] == ["dqn none", "dqn weight"]


def test_improvement_over_a_value_of_a_setting():
    scores = {"0.001": (1, 2, 3), "0.01": (2, 4, 6), "0.1": (0, 0, 0)}
    runs = [
        a_run([v, v], seed=s, settings={"learning_rate": rate})
        for rate, values in scores.items()
        for s, v in enumerate(values)
    ]
    found = study(runs, by=["learning_rate"], baseline="learning-rate=1e-3").improvements
    assert [(str(one.method), one.instead, float(one.difference.value)) for one in found] == [
        ("dqn none, learning_rate 0.01", "learning_rate 0.001", 2),
        ("dqn none, learning_rate 0.1", "learning_rate 0.001", -2),
    ]


def test_differences_are_paired_by_seed():
    """Seeds that are good or bad for both normalizers count for nothing."""
    runs = [a_run([v, v], seed=s) for s, v in enumerate([10, 200, 3000, 5])]
    runs += [a_run([v, v], seed=s, norm="weight") for v, s in ((13, 0), (202, 1), (3001, 2), (9, 7))]
    (found,) = study(runs).improvements
    assert found.difference is not None
    assert float(found.difference.value) == pytest.approx(2)
    low, high = ttest_rel([13, 202, 3001], [10, 200, 3000]).confidence_interval(0.95)
    assert (float(found.difference.low), float(found.difference.high)) == pytest.approx((low, high))
    unpaired = [a_run([1, 1], seed=s, norm=norm) for s, norm in ((0, "none"), (1, "weight"), (None, "layer"))]
    assert [one.difference for one in study(unpaired).improvements] == [None, None]


def test_a_baseline_that_is_not_here():
    runs = [a_run([1], norm=norm) for norm in ("weight", "layer")]
    with pytest.raises(ValueError, match="no run has the normalizer none: --baseline takes weight, layer"):
        study(runs, baseline="none")
    found = study(runs)
    assert found.improvements == ()
    assert found.notes == (
        "no run has the normalizer none, so none is compared with it: --baseline takes weight, layer",
    )
    assert study(runs[:1]).notes == ()


def test_aggregates_are_of_scaled_scores_in_the_environments_that_all_methods_have():
    runs = [a_run([v, v], seed=s, norm=n, env=e) for e, n, v in [
        ("A", "none", 0), ("A", "weight", 10), ("B", "none", 100), ("B", "weight", 100), ("B", "weight", 300),
    ] for s in ([0, 1] if v != 300 else [2, 3])]  # fmt: skip
    runs += [a_run([1, 1], env="C", agent=agent) for agent in ("dqn", "ppo")]
    found = study(runs, ranges={"B": (0.0, 400.0)})
    both, last = found.blocks
    assert (both.envs, last.envs) == (("A", "B"), ("C",))
    assert [str(one.method) for one in last.aggregates] == ["dqn none", "ppo none"]
    none, weight = both.aggregates
    assert float(none.statistics["mean"].value) == pytest.approx((0 + 0.25) / 2)
    assert float(weight.statistics["mean"].value) == pytest.approx((1 + 0.5) / 2)
    assert float(weight.statistics["IQM"].value) == pytest.approx(np.mean([0.25, 0.75, 0.75, 1]))
    assert float(weight.statistics["optimality gap"].value) == pytest.approx(
        1 - np.mean([1, 1, 0.25, 0.25, 0.75, 0.75])
    )
    assert [one.env for one in found.improvements] == ["A", "B", None]
    assert float(found.improvements[-1].probability.value) == pytest.approx((1 + 0.75) / 2)
    assert [one.difference and float(one.difference.value) for one in found.improvements] == [10, 0, None]


def test_an_environment_called_all_is_one_of_them():
    runs = [a_run([v, v], env=env, norm=norm, seed=s)
            for env, gain in (("all", 1), ("B", 5)) for norm in ("none", "weight") for s in range(2)
            for v in [gain * (norm == "weight")]]  # fmt: skip
    found = study(runs).improvements
    assert [(one.env, one.difference and float(one.difference.value), one.pairs) for one in found] == [
        ("B", 5, 2), ("all", 1, 2), (None, None, 0),
    ]  # fmt: skip
    names = [chart.name for chart in charts(study(runs))["improvements"]]
    assert names == ["improvement-B", "improvement-all", "improvement-all-2"]


def test_of_one_environment_profiles_have_its_own_scores():
    found = study([a_run([v, v], seed=s) for s, v in enumerate([100, 200])])
    ((one,),) = [block.aggregates for block in found.blocks]
    assert found.blocks[0].scores[0] < 100 < 200 < found.blocks[0].scores[-1]
    assert one.profile.value[0] == 1
    assert one.profile.value[-1] == 0


def test_an_environment_that_is_not_here():
    with pytest.raises(ValueError, match="there are no runs on Tusk here: choose from Task"):
        study([a_run([1])], thresholds={"Tusk": 1.0})
