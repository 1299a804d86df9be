"""agents.reports.event_runs"""

import math
from pathlib import Path

import numpy as np
import pytest

from agents.reports.event_files import Events
from agents.reports.event_runs import event_run, folder_pattern
from agents.reports.run import Points


def events(tag="rollout/ep_rew_mean", values=(1.0, 2.0), parameters=None):
    text = "|param|value|\n|-|-|\n" + "\n".join(f"|{name}|{value}|" for name, value in (parameters or {}).items())
    pairs = [(10.0 * (i + 1), value) for i, value in enumerate(values)]
    return Events({tag: pairs}, {"hyperparameters/text_summary": text} if parameters else {}, Points.of(pairs))


def test_a_log_of_stable_baselines3_is_named_by_its_folders():
    run = event_run(Path("logs/Acrobot-v1/PPO_2"), events(), None)
    assert (run.agent, run.env, run.norm, run.seed) == ("PPO", "Acrobot-v1", "unknown", None)
    run = event_run(Path("logs/DQN_1"), events(), None)
    assert (run.agent, run.env) == ("DQN", "logs")
    run = event_run(Path("/DQN_1"), events(), None)
    assert (run.agent, run.env) == ("DQN", "DQN_1")


def test_folders_outside_unicode_give_names_that_can_be_drawn():
    run = event_run(Path("logs/Task\udcff/PPO\udcfe_2"), events(), None)
    assert (run.name, run.agent, run.env) == ("logs/Task\udcff/PPO\udcfe_2", "PPO\\udcfe", "Task\\udcff")


def test_a_log_of_cleanrl_is_named_by_its_table():
    table = {"exp_name": "ppo_atari", "env_id": "BreakoutNoFrameskip-v4", "seed": 5, "lr": "0.1|x", "norm": "layer"}
    run = event_run(Path("runs/a"), events("charts/episodic_return", parameters=table), None)
    assert (run.agent, run.env, run.norm, run.seed) == ("ppo_atari", "Breakout", "layer", 5)
    assert run.value("lr") == "0.1|x"


def test_the_pattern_of_folders_names_everything():
    pattern = folder_pattern("{norm}/{env}/{agent}_lr{rate}_{seed}")
    run = event_run(Path("logs/weight/Pendulum-v1/sac_lr0.1_12"), events(), pattern)
    assert (run.norm, run.env, run.agent, run.seed) == ("weight", "Pendulum-v1", "sac", 12)
    assert run.value("rate") == "0.1"
    with pytest.raises(ValueError, match="does not match --folders"):
        event_run(Path("logs/sac_1"), events(), pattern)
    with pytest.raises(ValueError, match=r"the seed of .* is 'x', which is no whole number"):
        event_run(Path("logs/a-x"), events(), folder_pattern("{agent}-{seed}"))


@pytest.mark.parametrize("text", ["", "agent", "{agent}/{agent}", "{}", "{agent", "{1}"])
def test_a_wrong_pattern(text):
    with pytest.raises(ValueError, match="--folders takes"):
        folder_pattern(text)


def test_the_returns_of_games_become_the_mean_of_the_last_100():
    values = np.random.default_rng(0).normal(size=250)
    run = event_run(Path("runs/a"), events("charts/episodic_return", values), None)
    found = run.metrics["rollout/ep_rew_mean"].values
    assert found == pytest.approx([values[max(0, i - 99) : i + 1].mean() for i in range(250)])


def test_all_games_that_end_at_a_step_count():
    pairs = [(800.0 * k, score) for k in range(1, 51) for score in (0.0, 10.0, math.nan, 20.0, 300.0)]
    read = Events({"charts/episodic_return": pairs[::-1]}, {}, Points.of([]))
    steps, means = event_run(Path("runs/a"), read, None).metrics["rollout/ep_rew_mean"]
    assert steps.tolist() == [800 * k for k in range(1, 51)]
    assert means == pytest.approx([82.5] * 50)


def test_a_log_whose_returns_are_not_finite_has_no_mean():
    run = event_run(Path("runs/a"), events("charts/episodic_return", [math.nan, math.inf]), None)
    assert run.metrics == {}
