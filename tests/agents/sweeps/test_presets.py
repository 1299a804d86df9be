"""agents.sweeps.presets"""

import pytest

from agents.commands.sweep.command_line import settings_of_run
from agents.settings.presets.dqn.paper import paper_by_norm
from agents.sweeps.plan import Plan, seed_range
from agents.sweeps.presets import PAPER_SCORES, SWEEPS, scaled
from agents.sweeps.trials import combinations
from envs import game_names, human_normalized


def trials_of(name):
    entries = dict(SWEEPS[name])
    return Plan(**{**entries, "seeds": seed_range(0, entries["seeds"]), "envs": ()}).trials()


def test_the_papers_runs():
    assert {trial.task for trial in trials_of("paper")} == PAPER_SCORES.keys()
    for trial in combinations(trials_of("paper")):
        settings = settings_of_run(trial)
        own = paper_by_norm(trial.norm)
        assert {name: settings[name] for name in own} == own
        assert (settings["optimizer"], settings["batch_size"], settings["steps"]) == ("adamax", 64, 50_000_000)
        assert (settings["eval_interval"], settings["eval_steps"]) == (250_000, 125_000)


def test_five_games_of_atari():
    trials = trials_of("atari-5")
    assert {trial.task for trial in trials} <= {*game_names()}
    assert all(human_normalized(trial.task, 0.0) is not None for trial in trials)
    settings = settings_of_run(trials[0])
    assert (settings["sticky_actions"], settings["life_loss"], settings["full_action_set"]) == (0.25, False, True)


@pytest.mark.parametrize(("scale", "expected"), [(0.5, (500, 5_000, 0, 5_000)), (1e-4, (100, 1, 0, 1_000))])
def test_scaled(scale, expected):
    settings = {"log_interval": 1_000, "steps": 10_000, "eval_interval": 0, "replay_size": 10_000, "batch_size": 32}
    found = scaled(settings, scale)
    assert (found["log_interval"], found["steps"], found.get("eval_interval", 0), found["replay_size"]) == expected
    assert "batch_size" not in found
    assert scaled({"replay_size": 600}, 0.1) == {"replay_size": 600}
