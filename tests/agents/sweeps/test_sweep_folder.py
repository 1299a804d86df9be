"""agents.sweeps.sweep_folder"""

import json

import pytest

from agents.sweeps.sweep_folder import SweepFolder
from agents.training.run_lock import RunLock
from tests.agents.sweeps.made_up import a_trial, finish


@pytest.fixture
def folder(tmp_path):
    return SweepFolder(tmp_path / "sweep")


def test_a_sweep_may_grow_and_its_trials_may_not_change(folder):
    folder.record([a_trial(settings={"gamma": 0.9})])
    folder.record([a_trial(settings={"gamma": 0.9}), a_trial(seed=1)])
    assert [*json.loads((folder.path / "sweep.json").read_text())["trials"]] == [
        "dqn-CartPole-v1-weight-s0",
        "dqn-CartPole-v1-weight-s1",
    ]
    for settings, old, new in (({"gamma": 0.8}, "--gamma 0.9", "--gamma 0.8"), ({}, "--gamma 0.9", "the agent's")):
        with pytest.raises(ValueError, match=f"s0 had {old}, now it would have {new}"):
            folder.record([a_trial(settings=settings)])


@pytest.mark.parametrize("text", ["[]", "{", '{"trials": []}'])
def test_damaged_records(folder, text):
    folder.record([a_trial()])
    (folder.path / "sweep.json").write_text(text)
    with pytest.raises(ValueError, match=r"sweep\.json"):
        folder.record([a_trial()])


def test_other_folders_are_left_alone(folder):
    folder.path.mkdir()
    (folder.path / "thesis.txt").touch()
    with pytest.raises(ValueError, match="holds other things than a sweep"):
        folder.record([a_trial()])
    with pytest.raises(ValueError, match="holds other things than a sweep"):
        SweepFolder(folder.path / "thesis.txt").record([a_trial()])


def test_what_has_finished(folder):
    trial = a_trial()
    assert (folder.finished(trial), folder.steps_of(trial)) == (False, 0)
    finish(folder, trial, [1, 2, 3], step=299)
    assert (folder.finished(trial), folder.steps_of(trial)) == (False, 299)
    finish(folder, trial, [1, 2, 3], step=304)
    assert folder.finished(trial)
    (folder.run_of(trial) / "model.json").write_text('{"step": "304"}')
    assert not folder.finished(trial)


def test_runs_that_cannot_go_on_are_removed_unless_they_are_whole_or_alive(folder):
    ours, theirs = a_trial(), a_trial("sb3-ppo")
    for trial in (ours, theirs):
        finish(folder, trial, [1], step=100)
    lock = RunLock(folder.run_of(theirs))
    with pytest.raises(ValueError, match="process"):
        folder.clear_unfinished(theirs)
    lock.release()
    assert folder.clear_unfinished(theirs)
    assert not folder.run_of(theirs).exists()
    assert not folder.clear_unfinished(theirs)
    assert not folder.clear_unfinished(ours)
    finish(folder, theirs, [1, 2, 3])
    assert not folder.clear_unfinished(theirs)
    assert folder.run_of(ours).exists()
    assert folder.run_of(theirs).exists()
