"""agents.reports.findings"""

from agents.reports.findings import Block
from tests.agents.reports.hand_made import a_run
from tests.agents.reports.test_analysis import study


def test_a_block_in_words():
    assert str(Block(("Pong",), (), ())) == "Pong"
    assert str(Block(("A", "B"), (), ())) == "2 environments (A, B)"


def test_the_runs_of_an_analysis():
    runs = [a_run([1, 2], env=env, seed=seed) for env in "AB" for seed in (0, 1)]
    assert study(runs).runs == runs
