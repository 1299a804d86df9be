"""agents.sweeps.sweep_folder"""

import json

import pytest

from agents.sweeps import sweep_folder
from agents.sweeps.sweep_folder import SweepFolder
from tests.agents.sweeps.made_up import a_trial, break_down, finish
from wnrl.checkpoints.files import CheckpointError


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


def test_the_order_of_settings_means_nothing(folder):
    folder.record([a_trial(settings={"gamma": 0.9, "tau": 0.1})])
    folder.record([a_trial(settings={"tau": 0.1, "gamma": 0.9})])
    with pytest.raises(ValueError, match=r"had --gamma 0\.9, now it would have --gamma 0\.8: choose another --out"):
        folder.record([a_trial(settings={"tau": 0.1, "gamma": 0.8})])


def test_more_steps_where_schedules_end_at_a_step_of_their_own(folder):
    """The run that there is goes on, and what it was before is not finished any more."""
    before, after = (a_trial(steps=steps, settings={"schedule_steps": 900}) for steps in (300, 600))
    folder.record([before])
    finish(folder, before, [1.0])
    folder.record([after])
    assert folder.finished(before)
    assert not folder.finished(after)
    assert json.loads((folder.path / "sweep.json").read_text())["trials"] == {after.name: after.arguments}
    with pytest.raises(ValueError, match=r"had --steps 600, now it would have --steps 300: choose another --out$"):
        folder.record([before])
    with pytest.raises(ValueError, match=r"had --schedule-steps 900 --steps 600, now it would have .*another --out$"):
        folder.record([a_trial(steps=900, settings={"schedule_steps": 901})])


def test_more_steps_where_schedules_have_ended(folder):
    """A run that goes on then is another than one that had the steps from the start, as that of another seed has."""
    folder.record([a_trial(steps=300)])
    with pytest.raises(ValueError, match="--steps 600: choose another --out, or give both commands one --schedule-st"):
        folder.record([a_trial(steps=600)])
    assert json.loads((folder.path / "sweep.json").read_text())["trials"][a_trial().name] == a_trial().arguments


@pytest.mark.parametrize(("agent", "longer"), [("sb3-dqn", True), ("dqn", False)])
def test_more_steps_where_runs_cannot_go_on(folder, agent, longer):
    """Those of stable-baselines3's algorithms, and the samples of a search."""
    before, after = (a_trial(agent=agent, steps=steps, settings={"schedule_steps": 900}) for steps in (300, 600))
    folder.record([before])
    with pytest.raises(ValueError, match=r"--steps 600: choose another --out$"):
        folder.record([after], longer=longer)


def named_by(*varied, rate="1e-3", seed=0):
    return a_trial(seed=seed, settings={"learning_rate": rate}, varied=varied)


def test_a_run_that_gets_another_name_keeps_what_it_has(folder):
    """As where an axis gets a second value: the run goes along, what it printed too, and back again."""
    plain, longer = named_by(), named_by("learning_rate")
    folder.record([plain, named_by(seed=1)])
    finish(folder, plain, [1, 2, 3])
    folder.output_of(plain).parent.mkdir()
    folder.output_of(plain).write_text("text")
    for before, after in ((plain, longer), (longer, plain)):
        folder.record([after, named_by("learning_rate", rate="3e-3")])
        assert folder.finished(after)
        assert folder.output_of(after).read_text() == "text"
        assert not folder.run_of(before).exists()
        assert not folder.output_of(before).exists()


def test_a_run_that_has_its_name_keeps_it(folder):
    """Another of the same settings, from a version that trained it twice, is still known as one of earlier commands."""
    plain, longer = named_by(), named_by("learning_rate")
    folder.record([plain])
    both = {trial.name: trial.arguments for trial in (plain, longer)}
    (folder.path / "sweep.json").write_text(json.dumps({"trials": both}))
    for trial in (plain, longer):
        finish(folder, trial, [1, 2, 3])
    folder.record([longer])
    assert all(folder.finished(trial) for trial in (plain, longer))
    assert folder.others([longer]) == 1


@pytest.mark.parametrize("text", ["[]", "{", '{"trials": []}', '{"trials": {"x": 5}}', '{"trials": {"x": [5]}}'])
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


def test_a_folder_that_cannot_be_read(folder, monkeypatch, tmp_path):
    with pytest.raises(ValueError, match=r"^cannot \w+ .*: File name too long"):
        SweepFolder(tmp_path / ("x" * 300)).hold()

    def unreadable(path):
        raise PermissionError(13, "Permission denied")

    folder.path.mkdir()
    monkeypatch.setattr(type(folder.path), "iterdir", unreadable)
    with pytest.raises(ValueError, match=r"^cannot read .*: Permission denied: choose another --out$"):
        folder.hold()


def test_what_is_left(folder):
    """A finished run that would get another name counts; a trial that had other settings is refused as by `record`."""
    plain, longer = named_by(), named_by("learning_rate")
    more = named_by("learning_rate", rate="3e-3")
    folder.record([plain])
    assert folder.left([longer, more]) == [longer, more]
    finish(folder, plain, [1, 2, 3])
    before = (folder.path / "sweep.json").read_text()
    assert folder.left([longer, more]) == [more]
    assert ((folder.path / "sweep.json").read_text(), folder.run_of(plain).exists()) == (before, True)
    with pytest.raises(ValueError, match="had --learning-rate 1e-3, now it would have --learning-rate 3e-3"):
        folder.left([named_by(rate="3e-3")])


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


def test_a_record_that_cannot_be_written_leaves_a_folder_in_which_the_same_command_goes_on(folder, monkeypatch):
    def full(path, write):
        raise CheckpointError(f"cannot write {path}")

    folder.hold()
    monkeypatch.setattr(sweep_folder, "replace_file", full)
    with pytest.raises(ValueError, match="cannot write the sweep to"):
        folder.record([a_trial()])
    monkeypatch.undo()
    folder.record([a_trial()])
    folder.release()
