"""agents.commands.sweep.command"""

import shlex
import signal
import sys

import pytest

from agents.commands.sweep import command
from agents.commands.sweep.command import main
from agents.commands.sweep.command_line import read_sweep
from agents.commands.sweep.settings import SweepSettings
from agents.runtime.signals import StopSignal
from agents.sweeps import speeds
from agents.sweeps.sweep_folder import SweepFolder
from tests.agents.commands.called import caller
from tests.agents.sweeps.made_up import break_down, finish

BASE = ["--envs", "CartPole-v1", "--steps", "300"]


@pytest.fixture
def sweep(monkeypatch, capsys, tmp_path):
    """Calls the command in a folder of its own and returns its exit code, output and error output."""
    monkeypatch.chdir(tmp_path)
    return caller(monkeypatch, capsys, main, "sweep.py")


@pytest.fixture
def measured(monkeypatch):
    """Every group of trials makes 10 steps a second."""
    asked = []
    monkeypatch.setattr(speeds, "measured_speed", lambda trial, threads, seconds: asked.append(trial.group) or 10.0)
    return asked


def test_a_dry_run_trains_nothing(sweep, measured, tmp_path):
    pytest.importorskip("ray")
    code, out, err = sweep("--agents", "dqn", "sb3-ppo", *BASE, "--seeds", 2, "--dry-run")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == ("dqn-CartPole-v1-none-s0: wnrl train dqn --env CartPole-v1 --norm none --seed 0 --steps 300")
    assert len(lines) == 8 + 4 + 1
    assert measured == [f"{agent}-CartPole-v1-{norm}" for agent in ("dqn", "sb3-ppo") for norm in ("none", "weight")]
    assert lines[-1].startswith("8 of 8 runs, ")
    assert [*tmp_path.iterdir()] == []


def test_a_dry_run_counts_what_is_left(sweep, measured, tmp_path):
    pytest.importorskip("ray")
    _, plan = read_sweep("", ["--agents", "dqn", *BASE, "--seeds", "2"])
    folder = SweepFolder(tmp_path / "sweep")
    folder.record(plan.trials())
    for trial in plan.trials()[:3]:
        finish(folder, trial, [1, 2, 3])
    assert "\n1 of 4 runs, " in sweep("--agents", "dqn", *BASE, "--seeds", 2, "--dry-run")[1]
    finish(folder, plan.trials()[3], [1, 2, 3])
    assert sweep("--agents", "dqn", *BASE, "--seeds", 2, "--dry-run")[1] == "all 4 runs have finished\n"


def test_a_dry_run_of_a_search_counts_its_samples(sweep, measured, tmp_path):
    """Each is one run; the seeds of comparisons are none of a search."""
    pytest.importorskip("ray")
    pytest.importorskip("optuna")
    arguments = ["--agents", "dqn", *BASE, "--tune", "learning_rate=1e-4:1e-2", "--samples", 20, "--dry-run"]
    code, out, err = sweep(*arguments)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert [line.split(" of wnrl ")[0] for line in lines[:2]] == [
        f"dqn-CartPole-v1-{norm}: 20 samples" for norm in ("none", "weight")
    ]
    assert lines[-1].startswith("40 of 40 runs, ")
    assert len(lines) == 2 + 2 + 1
    (tmp_path / "sweep").mkdir()
    SweepFolder(tmp_path / "sweep").record([])
    text = "learning_rate,steps,score\n0.001,300,1.0\n"
    (tmp_path / "sweep" / "dqn-CartPole-v1-none.samples.csv").write_text(text)
    assert "\n39 of 40 runs, " in sweep(*arguments)[1]
    arguments[arguments.index("learning_rate=1e-4:1e-2")] = "learning_rate=1e-2:1e-1"
    code, _, err = sweep(*arguments)
    assert code == 2
    assert "has a sample with learning_rate 0.001, which --tune does not search now" in err


def test_the_hours_of_a_dry_run_are_those_of_the_runs_that_fit_beside_each_other(sweep, measured, monkeypatch):
    pytest.importorskip("ray")
    monkeypatch.setattr("envs.atari.usable_cores", lambda: 16)
    task = ["--agents", "dqn", "--envs", "CartPole-v1", "--steps", 72_000, "--dry-run"]  # two hours a run
    single = sweep(*task, "--norms", "none", "--seeds", 1)[1]
    assert single.endswith("1 of 1 runs, 1 at once: about 2.0 hours, evaluations not counted\n")
    assert "24 of 24 runs, 16 at once: about 4.0 hours" in sweep(*task, "--seeds", 12)[1]
    pytest.importorskip("optuna")
    search = sweep(*task, "--tune", "learning_rate=1e-4:1e-2", "--samples", 3)[1]
    assert "6 of 6 runs, 3 at once: about 4.0 hours" in search


def test_a_dry_run_counts_the_gpus(monkeypatch):
    pytest.importorskip("ray")
    from agents.settings.presets import machine
    from agents.sweeps.ray_runs import Resources

    monkeypatch.setattr("envs.atari.usable_cores", lambda: 16)
    monkeypatch.setattr(machine, "has_gpu", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    assert command._at_once(Resources(1.0, 0.25, 3, None), 20) == 4
    assert command._at_once(Resources(1.0, 0.0, 3, None), 20) == 16


@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
def test_each_value_that_a_search_may_draw_is_read_before_anything_runs(sweep, measured, dry):
    pytest.importorskip("ray")
    pytest.importorskip("optuna")
    tuned = ["--tune", "learning_rate=1e-4,x,1e-3", "--samples", 3]
    code, out, err = sweep("--agents", "dqn", *BASE, *tuned, *dry)
    assert (code, out) == (2, "")
    assert "--learning-rate takes a number, got 'x'" in err


def test_a_dry_run_refuses_what_the_sweep_refuses_and_prints_commands_for_a_shell(sweep, measured, tmp_path):
    pytest.importorskip("ray")
    arguments = ["--agents", "dqn", *BASE, "--norms", "none", "--seeds", 1]
    folder = SweepFolder(tmp_path / "sweep")
    [trial] = read_sweep("", [*map(str, arguments)])[1].trials()
    folder.record([trial])
    finish(folder, trial, [1, 2, 3])
    code, out, err = sweep(*arguments, "--learning-rate", "1e-1", "--dry-run")
    assert (code, out) == (2, "")
    assert "had the agent's default, now it would have --learning-rate 1e-1: choose another --out" in err
    word = "policy_kwargs:{'net_arch': [8]}"
    out = sweep("--agents", "sb3-ppo", *BASE, "--out", "other", "--hyperparams", word, "--dry-run")[1]
    assert shlex.split(out.splitlines()[0].partition(": wnrl ")[2])[-1] == word


def test_a_sweep_that_has_finished_shows_its_scores_again(sweep, tmp_path):
    pytest.importorskip("ray")
    _, plan = read_sweep("", ["--agents", "dqn", *BASE, "--seeds", "2"])
    folder = SweepFolder(tmp_path / "sweep")
    folder.record(plan.trials())
    for trial in plan.trials():
        finish(folder, trial, [1, 2, 3])
    code, out, err = sweep("--agents", "dqn", *BASE, "--seeds", 2)
    assert (code, err) == (0, "")
    assert out.startswith(
        "4 runs of 2 kinds, 4 of them finished, in sweep\nfinal scores, the mean of rollout/ep_rew_mean over"
    )
    assert out.endswith("report.py sweep/runs compares them\n")
    assert "missing" not in out
    assert "broke down" not in out
    assert (tmp_path / "sweep" / "scores.csv").read_text().count("\n") == 3
    out = sweep("--agents", "dqn", *BASE, "--seeds", 2, "--norms", "none")[1]
    last = "report.py sweep/runs compares them, and 2 of earlier commands, which trials.csv and scores.csv leave out\n"
    assert out.endswith(last)
    refused = sweep("--agents", "dqn", *BASE, "--seeds", 2, "--gamma", 0.5)
    assert refused[0] == 2
    assert "had the agent's default, now it would have --gamma 0.5: choose another --out" in refused[2]


def test_runs_whose_learning_broke_down_are_an_outcome(sweep, tmp_path):
    pytest.importorskip("ray")
    arguments = ["--agents", "dqn", *BASE, "--norms", "none", "--seeds", "3"]
    folder, trials = SweepFolder(tmp_path / "sweep"), read_sweep("", arguments)[1].trials()
    folder.record(trials)
    finish(folder, trials[0], [1, 2, 3])
    for trial in trials[1:]:
        break_down(folder, trial, [1, 2], step=250)
    code, out, err = sweep(*arguments)
    assert code == 0
    assert "3 runs of 1 kinds, 3 of them finished" in out
    assert [line.split()[-2:] for line in out.splitlines()[2:4]] == [["down", "missing"], ["2", "0"]]
    assert err == (
        "learning broke down in 2 of 3 runs, dqn-CartPole-v1-none-s1 for example, from there on counted with the "
        "lowest score of all\n"
    )


def test_a_sweep_in_which_nothing_has_a_score(sweep, tmp_path):
    pytest.importorskip("ray")
    arguments = ["--agents", "dqn", *BASE, "--norms", "none", "--seeds", "1"]
    folder, trials = SweepFolder(tmp_path / "sweep"), read_sweep("", arguments)[1].trials()
    folder.record(trials)
    break_down(folder, trials[0], [], step=50)
    code, _, err = sweep(*arguments)
    assert (code, err) == (
        1,
        "learning broke down in 1 of 1 runs, dqn-CartPole-v1-none-s0 for example, and no run has a score\n",
    )


def test_a_search_in_which_learning_breaks_down(sweep, tmp_path):
    """With some settings of `weight`, and with all of `none`: it has none to take, which is said."""
    pytest.importorskip("ray")
    arguments = ["--agents", "dqn", *BASE, "--seeds", "1", "--tune", "learning_rate=1e9,1e-3"]
    folder, trials = SweepFolder(tmp_path / "sweep"), read_sweep("", arguments)[1].trials()
    folder.record(trials)
    for trial in trials:
        if trial.norm == "weight" and trial.settings["learning_rate"] == "1e-3":
            finish(folder, trial, [1, 1, 1])
        else:
            break_down(folder, trial, [1, 1], step=250)
    code, _, err = sweep(*arguments)
    assert code == 1
    assert "dqn CartPole-v1 none has no best settings: learning broke down with all that were tried\n" in err
    assert (tmp_path / "sweep" / "best.toml").read_text().splitlines()[1:] == [
        *('agent = "dqn"', 'env = "CartPole-v1"', 'norm = "weight"', 'learning_rate = "1e-3"')
    ]


def test_a_search_whose_runs_are_too_short(sweep, tmp_path):
    """Each has ended, none has a score: which is said, and is no success."""
    pytest.importorskip("ray")
    arguments = ["--agents", "dqn", *BASE, "--norms", "none", "--seeds", "1", "--tune", "learning_rate=1e-2,1e-3"]
    folder, trials = SweepFolder(tmp_path / "sweep"), read_sweep("", arguments)[1].trials()
    folder.record(trials)
    for trial in trials:
        finish(folder, trial, [])
    code, out, err = sweep(*arguments)
    assert (code, err.splitlines()) == (
        1,
        [
            "dqn CartPole-v1 none has no best settings: none has a score from all its runs",
            "no run has a score: each ended before a game and a row of metrics did (--log-interval)",
        ],
    )
    assert "report" not in out


def test_a_value_more_keeps_the_runs_of_the_others(sweep, tmp_path):
    """Names have the settings that vary: a run that is the same takes its new name, and the report is told by what."""
    pytest.importorskip("ray")
    folder = SweepFolder(tmp_path / "sweep")
    arguments = ["--agents", "dqn", *BASE, "--norms", "none", "--seeds", "1", "--learning-rate"]
    one, several = (read_sweep("", [*arguments, *rates])[1].trials() for rates in (["1e-3"], ["1e-3", "3e-3"]))
    folder.record(one)
    finish(folder, one[0], [1, 2, 3])
    folder.record(several)
    assert [folder.finished(trial) for trial in several] == [True, False]
    assert [run.name for run in folder.runs.iterdir()] == ["dqn-CartPole-v1-none-learning_rate=1e-3-s0"]
    finish(folder, several[1], [1, 2, 3])
    code, out, err = sweep(*arguments, "1e-3", "3e-3")
    assert (code, err) == (0, "")
    assert out.endswith("report.py sweep/runs --by learning_rate compares them\n")
    out = sweep(*arguments, "1e-3")[1]
    assert "1 runs of 1 kinds, 1 of them finished" in out
    assert "report.py sweep/runs compares them, and 1 of earlier commands" in out


def test_a_scaled_sweep(sweep, measured):
    out = sweep("--paper", "--scale", 0.01, "--games", "Breakout", "--norms", "none", "--seeds", 1, "--dry-run")[1]
    line = out.splitlines()[0]
    assert "--preset paper" in line
    sizes = "--steps 500000", "--learning-starts 500", "--replay-size 10000", "--eval-interval 2500"
    for text in (*sizes, "--target-interval 400"):
        assert text in line


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--agents", "dqn", "--envs", "CartPole-v1"], "name the length of each run: --steps 50000"),
        ([*BASE], "name at least one of --agents"),
        (["--agents", "dqn", "--steps", 1], "name the tasks"),
        (["--agents", "dqn", "--steps", 1, "--evns", "CartPole-v1"], "no flag --evns: did you mean --envs?"),
        (["--agents", "dqn", "--envs", "CartPole-v1", "--stpes", 1], "no flag --stpes: did you mean --steps?"),
        (["--agents", "dqn", "--envs", "CartPole-v1", "--eval-steps", 1], "name the length of each run"),
        (["--agents", "dqm", *BASE], "there is no agent 'dqm'"),
        (["--agents", "dqn", *BASE, "--learningrate", 1], "did you mean learning_rate?"),
        (["--agents", "dqn", *BASE, "--norms", "wieght"], "dqn-CartPole-v1-wieght: "),
        (
            ["--agents", "dqn", *BASE, "--gamma", "0.9", "2"],
            "dqn-CartPole-v1-none-gamma=2: gamma must lie between 0 and 1, got 2.0",
        ),
        (["--agents", "dqn", *BASE, "--seeds", 0], "seeds must be at least 1, got 0"),
        (["--agents", "dqn", *BASE, "--first-seed", 999_999, "--seeds", 2], "those of searches"),
        (["--agents", "dqn", *BASE, "--samples", 3], "--samples is for a search by --tune"),
        (["--agents", "dqn", *BASE, "--tune", "gamma=0.9:1"], "gamma has a range: add --samples 20"),
        (["--agents", "dqn", *BASE, "--gamma", "0.9", "0.90"], "--gamma has 0.9 and 0.90, which is the same"),
        (["--agents", "dqn", *BASE, "--gamma", "0.9", "0.9"], "--gamma has 0.9 twice"),
        (
            ["--agents", "dqn", *BASE, "--norms", "none", "--batch-size", "1k", "1000"],
            "dqn-CartPole-v1-none-batch_size=1k and dqn-CartPole-v1-none-batch_size=1000 are the same: leave one of",
        ),
        (
            ["--agents", "dqn", *BASE, "--norms", "none", "--learning-starts", 10, 20, "--scale", 0.01],
            "learning_starts=10 and dqn-CartPole-v1-none-learning_starts=20 are the same: leave one of",
        ),
        (["--agents", "dqn", *BASE, "--envs", "Acrobot-v1"], "--envs is there twice: give it all its values at once"),
        (["--agents", "dqn", *BASE, "--tune", "norm=none,weight", "--samples", 2], "a sweep sets norm itself: --norms"),
        (["--agents", "dqn", *BASE, "--tune", "gama=0.9,1", "--samples", 2], "no setting 'gama': did you mean gamma?"),
        (["--agents", "dqn", *BASE, "--tune", "gamma=0.9,1", "--gamma", 1], "gamma is searched by --tune, and given"),
        (
            ["--agents", "dqn", *BASE, "--hidden", "64,64", "256,256", "--tune", "gamma=0.9,1"],
            "hidden has 2 values beside --tune, and best.toml would name none of them",
        ),
        (
            ["--agents", "dqn", "--steps", 9, "--games", "Pong", "Breakout", "ALE/Pong-v5"],
            "--games has Pong and ALE/Pong-v5, which are the same game: leave one of them out",
        ),
        (["--paper", "--atari-5"], "two sweeps: choose one"),
        (["--paper", "--scale", 2], "scale must be above 0 and at most 1"),
        (["none.toml"], "there is no file none.toml: check the path"),
        (["--agents", "dqn", "--games", "Brekout", "--steps", 9], "dqn-Brekout-none: "),
        (["--agents", "sb3-ppo", *BASE, "--hyperparams", "n_steps=16"], "--hyperparams takes NAME:VALUE"),
        (["--agents", "sb3-ppo", *BASE, "--hyperparams", "n_stps:16"], "ppo takes no n_stps (nearest: n_steps"),
        (["--agents", "sb3-ppo", *BASE, "--norms", "wieght"], "sb3-ppo-CartPole-v1-wieght: unknown norm 'wieght'"),
        (["--agents", "sb3-ppo", "--envs", "CartPol-v1", "--steps", 9], "unknown environment 'CartPol-v1': did you"),
        (["--agents", "dqn", *BASE, "--retries", -1], "must not be negative"),
    ],
)
def test_what_is_refused_in_one_line(sweep, tmp_path, arguments, said):
    code, out, err = sweep(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("sweep.py: error: ")
    assert said in err
    assert err.count("\n") == 1
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("seeds = [1, 2]", "a.toml: "),
        ("steps = 'many'", "a.toml: "),
        ("scale = 0", "a.toml: scale must be above 0"),
        ("agents = 'dqn'", "name the length"),
    ],
)
def test_wrong_kinds_in_a_file(sweep, tmp_path, line, said):
    (tmp_path / "a.toml").write_text(line)
    code, _, err = sweep("a.toml")
    assert code == 2
    assert said in err


def test_a_signal_stops_a_sweep_in_one_line(sweep, monkeypatch):
    def interrupted(*arguments):
        with StopSignal() as stop:
            command.check_stop(stop)
            signal.raise_signal(signal.SIGTERM)
            command.check_stop(stop)

    monkeypatch.setattr(command, "sweep", interrupted)
    code, out, err = sweep("--agents", "dqn", *BASE)
    assert (code, out) == (143, "")
    assert err == "stopped: each run leaves a checkpoint, and the same command goes on\n"


def test_without_ray(sweep, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    code, _, err = sweep("--agents", "dqn", *BASE)
    assert code == 2
    assert 'python -m pip install "wnrl[sweep]"' in err


def test_what_a_trial_gets(monkeypatch):
    from agents.settings.presets import machine

    pytest.importorskip("ray")
    monkeypatch.setattr("envs.atari.usable_cores", lambda: 16)
    for gpu, cpus, gpus in ((False, 1.0, 0.0), (True, 4.0, 0.25)):
        monkeypatch.setattr(machine, "has_gpu", lambda gpu=gpu: gpu)
        found = command.resources_of(SweepSettings())
        assert (found.cpus, found.gpus) == (cpus, gpus)
    assert command.resources_of(SweepSettings(cpus_per_trial=0.5, gpus_per_trial=1.0)).cpus == 0.5
