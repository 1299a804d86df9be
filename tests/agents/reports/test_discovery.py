"""agents.reports.discovery"""

import errno
import os
from pathlib import Path

import pytest

from agents.reports.discovery import find_runs
from agents.reports.event_runs import folder_pattern
from tests.agents.reports.hand_made import curve, write_events, write_run

LOG = "events.out.tfevents.1.host"


def test_runs_are_found_at_any_depth_and_once(tmp_path):
    write_run(tmp_path / "a" / "b" / "run", curve([1]))
    write_events(tmp_path / "a" / "b" / "run" / LOG, [("x", 1, 1.0)])  # of the same run
    write_events(tmp_path / "sb3" / "PPO_1" / LOG, [("rollout/ep_rew_mean", 1, 1.0)])
    write_run(tmp_path / "a" / "b" / "run" / "unfinished" / "x", curve([1]))
    write_run(tmp_path / "wandb" / "x", curve([1]))
    runs, notes = find_runs([tmp_path, tmp_path / "sb3" / ".." / "a"])
    assert [run.name for run in runs] == [f"{tmp_path}/a/b/run", f"{tmp_path}/sb3/PPO_1"]
    assert [run.agent for run in runs] == ["dqn", "PPO"]
    assert notes == []
    assert [run.name for run in find_runs([tmp_path / "a" / "b" / "run"]).runs] == [f"{tmp_path}/a/b/run"]


def test_links_are_followed_and_each_run_is_there_once(tmp_path):
    scalars = [("rollout/ep_rew_mean", 1, 1.0)]
    write_events(tmp_path / "disk" / "job7" / LOG, scalars)
    write_events(tmp_path / "disk" / "job8" / "Pong" / "PPO_1" / LOG, scalars)
    write_events(tmp_path / "logs" / "Task" / "PPO_1" / LOG, scalars)
    write_events(tmp_path / "elsewhere" / "PPO_1" / LOG, scalars)  # which only a link out of the folder leads to
    links = {"Task/DQN_3": "disk/job7", "more": "disk/job8", "Task/A2C_1": "logs/Task/PPO_1"}
    links |= {"Task/loop": "logs", "Task/up": ".", "more/same": "disk/job8/Pong", "nowhere": "nothing"}
    for link, target in links.items():
        (tmp_path / "logs" / link).symlink_to(tmp_path / target)
    pattern = folder_pattern("logs/{where}/{agent}_{seed}")
    expected = {("Task/PPO_1", "PPO", "Task"), ("Task/DQN_3", "DQN", "Task"), ("more/Pong/PPO_1", "PPO", "Pong")}
    runs, notes = find_runs([tmp_path / "logs"])
    assert {(run.name.partition("logs/")[2], run.agent, run.env) for run in runs} == expected
    assert (len(runs), notes) == (3, [])
    (tmp_path / "logs" / "more").unlink()
    named = find_runs([tmp_path / "logs"], pattern).runs
    assert {(run.agent, run.seed, run.settings["where"]) for run in named} == {("PPO", 1, "Task"), ("DQN", 3, "Task")}


def test_a_folder_that_is_a_link_has_the_links_name(tmp_path):
    write_events(tmp_path / "job7" / "PPO_1" / LOG, [("rollout/ep_rew_mean", 1, 1.0)])
    (tmp_path / "Task").symlink_to("job7")
    (run,) = find_runs([tmp_path / "Task"]).runs
    assert (run.agent, run.env) == ("PPO", "Task")


@pytest.mark.parametrize("named", ["tb", "tb/CartPole-v1", "tb/CartPole-v1/PPO_2", "tb/CartPole-v1/../CartPole-v1"])
def test_an_environment_is_the_folder_around_a_run_whichever_is_named(tmp_path, monkeypatch, named):
    write_events(tmp_path / "tb" / "CartPole-v1" / "PPO_2" / LOG, [("rollout/ep_rew_mean", 1, 1.0)])
    monkeypatch.chdir(tmp_path)
    (run,) = find_runs([Path(named)]).runs
    assert (run.agent, run.env) == ("PPO", "CartPole-v1")


def test_what_cannot_be_read_is_left_out_and_noted(tmp_path):
    write_run(tmp_path / "good", curve([1]))
    write_run(tmp_path / "new", []).joinpath("progress.csv").unlink()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("{")
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / LOG).touch()
    runs, notes = find_runs([tmp_path])
    assert [run.name for run in runs] == [f"{tmp_path}/good"]
    assert len(notes) == 3
    assert notes[0].startswith(f"{tmp_path}/broken is left out: ")
    assert notes[1:] == [
        f"{tmp_path}/log is left out: its event files have no scalars that can be read",
        f"{tmp_path}/new is left out: it has no progress.csv",
    ]


@pytest.fixture
def locked(monkeypatch):
    """Makes folders that cannot be listed, even by root, of what is given."""
    folders, scandir = set(), os.scandir

    def scan(path):
        if str(path) in folders:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", scan)
    return lambda *paths: folders.update(map(str, paths))


def test_a_folder_that_cannot_be_listed_is_noted(tmp_path, locked):
    write_run(tmp_path / "good", curve([1]))
    write_run(tmp_path / "secret" / "run", curve([1]))
    locked(tmp_path / "secret")
    runs, notes = find_runs([tmp_path])
    assert [run.name for run in runs] == [f"{tmp_path}/good"]
    assert notes == [f"{tmp_path}/secret is left out: Permission denied"]
    with pytest.raises(ValueError, match=r"holds no run that can be read \(.*/secret is left out: Permission denied\)"):
        find_runs([tmp_path / "secret"])


def test_a_log_that_cannot_be_opened_is_left_out_and_noted(tmp_path):
    write_run(tmp_path / "good", curve([1]))
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / LOG).symlink_to("nowhere")
    runs, notes = find_runs([tmp_path])
    assert [run.name for run in runs] == [f"{tmp_path}/good"]
    assert notes == [f"{tmp_path}/log is left out: there is no file {tmp_path}/log/{LOG}: check the path"]


@pytest.mark.parametrize("config", ['{"agent": {"name": "ppo"}}', "[1]", "agent: ppo"])
def test_a_configuration_of_others_hides_no_log(tmp_path, config):
    write_events(tmp_path / "Task" / "PPO_1" / LOG, [("rollout/ep_rew_mean", 1, 1.0)])
    (tmp_path / "Task" / "PPO_1" / "config.json").write_text(config)
    runs, notes = find_runs([tmp_path])
    assert ([(run.agent, run.env) for run in runs], notes) == ([("PPO", "Task")], [])
    (tmp_path / "Task" / "PPO_1" / "progress.csv").touch()  # as a damaged run of ours has it
    with pytest.raises(ValueError, match=r"PPO_1 is left out: .*config\.json"):
        find_runs([tmp_path])


def test_nothing_to_compare(tmp_path):
    with pytest.raises(ValueError, match="there is no folder xxx"):
        find_runs([Path("x" * 300)])
    with pytest.raises(ValueError, match=r"there is no folder .*/nowhere: name one that holds runs"):
        find_runs([tmp_path / "nowhere"])
    with pytest.raises(ValueError, match="is empty: name a folder that holds runs"):
        find_runs([tmp_path])
    (tmp_path / "text").touch()
    with pytest.raises(ValueError, match=r"holds no run that can be read, which are folders with config\.json"):
        find_runs([tmp_path])
    (tmp_path / LOG).touch()
    with pytest.raises(ValueError, match=r"holds no run that can be read \(.* no scalars that can be read\)"):
        find_runs([tmp_path])
