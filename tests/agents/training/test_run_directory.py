import json
import os
import sys
from pathlib import Path

import pytest
import torch

from agents.settings.earlier import FORMAT
from agents.training import run_directory
from agents.training.provenance import PACKAGES
from agents.training.run_directory import RunDirectory, broke_down, default_folder, made_by, run_of_part

CONFIG = {"agent": "dqn", "settings": {"env": "Chain", "hidden": [8, 8], "resume": None}}


def test_the_folder_says_everything_about_the_run(tmp_path):
    directory = RunDirectory.create(tmp_path / "a" / "b", CONFIG, device="cpu")
    assert directory.path == tmp_path / "a" / "b"
    config = directory.config
    assert {name: config[name] for name in CONFIG} == CONFIG
    assert config["format"] == FORMAT
    (start,) = config["starts"]
    assert start["versions"].keys() == {"python", *PACKAGES}
    assert start["versions"]["torch"] == torch.__version__
    assert {"git_commit", "started"} <= start.keys()
    assert (start["first_step"], start["changed"], start["device"], start["command"]) == (0, {}, "cpu", sys.argv)
    assert directory.checkpoints.is_dir()
    assert RunDirectory.open(directory.path).config == config


def test_a_folder_in_use_is_refused_and_left_alone(tmp_path):
    (tmp_path / "mine").write_text("x")
    with pytest.raises(ValueError, match=r"already holds files: choose another --run-dir, or .* --resume"):
        RunDirectory.create(tmp_path, CONFIG)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    with pytest.raises(ValueError, match="already holds files"):
        RunDirectory.create(tmp_path / "mine", CONFIG)


def test_a_run_without_checkpoints_has_no_folder_for_them_and_no_advice_to_resume(tmp_path):
    directory = RunDirectory.create(tmp_path / "run", CONFIG, resumable=False)
    assert [path.name for path in directory.path.iterdir()] == ["config.json"]
    with pytest.raises(ValueError, match=r"run already holds files: choose another --run-dir$"):
        RunDirectory.create(tmp_path / "run", CONFIG, resumable=False)


def test_an_empty_folder_can_be_used(tmp_path):
    RunDirectory.create(tmp_path, CONFIG)
    assert (tmp_path / "config.json").is_file()


def test_a_place_that_cannot_be_written_is_refused_by_name(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValueError, match=r"cannot write the run to .*file/run: Not a directory"):
        RunDirectory.create(tmp_path / "file" / "run", CONFIG)


def test_a_full_disk_leaves_no_part_of_a_configuration(tmp_path):
    """The same command can be given again once there is room."""
    resource, config = pytest.importorskip("resource"), {**CONFIG, "settings": {"env": "x" * 100_000}}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
        with pytest.raises(ValueError, match=r"cannot write the run to .*: File too large"):
            RunDirectory.create(tmp_path / "run", config)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list((tmp_path / "run").iterdir()) == []
    RunDirectory.create(tmp_path / "run", config)


def test_default_names_tell_runs_apart(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    chain = ("Chain", "dqn", "weight", 3)
    first = default_folder(*chain)
    assert first.parent == Path("runs")
    assert first.name.startswith("Chain-dqn-weight-s3-20")
    monkeypatch.setattr("time.strftime", lambda form: "now")
    paths = [RunDirectory.create(default_folder(*chain), CONFIG).path for _ in range(3)]
    assert [path.name for path in paths] == [f"Chain-dqn-weight-s3-now{end}" for end in ("", "-2", "-3")]
    assert default_folder("phys2d/CartPole-v1", "dqn", "weight", 3).name.startswith("phys2d_CartPole-v1-dqn")


def at_once(number, work):
    """The texts that many forked processes return when they do the same at the same moment, before any of them ends."""
    (begun, begin), (ended, end) = os.pipe(), os.pipe()
    pipes = []
    for index in range(number):
        ours, theirs = os.pipe()
        if not os.fork():
            try:
                os.close(begin)
                os.close(end)
                os.read(begun, 1)  # until all are there
                try:
                    text, kept = work(index)
                except ValueError as error:
                    text, kept = f"error: {error}", None
                os.write(theirs, text.encode())
                os.close(theirs)
                os.read(ended, 1)  # until all are done
                del kept
            finally:
                os._exit(0)
        os.close(theirs)
        pipes.append(ours)
    os.close(begin)
    texts = []
    for pipe in pipes:
        with os.fdopen(pipe, "rb") as file:
            texts.append(file.read().decode())
    os.close(end)
    for _ in pipes:
        os.wait()
    return texts


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs forked processes")
def test_runs_that_start_in_the_same_second_have_folders_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("time.strftime", lambda form: "now")
    monkeypatch.setattr(run_directory, "provenance", dict)  # which asks git

    def start(number):
        path = default_folder("Chain", "dqn", "weight", 0)
        directory = RunDirectory.create(path, {**CONFIG, "number": number}, hold=True)
        return str(directory.path), directory

    paths = at_once(20, start)
    assert len(set(paths)) == 20
    assert [json.loads((Path(path) / "config.json").read_text())["number"] for path in paths] == list(range(20))


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs forked processes")
def test_of_processes_with_one_folder_one_gets_it(tmp_path, monkeypatch, again):
    """Also of jobs that begin with --resume auto, of which a second one would set aside what the first one writes."""
    monkeypatch.setattr(run_directory, "provenance", dict)

    def start(number):
        directory = RunDirectory.create(tmp_path / "run", {**CONFIG, "number": number}, hold=True, again=again)
        return str(number), directory

    said = at_once(10, start)
    (mine,) = [text for text in said if not text.startswith("error: ")]
    assert json.loads((tmp_path / "run" / "config.json").read_text())["number"] == int(mine)
    assert not (tmp_path / "run" / "unfinished").exists()
    others = [text for text in said if text.startswith("error: ")]
    assert all("is being written by" in text or "already holds files" in text for text in others), others


def test_one_folder_has_one_writer(tmp_path):
    directory = RunDirectory.create(tmp_path / "run", CONFIG, hold=True)
    second = RunDirectory.open(tmp_path / "run", write=True)
    with pytest.raises(ValueError, match="is being written by this process"):
        second.hold()
    assert second.config["agent"] == "dqn"  # to look is no matter
    directory.release()
    second.hold()
    second.release()
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"config.json", "checkpoints"}


def test_a_folder_that_only_a_lock_was_left_in_is_unused(tmp_path):
    (tmp_path / ".lock").touch()
    RunDirectory.create(tmp_path, CONFIG)
    assert not (tmp_path / ".lock").exists()


def test_what_killed_processes_left_is_removed_once_the_folder_is_held(tmp_path):
    directory = RunDirectory.create(tmp_path / "run", CONFIG)
    left = directory.path / ".model.safetensors.0a1b2c3d.tmp"
    left.touch()
    other = RunDirectory.open(directory.path, write=True)
    assert left.exists()
    other.hold()
    assert not left.exists()


def test_a_config_that_is_there_is_never_written_over(tmp_path, monkeypatch):
    """Not even where there are no locks and another process was faster by less than a look into the folder."""
    monkeypatch.setattr(run_directory, "in_use", lambda path: False)
    (tmp_path / "config.json").write_text("theirs")
    with pytest.raises(ValueError, match=r"cannot write the run to .*: File exists"):
        RunDirectory.create(tmp_path, CONFIG)
    assert (tmp_path / "config.json").read_text() == "theirs"


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ValueError, match=r"is not the folder of a run: it has no config.json"):
            RunDirectory.open(path)


def test_a_folder_of_runs_names_one(tmp_path):
    RunDirectory.create(tmp_path / "one", CONFIG)
    with pytest.raises(ValueError, match=rf"but 1 folders in it have: name one, {tmp_path / 'one'} for example$"):
        RunDirectory.open(tmp_path)


def test_a_folder_that_may_only_be_read_is_opened_to_read_alone(tmp_path, monkeypatch):
    RunDirectory.create(tmp_path / "run", CONFIG)
    monkeypatch.setattr(run_directory.os, "access", lambda path, mode: mode != os.W_OK)  # root may write everywhere
    assert RunDirectory.open(tmp_path / "run").config["agent"] == "dqn"
    with pytest.raises(ValueError, match=r"cannot write the run to .*run: no permission"):
        RunDirectory.open(tmp_path / "run", write=True)


def test_a_damaged_config_is_refused_by_name(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config.json is damaged"):
        _ = RunDirectory.open(tmp_path).config


@pytest.mark.parametrize("text", ["null", "[]", "5", '"x"', "", "{", "[" * 100_000, "\0", '{"settings": []}',
    '{"agent": 5}', '{"format": "1"}', '{"format": true}', '{"starts": {}}', '{"starts": [5]}',
    '{"starts": [{"versions": "x"}]}', '{"git_commit": {}}', '{"library": null}'])  # fmt: skip
def test_a_config_of_other_kinds_is_one_line(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match=r"config\.json is damaged: ") as raised:
        _ = RunDirectory.open(tmp_path).config
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 1_000


def test_a_run_that_goes_on_notes_what_changed_and_keeps_its_first_start(tmp_path):
    directory = RunDirectory.create(tmp_path / "run", {**CONFIG, "settings": {"steps": 5, "seed": 1, "resume": None}})
    (first,) = directory.config["starts"]
    directory.go_on(5, {"steps": 9, "seed": 1, "resume": "run", "added": 3}, "cuda:0, a GPU")
    directory.go_on(9, {"steps": 20, "seed": 1, "resume": "run", "added": 3})
    config = directory.config
    assert config["settings"] == {"steps": 20, "seed": 1, "resume": "run", "added": 3}
    kept, second, third = config["starts"]
    assert kept == first
    assert (second["first_step"], second["device"]) == (5, "cuda:0, a GPU")
    assert second["changed"] == {"steps": {"from": 5, "to": 9}}  # of a setting that did not exist there is no change
    assert (third["first_step"], third["changed"]) == (9, {"steps": {"from": 9, "to": 20}})
    assert second.keys() == third.keys() == first.keys()


def test_the_first_start_of_an_earlier_version_is_the_first_of_the_list(tmp_path):
    """It noted versions and commit next to the settings."""
    noted = {"command": ["a.py"], "versions": {"wnrl": "0.1.0"}, "git_commit": "abc", "started": "then"}
    (tmp_path / "config.json").write_text(json.dumps({**CONFIG, **noted}))
    directory = RunDirectory.open(tmp_path)
    assert made_by(directory.config) == "wnrl 0.1.0, git commit abc"
    directory.go_on(7, {"env": "Chain"})
    config = directory.config
    assert config["starts"][0] == {"first_step": 0, "changed": {}, "device": None, **noted}
    assert config.keys() == {"agent", "settings", "starts", "format"}
    assert config["format"] == FORMAT
    assert len(config["starts"]) == 2


def test_who_made_a_run_is_the_version_of_its_last_start():
    starts = [{"versions": {"wnrl": "1"}, "git_commit": "a"}, {"versions": {"wnrl": "2"}, "git_commit": None}]
    assert made_by({"starts": starts}) == "wnrl 2"
    assert made_by({}) == "wnrl of unknown version"


def test_the_last_step_is_that_of_the_newest_checkpoint(tmp_path):
    directory = RunDirectory.create(tmp_path / "run", CONFIG)
    assert directory.last_step is None
    for name in ("000000000009", "000000000010", ".000000000011", "notes"):
        (directory.checkpoints / f"{name}.safetensors").touch()
    assert directory.last_step == 10


def test_a_half_made_run_is_set_aside_and_other_files_stay(tmp_path):
    path = tmp_path / "run"
    for number in (1, 2):
        RunDirectory.create(path, {**CONFIG, "number": number}, again=True)
        for name in ("progress.csv", "evaluations.csv", "best.json", "events.out.tfevents.1", "wandb_run", "job.log"):
            (path / name).write_text(str(number))
    directory = RunDirectory.create(path, {**CONFIG, "number": 3}, again=True)
    assert directory.config["number"] == 3
    assert {one.name for one in path.iterdir()} == {
        "config.json",
        "checkpoints",
        "job.log",
        "unfinished",
        "unfinished-2",
    }
    for number, name in ((1, "unfinished"), (2, "unfinished-2")):
        assert json.loads((path / name / "config.json").read_text())["number"] == number
        for part in ("progress.csv", "evaluations.csv", "best.json", "events.out.tfevents.1", "wandb_run"):
            assert (path / name / part).read_text() == str(number)


@pytest.mark.parametrize("name", ["model.json", "model.zip", "checkpoints/000000000010.safetensors"])
def test_what_was_trained_is_never_set_aside(tmp_path, name):
    path = RunDirectory.create(tmp_path / "run", CONFIG).path
    (path / name).touch()
    before = sorted(path.rglob("*"))
    with pytest.raises(ValueError, match=r"run (holds model\.\w+|already holds a run) .*a checkpoint"):
        RunDirectory.create(path, CONFIG, again=True)
    assert sorted(path.rglob("*")) == before


def test_the_model_of_a_run_that_was_killed_in_its_first_checkpoint_is_set_aside(tmp_path):
    config = {"agent": "dqn", "settings": {"steps": 60}}
    path = RunDirectory.create(tmp_path / "run", config).path
    (path / "model.json").write_text('{"step": 59}')
    RunDirectory.create(path, config, again=True)
    assert (path / "unfinished" / "model.json").exists()
    (path / "model.json").write_text('{"step": 60}')
    with pytest.raises(ValueError, match=r"run holds model\.json of a run without a checkpoint"):
        RunDirectory.create(path, config, again=True)


def test_a_name_of_300_characters(tmp_path, monkeypatch):
    """File systems take 255 bytes: the run's own name is cut, one that was asked for is refused."""
    monkeypatch.chdir(tmp_path)
    path = default_folder("x" * 300, "dqn", "weight", 3)
    assert RunDirectory.create(path, CONFIG).path.name.startswith("x" * 100 + "-dqn-weight-s3-")
    with pytest.raises(ValueError, match=r"cannot write the run to x+: File name too long"):
        RunDirectory.create(Path("x" * 300), CONFIG)
    with pytest.raises(ValueError, match="is not the folder of a run"):
        RunDirectory.open(Path("x" * 300))
    assert RunDirectory(Path("x" * 300)).last_step is None


def test_checkpoints_of_other_processes_have_folders_of_their_own(tmp_path):
    directory = RunDirectory(tmp_path)
    assert directory.checkpoints_of(0) == directory.checkpoints == tmp_path / "checkpoints"
    assert directory.checkpoints_of(2) == tmp_path / "checkpoints" / "process-2"


def test_the_run_of_a_part(tmp_path):
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "run" / "config.json").write_text("{}")
    run = tmp_path / "run"
    parts = [run / "best.safetensors", run / "config.json", run / "checkpoints", run / "checkpoints" / "5.safetensors"]
    assert [run_of_part(path) for path in parts] == [run] * 4
    for path in (run, tmp_path, tmp_path / "other", run / "a" / "b" / "c", Path("x" * 5_000)):
        assert run_of_part(path) is None


def test_where_learning_broke_down_is_noted_until_the_run_goes_on(tmp_path):
    directory = RunDirectory.create(tmp_path, CONFIG)
    before = (tmp_path / "config.json").read_bytes()
    directory.note_breakdown(None)
    assert (tmp_path / "config.json").read_bytes() == before
    assert broke_down(directory.config) is None
    directory.note_breakdown(700)
    directory.note_breakdown(900)
    assert broke_down(directory.config) == 700
    directory.note_breakdown(None)
    assert broke_down(directory.config) is None
    directory.note_breakdown(800)
    directory.go_on(500, CONFIG["settings"])
    assert broke_down(directory.config) is None
    assert [start.get("broke_down") for start in directory.config["starts"]] == [800, None]


@pytest.mark.parametrize("step", [-1, 10**16, True, "7", 2.5])
def test_a_damaged_note_of_a_breakdown(tmp_path, step):
    config = {**CONFIG, "starts": [{"first_step": 0, "broke_down": step}]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"config\.json is damaged: broke_down is"):
        RunDirectory.open(tmp_path).config  # noqa: B018
