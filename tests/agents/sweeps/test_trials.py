"""agents.sweeps.trials"""

import pytest

from agents.commands.parser import parse
from agents.commands.sb3.command import parse_sb3
from agents.registry import AGENTS
from agents.settings.flat import to_flat
from agents.sweeps.trials import as_flag, combinations, setting_names, settings_of, takes_several
from tests.agents.sweeps.made_up import a_trial


def test_the_command_line_is_one_that_the_agent_takes(tmp_path):
    values = {"learning_rate": 1e-3, "hidden": (32, 16), "double": False, "compile": True, "schedule_steps": None}
    trial = a_trial(settings=values)
    assert trial.arguments[:2] == ["train", "dqn"]
    read = to_flat(parse(AGENTS["dqn"], "", trial.arguments[2:]))
    expected = {**values, "env": "CartPole-v1", "game": None, "norm": "weight", "seed": 0, "steps": 300}
    assert {name: read[name] for name in expected} == expected
    assert trial.arguments_in(tmp_path)[-4:] == ["--run-dir", str(tmp_path), "--resume", "auto"]
    game = a_trial(task="Pong", game=True).arguments
    assert game[game.index("--game") + 1] == "Pong"
    assert "--env" not in game


def test_an_algorithm_of_stable_baselines3(tmp_path):
    trial = a_trial("sb3-qrdqn", settings={"hyperparams": ("learning_rate:1e-3", "gamma:0.9")})
    read = to_flat(parse_sb3("", trial.arguments[1:]))
    assert (read["algo"], read["hyperparams"]) == ("qrdqn", ("learning_rate:1e-3", "gamma:0.9"))
    assert not trial.resumable
    assert "--resume" not in trial.arguments_in(tmp_path)


def test_names():
    trial = a_trial(task="my_module:Maze-v0", settings={"hidden": (8, 8), "tau": 0.5}, varied=("hidden",), seed=3)
    assert trial.group == "dqn-my_module:Maze-v0-weight-hidden=8,8"
    assert trial.name == "dqn-my_module_Maze-v0-weight-hidden=8_8-s3"
    trials = [a_trial(seed=seed, norm=norm) for seed in range(2) for norm in ("none", "weight")]
    assert [one.name for one in combinations(trials)] == ["dqn-CartPole-v1-none-s0", "dqn-CartPole-v1-weight-s0"]


def test_long_names_are_cut_and_told_apart():
    """Of many settings that a search draws, each with 17 digits."""
    names = [f"setting_of_a_long_name_{number}" for number in range(9)]
    values = {name: 0.12345678901234567 for name in names}
    trials = [a_trial(settings={**values, names[-1]: last}, varied=(*names,)) for last in (0.5, 0.25)]
    one, other = (trial.name for trial in trials)
    assert max(len(one), len(other)) < 250
    assert one != other
    assert one[:220] == other[:220] == trials[0].group[:220]
    assert one.endswith("-s0")
    ordinary = a_trial(settings={"a": "x" * 195}, varied=("a",))  # the longest that is whole
    assert ordinary.name == f"{ordinary.group}-s0"


@pytest.mark.parametrize(
    ("value", "words"),
    [(True, ["--a-b"]), (False, ["--no-a-b"]), (None, ["--a-b", "None"]), ([1, 2], ["--a-b", "1", "2"])],
)
def test_flags(value, words):
    assert as_flag("a_b", value) == words


def test_settings():
    assert "epochs" in setting_names("ppo")
    assert "epochs" not in setting_names("dqn")
    assert not {"seed", "run_dir", "env", "algo"} & (setting_names("dqn") | setting_names("sb3-ppo"))
    assert takes_several("dqn", "hidden")
    assert not takes_several("dqn", "learning_rate")
    with pytest.raises(ValueError, match="no agent 'dqm': choose from dqn, ppo"):
        settings_of("dqm")
