"""agents.reports.curves"""

from dataclasses import replace

import pytest

from agents.commands.parser import RESUMABLE
from agents.reports.curves import FREE, OF_NOTE, Method, differing, group, shortened
from tests.agents.reports.hand_made import a_run


def test_runs_are_grouped_by_agent_environment_and_normalizer():
    runs = [a_run([1], seed=s, norm=n, env=e) for e in ("B", "A") for n in ("layer", "weight", "none") for s in (0, 1)]
    curves = group([*runs, a_run([1], agent="a2c", env="A")])
    assert [str(curve) for curve in curves] == [
        *("a2c none on A", "dqn none on A", "dqn weight on A", "dqn layer on A"),
        *("dqn none on B", "dqn weight on B", "dqn layer on B"),
    ]
    assert [run.seed for run in curves[1].runs] == [0, 1]


def rates():
    """Runs of two learning rates, whose folders differ too."""
    return [a_run([1], seed=s, settings={"learning_rate": rate}, name=f"{rate}-{s}") for rate in "12" for s in range(3)]


def test_runs_of_different_settings_are_refused_by_name():
    with pytest.raises(ValueError, match="the runs of dqn none on Task differ in") as refused:
        group(rates())
    assert str(refused.value) == (
        "the runs of dqn none on Task differ in learning_rate (1 in 3, 1-0 for example; 2 in 3, 2-0 for example): "
        "--by learning_rate draws a curve for each, --across learning_rate takes them for one"
    )


def test_long_values_are_told_apart():
    runs = [a_run([1], seed=s, settings={"net": "x" * 70 + str(s)}) for s in range(2)]
    with pytest.raises(ValueError, match=rf"differ in net \(…{'x' * 20}0 in 1, .*; …{'x' * 20}1 in 1, "):
        group(runs)
    assert shortened(["y" * 61, "z"]) == ["y" * 60 + "…", "z"]


@pytest.mark.parametrize(("epochs", "by"), [("4", "learning_rate"), ("3", "learning_rate epochs")])
def test_the_advice_names_no_more_settings_than_tell_the_runs_apart(epochs, by):
    """Here the learning rate alone, or of three runs with two values each neither."""
    pairs = [("3", "1"), (epochs, "2"), ("4", "2")]
    runs = [a_run([1], seed=0, settings={"epochs": e, "learning_rate": rate}, name=e + rate) for e, rate in pairs]
    with pytest.raises(ValueError, match="differ in") as refused:
        group(runs)
    advice = f"--by {by} draws a curve for each, --across learning_rate epochs takes them for one"
    assert str(refused.value).endswith(advice)


def test_a_setting_may_have_curves_of_its_own_or_be_taken_for_one():
    curves = group(rates(), by=["learning-rate"])
    assert [str(curve.method) for curve in curves] == ["dqn none, learning_rate 1", "dqn none, learning_rate 2"]
    assert curves[0].method == Method("dqn", "none", (("learning_rate", "1"),))
    (curve,) = group(rates(), across=["learning_rate"])
    assert len(curve.runs) == 6


def test_a_number_is_one_value_however_it_is_written():
    texts = ["0.001", "1e-3", "0.0010", "0.01"]
    runs = [a_run([1], seed=s, settings={"learning_rate": text}) for s, text in enumerate(texts)]
    curves = group(runs, by=["learning_rate"])
    assert [str(curve.method) for curve in curves] == ["dqn none, learning_rate 0.001", "dqn none, learning_rate 0.01"]
    assert [run.seed for run in curves[0].runs] == [0, 1, 2]
    versions = [
        replace(a_run([1], seed=s), made_with={"version of ray": text}) for s, text in enumerate(["2.1", "2.10"])
    ]
    assert len(group(versions, by=["version of ray"])) == 2


def test_an_unknown_setting():
    with pytest.raises(ValueError, match="no setting 'learnig_rate': did you mean learning_rate"):
        group(rates(), by=["learnig_rate"])
    with pytest.raises(ValueError, match="no setting 'zzz': the page of a report on them lists all"):
        group(rates(), across=["zzz"])


def test_one_seed_twice_is_refused():
    runs = [a_run([1], name="first"), a_run([1], name="second"), a_run([1], seed=1)]
    with pytest.raises(ValueError, match="two runs of dqn none on Task have seed 0, first and second: leave one out"):
        group(runs)
    (curve,) = group(runs, across=["seed"])
    assert len(curve.runs) == 3
    unseeded = [a_run([1], seed=None), a_run([1], seed=None)]
    assert len(group(unseeded)[0].runs) == 2


def test_a_version_that_lacked_a_setting_is_compared_by_what_it_did():
    new = a_run([1], seed=1, settings={"stack": "null"})
    with pytest.raises(ValueError, match="stack"):
        group([a_run([1]), new])
    assert len(group([a_run([1], before={"stack": "null"}), new])) == 1


def test_runs_whose_schedules_end_at_other_steps_are_no_seeds_of_one_curve():
    """At step 200 the rate of one is 0, and of the other half of what it began with."""
    runs = [a_run([1], seed=s, settings={"steps": str(n), "schedule_steps": str(n)}) for s, n in enumerate((200, 400))]
    with pytest.raises(ValueError, match=r"in schedule_steps \(200 in 1, .*; 400 in 1, .*--across schedule_steps"):
        group(runs)
    longer = [a_run([1], seed=s, settings={"steps": str(n), "schedule_steps": "900"}) for s, n in enumerate((200, 400))]
    assert len(group(longer)) == 1


def test_what_may_change_when_a_run_is_resumed_is_free():
    assert {name for name in RESUMABLE if name not in FREE} == {"eval_epsilon", "schedule_steps"}  # these change scores
    assert OF_NOTE < FREE


def test_differing_settings():
    assert differing(rates()[:2]) == {"run_dir": ["r0", "r1"]}
    assert [*differing(rates())] == ["learning_rate", "run_dir"]
