"""agents.reports.sensitivity"""

from dataclasses import replace

import pytest
from matplotlib.figure import Figure

from agents.reports.analysis import analyse
from agents.reports.curves import group
from agents.reports.normalizer_styles import STYLES
from agents.reports.sensitivity import checked_numbers, sensitivities, sensitivity_charts
from tests.agents.reports.hand_made import a_run
from tests.agents.reports.test_analysis import CHOICES

SCORES = {("none", "0.1"): 2, ("none", "0.001"): 10, ("none", "0.01"): 6, ("weight", "0.001"): 7, ("weight", "0.01"): 8}


def runs(scores=SCORES, seeds=4):
    """Constant scores, of seed s with s added: the IQM of 4 seeds is that of the middle two, 1.5 above."""
    return [
        a_run([score + seed] * 3, norm=norm, seed=seed, settings={"learning_rate": rate, "units": "sqrt"})
        for (norm, rate), score in scores.items()
        for seed in range(seeds)
    ]


def study(found, against="learning_rate", by=()):
    curves = group(found, (*by, against))
    return analyse(curves, CHOICES.__class__(**{**CHOICES.__dict__, "against": checked_numbers(curves, against)}))


def axes_of(chart):
    axes = Figure(layout="constrained").subplots()
    chart.paint(axes)
    return axes


def test_scores_of_each_method_by_ascending_values():
    (env,) = study(runs()).environments
    none, weight = sensitivities(env, "learning_rate")
    assert (none.method.norm, none.method.by, none.values, none.seeds) == ("none", (), (0.001, 0.01, 0.1), 4)
    assert none.scores.value == pytest.approx([11.5, 7.5, 3.5])
    assert (none.scores.low < none.scores.value).all()
    assert (none.scores.high > none.scores.value).all()
    assert (weight.method.norm, weight.values) == ("weight", (0.001, 0.01))
    assert weight.scores.value == pytest.approx([8.5, 9.5])


def test_a_figure_has_a_line_for_each_normalizer_on_a_logarithmic_axis():
    (chart,) = sensitivity_charts(study(runs()))
    assert chart.name == "learning-rate-Task"
    assert chart.description == (
        "Final rollout/ep_rew_mean on Task against learning_rate. "
        "dqn none is best at 0.001; dqn weight is best at 0.01."
    )
    axes = axes_of(chart)
    assert [line.get_label() for line in axes.lines] == ["dqn none (4 seeds)", "dqn weight (4 seeds)"]
    assert [line.get_color() for line in axes.lines] == [STYLES["none"].colour, STYLES["weight"].colour]
    assert axes.lines[0].get_xdata().tolist() == [0.001, 0.01, 0.1]
    assert axes.get_xscale() == "log"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0.001", "0.01", "0.1"]
    assert len(axes.collections) == 2


def test_near_values_are_on_a_linear_axis_and_two_seeds_have_no_band():
    near = {("none", "0.1"): 2, ("none", "0.2"): 3}
    axes = axes_of(sensitivity_charts(study(runs(near, seeds=2)))[0])
    assert axes.get_xscale() == "linear"
    assert not axes.collections


def test_a_value_that_is_written_in_two_ways_has_all_its_runs():
    found = [*runs({("none", "0.001"): 2, ("none", "0.01"): 3}, seeds=3), a_run([9] * 3, seed=3, settings={
        "learning_rate": "1e-3", "units": "sqrt"})]  # fmt: skip
    ((line,),) = [sensitivities(env, "learning_rate") for env in study(found).environments]
    assert line.scores.value == pytest.approx([(3 + 4) / 2, 4])  # of 2, 3, 4 and 9, and of 3, 4 and 5


def test_other_settings_have_lines_of_their_own():
    found = runs({("weight", "0.1"): 2, ("weight", "0.01"): 3})
    others = [replace(run, settings={**run.settings, "units": "paper"}) for run in found]
    (env,) = study(found + others, by=("units",)).environments
    lines = sensitivities(env, "learning_rate")
    assert [line.method.by for line in lines] == [(("units", "paper"),), (("units", "sqrt"),)]


def test_nothing_is_drawn_unless_asked_for():
    assert sensitivity_charts(analyse(group(runs({("none", "0.1"): 1})), CHOICES)) == []


@pytest.mark.parametrize(
    ("scores", "against", "said"),
    [
        (SCORES, "units", "units is sqrt in some runs"),
        ({("none", "0.1"): 1, ("none", "nan"): 2}, "learning_rate", "learning_rate is nan in some runs"),
        ({("none", "0.1"): 1}, "learning-rate", "learning_rate is 0.1 in all"),
    ],
)
def test_what_cannot_be_an_axis_is_refused(scores, against, said):
    with pytest.raises(ValueError, match=said):
        study(runs(scores), against, by=("learning_rate",))
