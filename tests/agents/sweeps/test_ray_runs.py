"""agents.sweeps.ray_runs, but for Ray itself, which tests/scripts/test_sweep.py starts"""

import dataclasses
import os
import pickle
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("ray")

import ray
from ray import tune

from agents.sweeps.live_table import LiveTable
from agents.sweeps.ray_runs import Resources, ShownTrials, configuration, connect, fit
from agents.sweeps.search import WORST
from agents.sweeps.sweep_folder import SweepFolder
from tests.agents.sweeps.made_up import a_trial

ONE = Resources(cpus=1, gpus=0, retries=3, address=None)


class Calls(list):
    """Has any method, and keeps the calls."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *args, **named: self.append((name, *args, *named.items()))


def tuned(name, error_file=None, result=None):
    """A trial as Tune gives it to callbacks."""
    return SimpleNamespace(config={"trial": {"name": name}}, error_file=error_file, last_result=result)


@pytest.fixture
def server(monkeypatch):
    """What Ray would be asked for, on a cluster of 4 cores without a GPU."""
    monkeypatch.setattr(os, "environ", dict(os.environ))
    asked, ended = {}, []
    monkeypatch.setattr(ray, "init", lambda **options: asked.update(options))
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 4.0})
    monkeypatch.setattr(ray, "shutdown", lambda: ended.append(True))
    return SimpleNamespace(asked=asked, ended=ended)


def test_this_machine_gets_the_cores_that_are_usable(server, monkeypatch):
    monkeypatch.setattr("envs.atari.usable_cores", lambda: 3)
    connect(ONE)
    assert (server.asked["address"], server.asked["num_cpus"]) == ("local", 3)
    assert os.environ["TUNE_DISABLE_SIGINT_HANDLER"] == "1"


def test_what_the_user_has_set_for_ray_stays(server):
    os.environ["RAY_USAGE_STATS_ENABLED"] = "1"
    connect(ONE)
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "1"


def test_a_cluster_keeps_its_own_cores(server):
    connect(dataclasses.replace(ONE, address="here:6379"))
    assert server.asked["address"] == "here:6379"
    assert "num_cpus" not in server.asked


@pytest.mark.parametrize(
    ("cpus", "gpus", "said"),
    [
        (8, 0, "8 CPUs, and there are 4: give it less by --cpus-per-trial"),
        (1, 0.5, "0.5 GPUs, and there are 0: give it less by --gpus-per-trial"),
    ],
)
def test_more_than_there_is(server, cpus, gpus, said):
    with pytest.raises(ValueError, match=said):
        connect(Resources(cpus, gpus, 3, None))
    assert server.ended == [True]


def test_no_cluster_there(server, monkeypatch):
    def refuse(**options):
        raise ConnectionError("Could not connect.\nMuch more of it.")

    monkeypatch.setattr(ray, "init", refuse)
    with pytest.raises(ValueError, match=r"^no Ray cluster answers at here:1: Could not connect\.$"):
        connect(Resources(1, 0, 3, "here:1"))


def test_what_a_worker_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = SweepFolder(Path("sweep"))
    told = configuration(folder, a_trial(), 2)
    run = tmp_path / "sweep/runs/dqn-CartPole-v1-weight-s0"
    assert told["folder"] == str(run)
    assert told["arguments"][-4:] == ["--run-dir", str(run), "--resume", "auto"]
    assert (told["threads"], told["steps"], told["resumable"], told["cwd"]) == (2, 300, True, str(tmp_path))
    host = configuration(folder, a_trial("sb3-ppo"), 1)
    assert not host["resumable"]
    assert "--resume" not in host["arguments"]


def test_tunes_events_reach_the_table():
    calls = Calls()
    shown = ShownTrials(calls)
    shown.on_trial_start(1, [], tuned("a"))
    shown.on_trial_result(1, [], tuned("a"), {"step": 100, "score": 7.0})
    shown.on_trial_result(1, [], tuned("a"), {"step": 200, "score": float("nan")})
    shown.on_trial_complete(1, [], tuned("a"))
    assert calls == [("started", "a"), ("progressed", "a", 100, 7.0), ("progressed", "a", 200, None), ("finished", "a")]
    calls.clear()
    shown.on_trial_result(1, [], tuned("a"), {"step": 70, "score": WORST})
    assert calls.pop() == ("progressed", "a", 70, None)
    shown.on_trial_complete(1, [], tuned("a", result={"step": 300, "broke_down": False}))
    shown.on_trial_complete(1, [], tuned("b", result={"step": 70, "broke_down": True}))
    assert calls == [("finished", "a"), ("broke_down", "b", 70)]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (
            "Traceback\nRuntimeError: RuntimeError: the run ended with code 1: no space\n\n",
            "the run ended with code 1: no space",
        ),
        ("", "its worker died"),
        (None, "its worker died"),
    ],
)
def test_why_a_trial_broke_off(tmp_path, text, why):
    path = None if text is None else tmp_path / "error.txt"
    if path:
        path.write_text(text)
    calls = Calls()
    ShownTrials(calls).on_trial_recover(1, [], tuned("a", path))
    ShownTrials(calls).on_trial_error(1, [], tuned("a", path))
    assert calls == [("failed", "a", why, ("final", False)), ("failed", "a", why, ("final", True))]


def test_a_check_ends_tunes_loop():
    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ShownTrials(Calls(), stop).on_step_begin(1, [])


def test_tunes_records_are_without_the_table(capsys):
    shown = ShownTrials(LiveTable([a_trial()], []))
    assert type(pickle.loads(pickle.dumps(shown))) is tune.Callback


def test_tunes_records_are_removed_even_where_it_fails(tmp_path, monkeypatch):
    folder = SweepFolder(tmp_path)

    class Tuner:
        def __init__(self, *args, **options):
            (folder.ray / "tune").mkdir(parents=True)

        def fit(self):
            raise KeyboardInterrupt

    monkeypatch.setattr(tune, "Tuner", Tuner)
    (folder.ray / "left from before").mkdir(parents=True)
    with pytest.raises(KeyboardInterrupt):
        fit(folder, {}, ONE, [])
    assert not folder.ray.exists()
