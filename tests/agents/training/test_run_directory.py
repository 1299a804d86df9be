import os
from pathlib import Path

import pytest
import torch

from agents.training.provenance import PACKAGES
from agents.training.run_directory import RunDirectory, default_path

CONFIG = {"agent": "dqn", "settings": {"env": "Chain", "hidden": [8, 8], "resume": None}}


def test_the_folder_says_everything_about_the_run(tmp_path):
    directory = RunDirectory.create(tmp_path / "a" / "b", CONFIG)
    assert directory.path == tmp_path / "a" / "b"
    config = directory.config
    assert {name: config[name] for name in CONFIG} == CONFIG
    assert config["versions"].keys() == {"python", *PACKAGES}
    assert config["versions"]["torch"] == torch.__version__
    assert {"git_commit", "started", "command"} <= config.keys()
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


def test_default_names_tell_runs_apart(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    chain = ("Chain", "dqn", "weight", 3)
    first = default_path(*chain)
    assert first.parent == Path("runs")
    assert first.name.startswith("Chain-dqn-weight-s3-20")
    monkeypatch.setattr("time.strftime", lambda form: "now")
    paths = [RunDirectory.create(default_path(*chain), CONFIG).path for _ in range(3)]
    assert [path.name for path in paths] == [f"Chain-dqn-weight-s3-now{end}" for end in ("", "-2", "-3")]
    assert default_path("phys2d/CartPole-v1", "dqn", "weight", 3).name.startswith("phys2d_CartPole-v1-dqn")


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ValueError, match=r"is not the folder of a run: it has no config.json"):
            RunDirectory.open(path)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_refused(tmp_path):
    RunDirectory.create(tmp_path / "run", CONFIG)
    (tmp_path / "run").chmod(0o500)
    with pytest.raises(ValueError, match="no permission"):
        RunDirectory.open(tmp_path / "run")
    (tmp_path / "run").chmod(0o700)


def test_a_damaged_config_is_refused_by_name(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config.json is damaged"):
        _ = RunDirectory.open(tmp_path).config


def test_checkpoints_of_other_processes_have_folders_of_their_own(tmp_path):
    directory = RunDirectory(tmp_path)
    assert directory.checkpoints_of(0) == directory.checkpoints == tmp_path / "checkpoints"
    assert directory.checkpoints_of(2) == tmp_path / "checkpoints" / "process-2"
