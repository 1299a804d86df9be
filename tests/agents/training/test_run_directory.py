import json
import os
from importlib import metadata
from pathlib import Path

import pytest
import torch

from agents.settings.flat import from_flat, replace
from agents.settings.run import RunSettings
from agents.training.run_directory import PACKAGES, RunDirectory, default_path, provenance, to_json
from wnrl.checkpoints.checkpoints import load_model

RUN = from_flat(RunSettings, env="Chain", seed=3, hidden=(8, 8))


def test_the_folder_says_everything_about_the_run(tmp_path):
    directory = RunDirectory.create(replace(RUN, run_dir=tmp_path / "a" / "b"), "dqn")
    config = directory.config
    assert config["agent"] == "dqn"
    assert config["settings"] == {**to_json(RUN), "hidden": [8, 8], "run_dir": str(tmp_path / "a" / "b")}
    assert config["versions"].keys() == {"python", *PACKAGES}
    assert config["versions"]["torch"] == torch.__version__
    assert {"git_commit", "started", "command"} <= config.keys()
    assert directory.checkpoints.is_dir()
    assert RunDirectory.open(directory.path).config == config


def test_settings_are_json(tmp_path):
    stored = json.loads(json.dumps(to_json(replace(RUN, run_dir=tmp_path))))
    assert stored["run_dir"] == str(tmp_path)
    assert stored["resume"] is None


def test_a_folder_in_use_is_refused_and_left_alone(tmp_path):
    (tmp_path / "mine").write_text("x")
    with pytest.raises(ValueError, match=r"already holds files: choose another --run-dir, or .* --resume"):
        RunDirectory.create(replace(RUN, run_dir=tmp_path), "dqn")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    with pytest.raises(ValueError, match="already holds files"):
        RunDirectory.create(replace(RUN, run_dir=tmp_path / "mine"), "dqn")


def test_an_empty_folder_can_be_used(tmp_path):
    RunDirectory.create(replace(RUN, run_dir=tmp_path), "dqn")
    assert (tmp_path / "config.json").is_file()


def test_a_place_that_cannot_be_written_is_refused_by_name(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValueError, match=r"cannot write the run to .*file/run: Not a directory"):
        RunDirectory.create(replace(RUN, run_dir=tmp_path / "file" / "run"), "dqn")


def test_default_names_tell_runs_apart(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = default_path(RUN, "dqn")
    assert first.parent == Path("runs")
    assert first.name.startswith("Chain-dqn-weight-s3-20")
    monkeypatch.setattr("time.strftime", lambda form: "now")
    paths = [RunDirectory.create(RUN, "dqn").path for _ in range(3)]
    assert [path.name for path in paths] == [f"Chain-dqn-weight-s3-now{end}" for end in ("", "-2", "-3")]
    assert default_path(from_flat(RunSettings, env="phys2d/CartPole-v1"), "dqn").name.startswith(
        "phys2d_CartPole-v1-dqn"
    )


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ValueError, match=r"is not the folder of a run: it has no config.json"):
            RunDirectory.open(path)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_refused(tmp_path):
    RunDirectory.create(replace(RUN, run_dir=tmp_path / "run"), "dqn")
    (tmp_path / "run").chmod(0o500)
    with pytest.raises(ValueError, match="no permission"):
        RunDirectory.open(tmp_path / "run")
    (tmp_path / "run").chmod(0o700)


def test_a_damaged_config_is_refused_by_name(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config.json is damaged"):
        _ = RunDirectory.open(tmp_path).config


def test_models_are_saved_with_their_description(tmp_path):
    RunDirectory(tmp_path).save_model("best", {"w": torch.arange(3.0)}, {"step": 7})
    tensors, description = load_model(tmp_path / "best")
    assert tensors["w"].tolist() == [0, 1, 2]
    assert description == json.loads((tmp_path / "best.json").read_text()) == {"step": 7}


def test_the_build_of_torch_is_recorded_where_its_metadata_leaves_it_out(monkeypatch):
    """config.json has to tell a CUDA build from a CPU one."""
    for build in ("2.14.1+cu130", "2.14.1+cpu"):
        monkeypatch.setattr(torch, "__version__", build)
        monkeypatch.setattr(metadata, "version", lambda name: "2.14.1")
        assert provenance()["versions"]["torch"] == build


def test_provenance_without_git(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert provenance()["git_commit"] is None
