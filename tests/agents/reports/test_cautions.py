"""agents.reports.cautions"""

from agents.reports.analysis import Choices, analyse
from agents.reports.curves import group
from tests.agents.reports.hand_made import a_run


def cautions_on(*runs, by=(), baseline=None):
    return analyse(group(runs, by=by), Choices(None, baseline, {}, {}, 100)).notes


def runs_of(count, first=0, **options):
    return [a_run([1, 2, 3], seed=seed, **options) for seed in range(first, first + count)]


def test_runs_of_a_search_among_others():
    """They were chosen for their scores, so that they flatter the curve; a curve of them alone shows the search."""
    searched = runs_of(2, first=1_000_000)
    assert cautions_on(*runs_of(3), *searched) == (
        "dqn none on Task: 2 of 5 runs have seeds of a search, from 1,000,000 on, which chose by their scores: leave "
        "them out, dqn-none-Task-1000000 for example",
    )
    assert cautions_on(*searched) == ()


def test_environments_with_other_numbers_of_seeds():
    unequal = [*runs_of(3), *runs_of(5, env="Other")]
    assert cautions_on(*unequal) == (
        "IQM, optimality gap and profile over 2 environments (Other, Task) lean towards more seeds: dqn none has 5 on "
        "Other, 3 on Task",
    )
    assert cautions_on(*runs_of(3), *runs_of(3, env="Other")) == ()


def test_methods_without_a_baseline_of_their_settings():
    """As where each normalizer has a learning rate of its own."""
    tuned = [*runs_of(3, settings={"learning_rate": "0.01"}), *runs_of(3, norm="weight"), *runs_of(3, norm="layer")]
    assert cautions_on(*tuned, by=["learning_rate"]) == (
        "Task: there is no none with the agent and settings of dqn weight, learning_rate 0.001 (and 1 more)",
    )
    assert cautions_on(*runs_of(3, norm="weight"), *runs_of(3, norm="layer"), baseline="weight") == ()
    assert cautions_on(*tuned, by=["learning_rate"], baseline="learning_rate=0.01") == (
        "Task: there is no learning_rate 0.01 with the agent and settings of dqn weight, learning_rate 0.001 "
        "(and 1 more)",
    )


def test_seeds_without_a_partner():
    assert cautions_on(*runs_of(5), *runs_of(5, first=3, norm="weight")) == (
        "Task: dqn weight has 2 seeds in common with none, of 5 and 5: differences by seed are of those alone",
    )
    assert cautions_on(*runs_of(5), *runs_of(5, norm="weight")) == ()
