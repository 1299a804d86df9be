"""agents.reports.charts"""

import pytest
from matplotlib.figure import Figure

from agents.reports.charts import charts
from agents.reports.lines import DASHES
from agents.reports.normalizer_styles import STYLES
from tests.agents.reports.hand_made import a_run
from tests.agents.reports.test_analysis import study


@pytest.fixture(scope="module")
def analysis():
    """Two environments, two agents, two normalizers; of PPO with `weight` two seeds alone."""
    return study(
        [
            a_run([0, 10 * i, 20 * i], seed=s, norm=norm, env=env, agent=agent)
            for env in ("A", "B")
            for agent in ("dqn", "ppo")
            for i, norm in enumerate(("none", "weight"), start=1)
            for s in range(2 if (agent, norm) == ("ppo", "weight") else 3)
        ],
        thresholds={"A": 15.0},
    )


def axes_of(chart):
    axes = Figure(layout="constrained").subplots()
    chart.paint(axes)
    return axes


def test_a_figure_for_each_environment_statistic_and_comparison(analysis):
    names = {section: [chart.name for chart in found] for section, found in charts(analysis).items()}
    assert names == {
        "curves": ["curve-A", "curve-B"],
        "sensitivity": [],
        "aggregates": [f"aggregate-{name}-A+B" for name in ("IQM", "median", "mean", "optimality-gap")],
        "profiles": ["profiles-A+B"],
        "improvements": ["improvement-A", "improvement-B", "improvement-all"],
    }


def test_curves_have_the_normalizers_colour_and_the_agents_dash(analysis):
    axes = axes_of(charts(analysis)["curves"][0])
    lines = {line.get_label(): line for line in axes.lines}
    labels = ["dqn none (3 seeds)", "dqn weight (3 seeds)", "ppo none (3 seeds)", "ppo weight (2 seeds)"]
    assert list(lines)[:4] == labels
    none, weight = STYLES["none"].colour, STYLES["weight"].colour
    assert [lines[label].get_color() for label in labels] == [none, weight, none, weight]
    assert [lines[label].get_linestyle() for label in labels] == ["-", "-", "--", "--"]
    assert lines[labels[1]].get_ydata()[[0, -1]].tolist() == [0, 40]
    assert len(axes.collections) == 3  # bands: not of two seeds
    assert all(0.1 < band.get_alpha() < 0.4 for band in axes.collections)
    assert [line.get_ydata()[0] for line in axes.lines[4:]] == [15]  # the threshold
    assert axes.get_ylim() == pytest.approx((-2, 42))


def test_an_agent_whose_name_begins_with_an_underscore_is_in_the_legends():
    found = charts(study([a_run([1, 2], agent=agent) for agent in ("_PPO", "dqn")], thresholds={"Task": 1.5}))
    for chart in (*found["curves"], *found["profiles"]):
        (legend,) = axes_of(chart).figure.legends
        assert [text.get_text()[:9] for text in legend.get_texts()] == ["_PPO none", "dqn none "]


def test_more_agents_than_dashes_have_figures_of_their_own():
    runs = [a_run([1, 2], agent=f"agent{i}") for i in range(len(DASHES) + 1)]
    assert [chart.name for chart in charts(study(runs))["curves"]] == [f"curve-Task--agent{i}" for i in range(5)]


def test_many_lines_are_drawn_by_agent():
    runs = [a_run([1, 2], agent=agent, norm=norm) for agent in ("dqn", "ppo") for norm in [*STYLES][:5]]
    found = charts(study(runs))
    assert [chart.name for chart in found["curves"]] == ["curve-Task--dqn", "curve-Task--ppo"]
    assert [chart.name for chart in found["profiles"]] == ["profiles-Task--dqn", "profiles-Task--ppo"]
    assert len(axes_of(found["curves"][1]).lines) == len(axes_of(found["profiles"][1]).lines) == 5


def test_figures_of_an_environment_have_one_scale_with_the_threshold_where_it_is_near():
    runs = [a_run([0, top], agent=f"agent{top}") for top in (10, 20, 30, 40, 100)]
    for threshold, limits in ((None, (-5, 105)), (120.0, (-5, 125)), (151.0, (-5, 105))):
        given = {} if threshold is None else {"Task": threshold}
        found = charts(study(runs, thresholds=given))["curves"]
        assert [axes_of(chart).get_ylim() for chart in found] == [pytest.approx(limits)] * 5
    one = charts(study([a_run([3.0])]))["curves"]
    assert axes_of(one[0]).get_ylim() == pytest.approx((2.95, 3.05))


def test_intervals_and_a_line_at_chance(analysis):
    axes = axes_of(charts(analysis)["improvements"][0])
    assert [label.get_text() for label in axes.get_yticklabels()] == ["dqn weight > none", "ppo weight > none"]
    assert [line.get_xdata() for line in axes.lines][-1] == [0.5, 0.5]
    assert len(axes.lines) == 1 + 2 + 1  # one interval, two markers, chance


def test_names_that_become_equal_get_a_number():
    found = charts(study([a_run([1, 2], env=env) for env in ("a/b", "a b")]))["curves"]
    assert [chart.name for chart in found] == ["curve-a-b", "curve-a-b-2"]
