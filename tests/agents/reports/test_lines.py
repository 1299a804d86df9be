"""agents.reports.lines"""

import pytest
from matplotlib.figure import Figure

from agents.reports.curves import Method
from agents.reports.lines import DASHES, MOST, dashes_of, legend, lines_height, parts, titled


def methods(agents, norms):
    return [Method(f"agent{agent}", f"norm{norm}", ()) for agent in range(agents) for norm in range(norms)]


@pytest.mark.parametrize(("agents", "norms", "figures"), [(1, 3, 1), (4, 2, 1), (2, 4, 1), (3, 3, 3), (5, 1, 5)])
def test_variants_have_figures_of_their_own_where_one_holds_too_much(agents, norms, figures):
    """More lines than 8, or more variants than there are dashes."""
    assert (MOST, len(DASHES)) == (8, 4)
    found = parts(methods(agents, norms))
    assert len(found) == figures
    assert [method for part in found for method in part] == methods(agents, norms)


def test_a_variant_is_named_where_it_is_alone():
    all_methods = methods(2, 2)
    assert titled("Task", all_methods, all_methods) == "Task"
    assert titled("Task", all_methods[2:], all_methods) == "Task, agent1"


def test_variants_have_dashes_whatever_the_normalizer():
    assert dashes_of(methods(3, 2)) == {f"agent{i}": DASHES[i] for i in range(3)}


def test_a_line_of_the_legend_holds_two_entries():
    assert lines_height(1) == lines_height(2) < lines_height(3)


def test_a_legend_names_all_its_lines():
    axes = Figure(layout="constrained").subplots()
    axes.axhline(3)
    names = ["_PPO none (1 seed)", "$dqn$ none (1 seed)", "_child0"]
    legend(axes, [axes.plot([0, 1], label=name)[0] for name in names])
    (made,) = axes.figure.legends
    assert [text.get_text() for text in made.get_texts()] == names
