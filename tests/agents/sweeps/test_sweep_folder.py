"""agents.sweeps.sweep_folder"""

import json

import pytest

from agents.sweeps.sweep_folder import SweepFolder
from tests.agents.sweeps.made_up import a_trial, break_down, finish


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
    assert folder.breakdown_of(trial) is None
    break_down(folder, trial, [1, 2], step=250)
    assert (folder.finished(trial), folder.breakdown_of(trial)) == (True, 250)


def test_one_sweep_at_a_time(folder):
    folder.hold()
    with pytest.raises(ValueError, match="process"):
        SweepFolder(folder.path).hold()
    folder.record([a_trial()])
    folder.release()
    folder.release()
    SweepFolder(folder.path).hold()


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"cannot write the sweep to .*: Not a directory"):
        SweepFolder(tmp_path / "file" / "sweep").hold()
