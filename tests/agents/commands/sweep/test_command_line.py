"""agents.commands.sweep.command_line"""

import pytest

from agents.commands.sweep.command_line import read_sweep, split

BASE = ["--envs", "CartPole-v1", "--steps", "300"]
TOML = """
agents = ["dqn"]
envs = ["CartPole-v1"]
seeds = 2
steps = 300
[axes]
gamma = [0.9, 0.99]
[[override]]
norm = "weight"
learning_rate = 1e-4
"""


def test_axes_are_split_from_the_sweeps_own_flags():
    own, axes = split(
        ["a.toml", "--agents", "dqn", "ppo", "--gamma", "0.9", "1", "--no-double", "--grey", "--dry-run", "--lr=2", "3"]
    )
    assert own == ["a.toml", "--agents", "dqn", "ppo", "--dry-run"]
    assert axes == {"gamma": ("0.9", "1"), "double": (False,), "grey": (True,), "lr": ("2", "3")}
    assert split(["--double", "--no-double"])[1] == {"double": (True, False)}


def test_a_file_and_flags_beside_it(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text(TOML)
    settings, plan = read_sweep("", [str(path), "--seeds", "3", "--first-seed", "7", "--tau", "0.5"])
    assert (settings.agents, plan.seeds, plan.steps) == (("dqn",), (7, 8, 9), 300)
    assert plan.axes == {"gamma": (0.9, 0.99), "tau": ("0.5",)}
    found = {(trial.norm, trial.settings.get("learning_rate")) for trial in plan.trials()}
    assert found == {("none", None), ("weight", 1e-4)}
    again = tmp_path / "best.toml"
    again.write_text('[[override]]\nnorm = "none"\ntau = 0.25\n')
    more = read_sweep("", [str(path), "--overrides", str(again)])[1]
    assert len(more.overrides) == 2


def test_overrides_of_runs_that_the_command_line_leaves_out(tmp_path):
    path = tmp_path / "a.toml"
    lines = ['agents = ["dqn", "ppo"]', 'envs = ["CartPole-v1", "Acrobot-v1"]', "steps = 300"]
    lines += ['[[override]]\nagent = "dqn"\ngamma = 0.5', '[[override]]\nenv = "Acrobot-v1"\ngamma = 0.6']
    path.write_text("\n".join(lines))
    plan = read_sweep("", [str(path), "--agents", "ppo", "--envs", "CartPole-v1"])[1]
    assert plan.overrides == ()
    assert {str(trial.settings) for trial in plan.trials()} == {"{}"}
    assert len(read_sweep("", [str(path)])[1].overrides) == 2
    other = read_sweep("", [str(path), "--envs", "CartPole-v1", "Pendulum-v1"])[1]
    assert [trial.settings.get("gamma") for trial in other.trials() if trial.agent == "dqn"] == [0.5] * 20
    path.write_text("\n".join(lines[1:-2] + lines[-1:]))  # without agents
    assert read_sweep("", [str(path), "--agents", "ppo", "--envs", "CartPole-v1"])[1].overrides == ()
    path.write_text("\n".join([*lines, '[[override]]\nenv = "CratPole-v1"\ngamma = 0.6']))
    with pytest.raises(ValueError, match="no run has env CratPole-v1, which an override is for"):
        read_sweep("", [str(path), "--agents", "ppo"])


def test_an_empty_list_in_a_file_is_no_default(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text(f"norms = []\n{TOML}")
    with pytest.raises(ValueError, match="name at least one of --norms"):
        read_sweep("", [str(path)])
    path.write_text(f"games = []\ntune = []\n{TOML}")
    assert read_sweep("", [str(path)])[1].envs == ("CartPole-v1",)


def test_the_presets():
    settings, plan = read_sweep("", ["--paper", "--norms", "weight"])
    assert (plan.games, plan.norms, settings.steps, plan.axes) == (
        ("Breakout", "Enduro", "Seaquest", "SpaceInvaders"),
        ("weight",),
        50_000_000,
        {"preset": ("paper",)},
    )
    assert read_sweep("", ["--atari-5", "--seeds", "1"])[1].axes == {"protocol": ("machado",)}


def test_the_seeds_of_searches_are_those_of_no_comparison():
    plan = read_sweep("", ["--agents", "dqn", *BASE, "--tune", "gamma=0.9,0.99", "--seeds", "2"])[1]
    assert plan.seeds == (1_000_000, 1_000_001)
    assert plan.axes == {"gamma": ("0.9", "0.99")}
    drawn = read_sweep("", ["--agents", "dqn", *BASE, "--tune", "gamma=0.9:0.99", "--samples", "3"])[1]
    assert drawn.axes == {}


def test_a_file_of_overrides_may_be_of_more_runs_but_not_of_none(tmp_path, capsys):
    best = tmp_path / "best.toml"
    best.write_text(
        '[[override]]\nagent = "dqn"\nnorm = "layer"\ngamma = 0.5\n[[override]]\nnorm = "weight"\ngamma = 0.6\n'
    )
    words = ["--agents", "dqn", *BASE, "--overrides", str(best)]
    plan = read_sweep("", words)[1]
    assert {(trial.norm, trial.settings.get("gamma")) for trial in plan.trials()} == {("none", None), ("weight", 0.6)}
    line = f"{best}: no run has agent dqn and norm layer, which an override is for: left out\n"
    assert capsys.readouterr() == ("", line)
    assert len(read_sweep("", [*words, "--norms", "weight", "layer"])[1].overrides) == 2
    assert capsys.readouterr() == ("", "")
    with pytest.raises(ValueError, match="no run has agent dqn and norm layer, which an override is for"):
        read_sweep("", [*words, "--norms", "none"])


def test_a_file_of_overrides_has_some_and_what_else_it_has_is_named(tmp_path, capsys):
    path = tmp_path / "more.toml"
    words = ["--agents", "dqn", *BASE, "--overrides", str(path)]
    path.write_text("seeds = 3\n")
    with pytest.raises(ValueError, match=r"more.toml has no \[\[override\]\], which --overrides takes"):
        read_sweep("", words)
    path.write_text('seeds = 3\n[axes]\ntau = 0.5\n[[override]]\nnorm = "weight"\ngamma = 0.5\n')
    assert read_sweep("", words)[1].axes == {}
    assert capsys.readouterr().err == f"{path}: --overrides takes no seeds, tau under [axes]: left out\n"


@pytest.mark.parametrize("tuned", [["gamma=0.9:0.99", "--samples", "3"], ["gamma=0.9"]])
def test_an_override_sets_nothing_that_is_searched(tmp_path, tuned):
    path = tmp_path / "more.toml"
    path.write_text('[[override]]\nnorm = "weight"\ngamma = 0.5\n')
    with pytest.raises(ValueError, match="gamma is searched by --tune, and in an override: leave one of them out"):
        read_sweep("", ["--agents", "dqn", *BASE, "--overrides", str(path), "--tune", *tuned])
