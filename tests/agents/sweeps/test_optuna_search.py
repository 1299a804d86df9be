"""agents.sweeps.optuna_search, but for Tune's loop, which tests/scripts/test_sweep.py runs"""

from types import SimpleNamespace

import pytest

pytest.importorskip("ray")
pytest.importorskip("optuna")

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from agents.sweeps.live_table import LiveTable
from agents.sweeps.optuna_search import (
    REPEAT,
    Proposals,
    Recorded,
    Sample,
    Samples,
    distribution,
    numbered,
    sample_of,
    search,
    table_of,
)
from agents.sweeps.ray_runs import Resources
from agents.sweeps.search import best_overrides, space_of
from agents.sweeps.sweep_folder import SweepFolder
from tests.agents.sweeps.made_up import a_trial


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("lr=1e-4:1e-2", FloatDistribution(1e-4, 1e-2, log=True)),
        ("gamma=0.9:0.99", FloatDistribution(0.9, 0.99)),
        ("epochs=2:10", IntDistribution(2, 10)),
        ("width=16:256", IntDistribution(16, 256, log=True)),
        ("norm_eps=1e-4,1e-3", CategoricalDistribution(["1e-4", "1e-3"])),
        ("double=True,False", CategoricalDistribution([True, False])),
    ],
)
def test_what_optuna_draws_from(text, found):
    [values] = space_of([text]).values()
    assert distribution(values) == found


def test_a_sample_is_a_trial_with_a_seed_of_its_own():
    base = a_trial(settings={"gamma": 0.9})
    one, again, other = (sample_of(base, {"learning_rate": rate}) for rate in (1e-3, 1e-3, 2e-3))
    assert one == again
    assert one.settings == {"gamma": 0.9, "learning_rate": 1e-3}
    assert one.name.startswith("dqn-CartPole-v1-weight-learning_rate=0.001-s1")
    assert one.seed != other.seed
    assert len({sample_of(base, {"learning_rate": 1e-3}, repeat).seed for repeat in range(3)}) == 3
    assert min(one.seed, other.seed) >= 1_000_000  # comparisons have seeds below
    assert sample_of(a_trial(norm="none"), {"learning_rate": 1e-3}).seed != one.seed


def test_samples_are_kept(tmp_path):
    path = tmp_path / "a.samples.csv"
    samples = Samples(path, ["learning_rate", "epochs", "optimizer"])
    assert samples.read() == []
    rows = [
        Sample({"learning_rate": 1 / 3, "epochs": 2, "optimizer": "sgd"}, 300, 1 / 7),
        Sample({"learning_rate": 1e-5, "epochs": 9, "optimizer": "adam"}, 33, -500.0),
    ]
    for row in rows:
        Samples(path, ["learning_rate", "epochs", "optimizer"]).add(*row)
    assert samples.read() == rows
    assert path.read_text().count("score") == 1


@pytest.mark.parametrize(
    "text",
    [
        "epochs,steps,score\n3,300,1.0\n",
        "learning_rate,steps,score\nx,300,1.0\n",
        "learning_rate,steps,score\n0.1,300\n",
        "learning_rate,steps,score\n,300,1.0\n",
        "learning_rate,steps,score\n0.1,x,1.0\n",
        "learning_rate,score\n0.1,1.0\n",
    ],
)
def test_samples_of_another_search(tmp_path, text):
    path = tmp_path / "a.samples.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"a\.samples\.csv is of another search, or damaged .*remove it"):
        Samples(path, ["learning_rate"]).read()


@pytest.mark.parametrize("cut", ["0.1,300,1", '"""0.002"""', '"0.', ""])
def test_a_sample_that_was_cut_off_is_none(tmp_path, cut):
    path = tmp_path / "a.samples.csv"
    path.write_text("learning_rate,steps,score\n0.3,300,1.0\n" + cut)
    samples = Samples(path, ["learning_rate"])
    assert samples.read() == [({"learning_rate": 0.3}, 300, 1.0)]
    samples.add({"learning_rate": 0.2}, 300, 2.0)
    assert path.read_text() == "learning_rate,steps,score\n0.3,300,1.0\n0.2,300,2.0\n"


def test_a_folder_in_place_of_the_samples(tmp_path):
    with pytest.raises(ValueError, match=r"^/\S* cannot be read: Is a directory$"):
        Samples(tmp_path, ["learning_rate"]).read()


def test_settings_that_are_drawn_again_are_another_run():
    """Of two values there are more samples than values: each has a seed of its own, also after a stop."""
    space = {"double": CategoricalDistribution([True, False])}
    known = [Sample({"double": True}, 300, 1.0), Sample({"double": True}, 300, 2.0)]
    found = Proposals(space, known, metric="score", mode="max")
    drawn = [found.suggest(str(number)) for number in range(9)]
    for value, first in ((True, 2), (False, 0)):
        repeats = [one[REPEAT] for one in drawn if one["double"] is value]
        assert repeats == [*range(first, first + len(repeats))]
    base = a_trial()
    assert len({sample_of(base, {"double": one["double"]}, one[REPEAT]).seed for one in drawn}) == 9


def ended(name, rate, **result):
    """A sample that Tune has ended."""
    return SimpleNamespace(trial_id=name, config={"learning_rate": rate}, last_result=result)


def test_each_sample_that_ends_is_recorded(tmp_path, capsys):
    samples = Samples(tmp_path / "a.csv", ["learning_rate"])
    samples.add({"learning_rate": 0.5}, 300, 1.0)
    base = a_trial()
    recorded = Recorded(samples, table_of(base, 4, 1), base, lambda: None)
    trials = [
        ended("x", 0.1, step=300, score=5.0),
        ended("y", 0.2, step=33, score=2.0),
        ended("z", 0.3, score=float("nan")),
    ]
    for trial in trials:
        recorded.on_trial_complete(1, [], trial)
    assert samples.read() == [
        ({"learning_rate": 0.5}, 300, 1.0),
        ({"learning_rate": 0.1}, 300, 5.0),
        ({"learning_rate": 0.2}, 33, 2.0),
    ]
    assert [recorded.name_of(trial) for trial in trials] == [numbered(base, number).name for number in (1, 2, 3)]


def test_a_sample_that_was_stopped_early_is_not_the_best(tmp_path):
    """Whatever its score was then; nothing runs, since there are all samples."""
    base = a_trial(steps=300)
    samples = Samples(tmp_path / "dqn-CartPole-v1-weight.samples.csv", ["learning_rate"])
    for rate, steps, score in ((0.1, 300, 5.0), (0.2, 33, 9.0), (0.3, 304, 7.0), (0.4, 100, 8.0)):
        samples.add({"learning_rate": rate}, steps, score)
    space = space_of(["learning_rate=0.1:0.4"])
    found = search(SweepFolder(tmp_path), base, space, 4, Resources(1, 0, 0, None))
    assert [one.complete for one in found] == [True, False, True, False]
    assert [one.settings for one in best_overrides(found)] == [{"learning_rate": "0.3"}]


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (["learning_rate=1e-3:1e-1", "epochs=2:10"], "learning_rate 0.0001"),
        (["learning_rate=1e-4,1e-3", "epochs=2:10"], "learning_rate 0.0001"),
        (["learning_rate=1e-4:1e-2", "epochs=4:10"], "epochs 3"),
        (["learning_rate=1e-4:1e-2", "epochs=3,4"], "epochs 3"),
    ],
)
def test_samples_of_another_space_are_refused(tmp_path, now, said):
    """Else the result would be that of the space before, and Optuna would refuse to go on without a file's name."""
    base, resources = a_trial(), Resources(1, 0, 0, None)
    samples = Samples(tmp_path / "dqn-CartPole-v1-weight.samples.csv", ["learning_rate", "epochs"])
    samples.add({"learning_rate": 1e-4, "epochs": 3}, 300, 5.0)
    wider = space_of(["learning_rate=1e-5:1e-2", "epochs=2:10"])
    assert len(search(SweepFolder(tmp_path), base, wider, 1, resources)) == 1
    with pytest.raises(ValueError, match=rf"samples\.csv has a sample with {said}, which --tune does not search now"):
        search(SweepFolder(tmp_path), base, space_of(now), 1, resources)


def test_the_table_of_a_search_goes_on_where_it_was(capsys):
    table = table_of(a_trial(), 3, 2)
    assert isinstance(table, LiveTable)
    table.finished(numbered(a_trial(), 2).name)
    assert "[3/3]" in capsys.readouterr().out
