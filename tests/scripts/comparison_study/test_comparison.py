import math

import numpy as np
import pytest
from comparison_study.comparison import Comparison, read_comparisons

LIST = "agent,task,runs,none\n"
RUNS = "agent,task,norm,seed,steps,final score\n"
RUNS += "".join(f"x,A-v1,none,{seed},9,{score}\n" for seed, score in ((0, 1.0), (1, 2.0), (2, 6.0)))
RUNS += "".join(f"x,A-v1,weight,{seed},9,{score}\n" for seed, score in ((2, 7.0), (1, 2.0), (0, 3.0)))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "runs.csv").write_text(RUNS)
    return tmp_path


def comparisons(folder, *lines):
    (folder / "list.csv").write_text(LIST + "".join(f"{line}\n" for line in lines))
    return read_comparisons(folder / "list.csv")


def test_differences_are_between_runs_of_one_seed_in_whatever_order_they_stand(folder):
    (comparison,) = comparisons(folder, "X,A-v1,runs.csv,")
    assert comparison.scores == {"none": {0: 1, 1: 2, 2: 6}, "weight": {2: 7, 1: 2, 0: 3}}
    assert sorted(comparison.differences("weight")) == [0, 1, 2]
    value = comparison.mean_difference("weight")  # Student: t(0.975, 2) = 4.3027, deviation 1
    assert np.array(value) == pytest.approx([1, 1 - 4.3027 / 3**0.5, 1 + 4.3027 / 3**0.5], abs=1e-4)


def test_the_effect_is_in_standard_deviations_over_seeds(folder):
    (comparison,) = comparisons(folder, "X,A-v1,runs.csv,")
    deviation = ((7 + 7) / 2) ** 0.5  # both have a variance of 7
    assert np.array(comparison.effect("weight")) == pytest.approx(
        np.array(comparison.mean_difference("weight")) / deviation
    )


def test_without_a_spread_the_effect_is_0_or_infinite():
    scores = {norm: {0: score, 1: score, 2: score} for norm, score in (("none", 5.0), ("weight", 5.0), ("batch", 4.0))}
    comparison = Comparison("X", "A-v1", scores)
    assert list(comparison.effect("weight")) == [0, 0, 0]
    assert list(comparison.effect("batch")) == [-math.inf] * 3
    assert comparison.probability("weight") == 0.5


def test_the_probability_is_over_all_pairs_and_counts_ties_half(folder):
    (comparison,) = comparisons(folder, "X,A-v1,runs.csv,")
    pairs = [(x > y) + 0.5 * (x == y) for x in (3, 2, 7) for y in (1, 2, 6)]
    assert comparison.probability("weight") == pytest.approx(sum(pairs) / 9)


def test_runs_without_a_normalizer_may_come_from_another_table(folder):
    (folder / "other.csv").write_text("task,norm,seed,final score\nA-v1,none,0,-4\nA-v1,weight,0,99\nB-v1,none,0,99\n")
    (comparison,) = comparisons(folder, "X,A-v1,runs.csv,other.csv")
    assert comparison.scores == {"none": {0: -4}, "weight": {2: 7, 1: 2, 0: 3}}


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
        ("X,A-v1,words.csv,", "words.csv: .*could not convert string to float: 'high'"),
        ("X,A-v1,nan.csv,", "nan.csv: the final score of A-v1 with none and seed 0 is nan"),
        ("X,A-v1", "cannot read"),
    ],
)
def test_what_is_not_there_is_named(folder, line, says):
    (folder / "bad.csv").write_text("task,score\nA-v1,3\n")
    (folder / "twice.csv").write_text(RUNS + "x,A-v1,none,0,9,5\n")
    (folder / "words.csv").write_text(RUNS.replace("1.0", "high"))
    (folder / "nan.csv").write_text(RUNS.replace("1.0", "nan"))
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


def test_a_mark_of_byte_order_and_missing_last_cells_are_taken(folder):
    (folder / "list.csv").write_text("\ufeff" + LIST + "X,A-v1,runs.csv\n\n", encoding="utf-8")
    assert [comparison.agent for comparison in read_comparisons(folder / "list.csv")] == ["X"]
