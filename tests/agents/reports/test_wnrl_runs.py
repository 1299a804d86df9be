"""agents.reports.wnrl_runs"""

import json

import pytest

from agents.reports.wnrl_runs import EVALUATIONS, read_wnrl_run
from agents.settings.earlier import EARLIER
from agents.training import evaluation_table
from tests.agents.reports.hand_made import curve, write_run


def test_a_run_is_read(tmp_path):
    folder = write_run(tmp_path / "run", curve([5, 7.5]), agent="ppo", norm="weight", seed=3, game="Pong", env=None)
    notes = []
    run = read_wnrl_run(folder, notes)
    assert (run.agent, run.env, run.norm, run.seed, notes) == ("ppo", "Pong", "weight", 3, [])
    assert run.metrics["rollout/ep_rew_mean"].steps.tolist() == [100, 200]
    assert run.metrics["rollout/ep_rew_mean"].values.tolist() == [5, 7.5]
    assert run.clock.values.tolist() == [1, 2]
    assert run.value("learning_rate") == "0.001"
    assert run.value("version of torch") == "2.8"
    assert run.value("commit of wnrl") == "0123456789ab"
    assert run.value("trained on") == "a cpu"


@pytest.mark.parametrize("game", ["Pong", "pong", "PongNoFrameskip-v4", "ALE/Pong-v5"])
def test_each_spelling_of_a_game_is_one_environment(tmp_path, game):
    assert read_wnrl_run(write_run(tmp_path / "run", curve([5]), game=game, env=None), []).env == "Pong"


def test_a_game_that_is_not_known_keeps_its_name(tmp_path):
    assert read_wnrl_run(write_run(tmp_path / "run", curve([5]), game="Tusk", env=None), []).env == "Tusk"


def test_a_setting_that_came_later_has_the_value_that_it_had_before(tmp_path):
    run = read_wnrl_run(write_run(tmp_path / "run", curve([5])), [])
    assert EARLIER["env_groups"] == 1
    assert run.value("env_groups") == "1"
    assert "env_groups" not in run.settings


def test_schedules_end_with_the_steps_where_nothing_else_is_set(tmp_path):
    """As in runs from before there was such a setting; stable-baselines3's algorithms have none."""
    for settings, end in (({}, "900"), ({"schedule_steps": None}, "900"), ({"schedule_steps": 500}, "500")):
        run = read_wnrl_run(write_run(tmp_path / "run", curve([5]), steps=900, **settings), [])
        assert run.value("schedule_steps") == end


@pytest.mark.parametrize(
    ("resumed", "times", "expected"),
    [
        ([20], [5, 10, 12, 17], [5, 10, 22, 27]),
        ([30, 20], [5, 10, 12, 17], [5, 10, 22, 27]),  # once more from an earlier checkpoint
        ([10, 10, 35], [5, 7, 9, 3], [5, 12, 14, 17]),
        ([], [5, 10, 2, 3], [5, 10, 12, 13]),  # the start is not in the configuration
    ],
)
def test_wall_time_goes_on_after_a_resume(tmp_path, resumed, times, expected):
    steps = (10, 20, 30, 40)
    rows = [{"step": s, "time/time_elapsed": t, "rollout/ep_rew_mean": 1} for s, t in zip(steps, times, strict=True)]
    assert read_wnrl_run(write_run(tmp_path / "run", rows, resumed=resumed), []).clock.values.tolist() == expected


def test_the_table_of_games_gives_evaluations(tmp_path):
    rows = [{"step": 100, "eval/mean_reward": 40}, {"step": 200, "eval/mean_reward": -1}]
    games = [(200, 10), (200, 20), (300, 7)]
    points = read_wnrl_run(write_run(tmp_path / "run", rows, games), []).metrics["eval/mean_reward"]
    assert points.steps.tolist() == [100, 200, 300]
    assert points.values.tolist() == [40, 15, 7]
    assert evaluation_table.NAME == EVALUATIONS


def test_damaged_lines_are_left_out_and_noted(tmp_path):
    folder = write_run(tmp_path / "run", curve([5, 6]))
    with (folder / "progress.csv").open("a") as file:
        file.write("300,7")
    notes = []
    assert read_wnrl_run(folder, notes).metrics["rollout/ep_rew_mean"].steps.tolist() == [100, 200]
    assert notes == [f"{folder}/progress.csv: 1 damaged lines are left out"]


def test_an_algorithm_of_stable_baselines3(tmp_path):
    folder = write_run(tmp_path / "run", curve([5]), hyperparams=["n_steps:8"])
    config = json.loads((folder / "config.json").read_text())
    config |= {"library": "stable-baselines3", "hyperparams": {"n_steps": 8}}
    (folder / "config.json").write_text(json.dumps(config))
    run = read_wnrl_run(folder, [])
    assert run.agent == "sb3-dqn"
    assert run.value("hyperparams.n_steps") == "8"
    assert run.before == {}


def test_where_there_is_the_speed_alone_it_gives_the_wall_time(tmp_path):
    rows = [{"step": 100, "time/fps": 50, "rollout/ep_rew_mean": 1}, {"step": 300, "time/fps": 60}, {"step": 400}]
    clock = read_wnrl_run(write_run(tmp_path / "run", rows), []).clock
    assert (clock.steps.tolist(), clock.values.tolist()) == ([100, 300], [2, 5])


def test_names_outside_unicode_are_escaped(tmp_path):
    run = read_wnrl_run(write_run(tmp_path / "run", curve([5]), agent="a\udcff", env="b\udcff", norm="c\udcff"), [])
    assert (run.agent, run.env, run.norm) == ("a\\udcff", "b\\udcff", "c\\udcff")


def test_what_is_no_run_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"agent": "dqn"}')
    with pytest.raises(ValueError, match="names no agent and settings"):
        read_wnrl_run(tmp_path, [])


def test_where_learning_broke_down(tmp_path):
    run = read_wnrl_run(write_run(tmp_path / "a", curve([5]), broke_down=150, steps=900), [])
    assert (run.broke_down, run.planned) == (150, 900)
    run = read_wnrl_run(write_run(tmp_path / "b", curve([5])), [])
    assert (run.broke_down, run.planned) == (None, 300)
    for steps, planned in [(1000.0, 1000), ("many", 0), (-1, 0), (10**400, 0), (float("inf"), 0)]:
        assert read_wnrl_run(write_run(tmp_path / "c", curve([5]), steps=steps), []).planned == planned
