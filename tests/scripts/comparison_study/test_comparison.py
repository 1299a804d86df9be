import math

import numpy as np
import pytest
from comparison_study.comparison import Comparison, read_comparisons

LIST = "agent,task,runs,none\n"
HEAD = "agent,task,norm,seed,steps,final score\n"
RUNS = HEAD + "".join(f"x,A-v1,none,{seed},9,{score}\n" for seed, score in ((0, 1.0), (1, 2.0), (2, 9.0), (3, 50.0)))
RUNS += "".join(f"x,A-v1,weight,{seed},9,{score}\n" for seed, score in ((2, 10.0), (1, 2.0), (0, 3.0)))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "runs.csv").write_text(RUNS)
    return tmp_path


def comparisons(folder, *lines, **options):
    (folder / "list.csv").write_text(LIST + "".join(f"{line}\n" for line in lines))
    return read_comparisons(folder / "list.csv", **options)


@pytest.fixture
def comparison(folder):
    (found,) = comparisons(folder, "X,A-v1,runs.csv,")
    return found


def test_runs_are_compared_on_common_seeds_in_whatever_order_they_stand(comparison):
    assert comparison.scores == {"none": {0: 1, 1: 2, 2: 9, 3: 50}, "weight": {2: 10, 1: 2, 0: 3}}
    assert [list(scores) for scores in comparison.finals("weight")] == [[3, 2, 10], [1, 2, 9]]
    value = comparison.mean_difference("weight")  # of 2, 0, 1; Student: t(0.975, 2) = 4.3027, deviation 1
    assert np.array(value) == pytest.approx([1, 1 - 4.3027 / 3**0.5, 1 + 4.3027 / 3**0.5], abs=1e-4)


def test_the_effect_is_in_standard_deviations_over_seeds_pooled_of_both(comparison):
    deviation = ((19 + 19) / 2) ** 0.5  # both have a variance of 19
    assert float(comparison.effect("weight").value) == pytest.approx(1 / deviation)
    wider = comparison._replace(scores={**comparison.scores, "weight": {0: 0.0, 1: 5.0, 2: 10.0}})  # a variance of 25
    deviation = ((25 + 19) / 2) ** 0.5
    assert np.array(wider.effect("weight")) == pytest.approx(np.array(wider.mean_difference("weight")) / deviation)


def test_without_a_spread_the_effect_is_0_or_infinite():
    scores = {norm: {0: score, 1: score, 2: score} for norm, score in (("none", 5.0), ("weight", 5.0), ("batch", 4.0))}
    comparison = Comparison("X", "A-v1", scores)
    assert list(comparison.effect("weight")) == [0, 0, 0]
    assert list(comparison.effect("batch")) == [-math.inf] * 3
    assert comparison.probability("weight") == 0.5


def test_the_probability_is_over_all_pairs_and_counts_ties_half(comparison):
    pairs = [(x > y) + 0.5 * (x == y) for x in (3, 2, 10) for y in (1, 2, 9)]
    assert comparison.probability("weight") == pytest.approx(sum(pairs) / 9)


def test_runs_without_a_normalizer_may_come_from_another_table(folder):
    (folder / "other.csv").write_text("task,norm,seed,final score\nA-v1,none,0,-4\nA-v1,weight,0,99\nB-v1,none,0,99\n")
    (comparison,) = comparisons(folder, "X,A-v1,runs.csv,other.csv")
    assert comparison.scores == {"none": {0: -4}, "weight": {2: 10, 1: 2, 0: 3}}


def test_the_baseline_may_be_another_normalizer(folder):
    (comparison,) = comparisons(folder, "X,A-v1,runs.csv,", baseline="weight")
    assert float(comparison.mean_difference("none").value) == -1


def test_names_are_without_link_namespace_and_version():
    comparison = Comparison("[PQN on MinAtar](#pqn-on-minatar)", "MinAtar/SpaceInvaders-v1", {})
    assert (comparison.agent_name, comparison.task_name) == ("PQN on MinAtar", "SpaceInvaders")
    assert Comparison("TD3", "Pendulum", {}).task_name == "Pendulum"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("X,A-v1,missing.csv,", "cannot read .*missing.csv"),
        ("X,B-v1,runs.csv,", "runs.csv has no run of B-v1 with none"),
        ("X,A-v1,runs.csv,bad.csv", "bad.csv has no column final score, norm, seed"),
        ("X,A-v1,twice.csv,", "twice.csv has two runs of A-v1 with none and seed 0"),
        ("X,A-v1,halves.csv,", "halves.csv: a run of A-v1 with none has the seed '0.5', which is no whole number"),
        ("X,A-v1,agents.csv,", "agents.csv has runs of x and y: give each agent a table of its own"),
        ("X,A-v1,words.csv,", "words.csv: a run of A-v1 with none and seed 0 has the final score 'high'"),
        ("X,A-v1,nan.csv,", "nan.csv: a run of A-v1 with none and seed 0 has the final score 'nan'"),
        ("X,A-v1,unfinished.csv,", "unfinished.csv: a run of A-v1 with none and seed 5 has the final score ''"),
        ("X,A-v1,open.csv,", "open.csv is no table: unexpected end of data"),
        ("X,A-v1", "list.csv names no table of runs for X, A-v1"),
        ("X,A-v1,runs.csv,\nX,A-v1,runs.csv,", "list.csv has X, A-v1 twice"),
    ],
)
def test_what_is_wrong_is_named(folder, line, says):
    (folder / "bad.csv").write_text("task,score\nA-v1,3\n")
    (folder / "twice.csv").write_text(RUNS + "x,A-v1,none,0,9,5\n")
    (folder / "halves.csv").write_text(HEAD + "x,A-v1,none,0.5,9,1\nx,A-v1,none,0.7,9,2\n")
    (folder / "agents.csv").write_text(RUNS + "y,A-v1,none,7,9,5\n")
    (folder / "words.csv").write_text(RUNS.replace("1.0", "high"))
    (folder / "nan.csv").write_text(RUNS.replace("1.0", "nan"))
    (folder / "unfinished.csv").write_text(RUNS + "x,A-v1,none,5,,\n")
    (folder / "open.csv").write_text(RUNS + '"x,A-v1\n')
    with pytest.raises(ValueError, match=says):
        comparisons(folder, line)


def test_a_list_must_have_lines_and_columns(folder):
    with pytest.raises(ValueError, match=r"list.csv lists no comparison"):
        comparisons(folder)
    with pytest.raises(ValueError, match=r"runs.csv has no column none, runs"):
        read_comparisons(folder / "runs.csv")
    (folder / "bytes.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"bytes.csv is no table"):
        read_comparisons(folder / "bytes.csv")


def test_a_mark_of_byte_order_spaces_and_missing_or_further_cells_are_taken(folder):
    (folder / "list.csv").write_text("\ufeff" + LIST + "X, A-v1,runs.csv\n\nY,A-v1,runs.csv,,more\n", encoding="utf-8")
    assert [comparison.agent for comparison in read_comparisons(folder / "list.csv")] == ["X", "Y"]


def test_a_seed_may_be_written_as_a_table_program_does(folder):
    (folder / "floats.csv").write_text(HEAD + "x,A-v1,none,0.0,9,1\nx,A-v1,none,1.0,9,2\n")
    (comparison,) = comparisons(folder, "X,A-v1,floats.csv,")
    assert comparison.scores == {"none": {0: 1, 1: 2}}
