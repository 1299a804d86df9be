from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from agents.commands.parser import RESUMABLE, fail, parse, read
from agents.registry import AGENTS
from agents.settings.dqn import DQNSettings
from agents.settings.flat import flat_defaults, from_flat, replace, to_json
from agents.settings.run import RunSettings, TrainSettings
from agents.training.agent_spec import AgentSpec
from agents.training.run_directory import RunDirectory


@dataclass(frozen=True)
class ToySettings:
    """An agent with one number."""

    rate: float = 0.5
    """A number."""
    kind: Literal["a", "b"] = "a"
    """A choice."""


def preset(name, *, images, norm, flags):
    """Numbers that tell what was asked for."""
    if name not in ("fast", "paper"):
        raise ValueError(f"unknown preset {name!r}")
    if "life_loss" in flags or flags.get("kind") == "b":
        return {"preset": name, "rate": 100.0}
    return {"preset": name, "rate": (1.0 if images else 2.0) + (10.0 if norm == "none" else 0.0), "hidden": (7,)}


TOY = AgentSpec("toy", ToySettings, preset, "nowhere:build_toy")


def parsed(*arguments):
    return parse(TOY, "A program.", [str(argument) for argument in arguments])


@pytest.fixture
def run_dir(tmp_path):
    settings = parsed("--env", "Chain", "--run-dir", tmp_path / "run", "--seed", 4, "--hidden", 8, 8)
    return RunDirectory.create(settings.run.run_dir, {"agent": "toy", "settings": to_json(settings)}).path


def test_defaults_come_from_the_preset_the_task_and_the_norm():
    assert parsed("--game", "Pong").agent.rate == 1
    assert parsed("--env", "Chain").agent.rate == 2
    assert parsed("--env=Chain", "--norm=none").agent.rate == 12
    assert parsed("--env", "Chain", "--preset", "paper").run.preset == "paper"


@pytest.mark.parametrize(
    ("arguments", "rate"),
    [
        (["--life-loss"], 100),
        (["--life_loss"], 100),
        (["--no-life-loss"], 2),
        (["--kind", "b"], 100),
        (["--kind=b"], 100),
        (["--kind", "a"], 2),
        (["--hidden", 3, 4, "--kind", "b"], 100),
    ],
)
def test_a_flag_may_change_the_defaults_of_others(arguments, rate):
    assert parsed("--env", "Chain", *arguments).agent.rate == rate
    assert parsed("--env", "Chain", *arguments, "--rate", 7).agent.rate == 7


def test_flags_come_before_the_preset():
    settings = parsed("--env", "Chain", "--rate", 0.25, "--hidden", 3, 4, "--kind", "b", "--no-life-loss")
    assert settings.agent == ToySettings(rate=0.25, kind="b")
    assert (settings.run.network.hidden, settings.run.task.life_loss) == ((3, 4), False)
    assert isinstance(settings, TrainSettings)


def test_what_no_preset_names_has_the_dataclasss_default():
    assert parsed("--env", "Chain").run.num_envs == from_flat(RunSettings, env="Chain").num_envs
    assert parsed("--env", "Chain").run.network.hidden == (7,)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--env", "Chain", "--rate", "x"], "--rate.*'x'"),
        (["--env", "Chain", "--kind", "c"], "--kind.*c"),
        (["--env", "Chain", "--seed", "-1"], "seed must not be negative, got -1"),
        (["--env", "Chain", "--foo", "1"], "--foo"),
        (["--env", "Chain", "extra"], "extra"),
        ([], "one of the two"),
        (["--env", "Chain", "--preset", "other"], "unknown preset 'other'"),
    ],
)
def test_a_wrong_argument_is_a_value_error_in_words(arguments, said, capsys):
    with pytest.raises(ValueError, match=said) as refusal:
        parsed(*arguments)
    assert capsys.readouterr() == ("", "")
    assert not set("│╭╮╰╯─\n") & set(str(refusal.value))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--seed", -1], "seed must not be negative, got -1"),
        (["--hidden", 0], "hidden takes widths of at least 1, got (0,)"),
        (["--noop-max", -1], "noop_max must not be negative, got -1"),
    ],
)
def test_the_dataclass_that_refuses_a_value_is_not_named(arguments, said):
    with pytest.raises(ValueError, match="got") as refusal:
        parsed("--env", "Chain", *arguments)
    assert str(refusal.value) == said


def test_a_nested_dataclass_that_refuses_a_value_is_not_named():
    spec = AGENTS["ppo"]
    with pytest.raises(ValueError, match=r"^value_coef must not be negative, got -1"):
        parse(spec, "A program.", ["--env", "Chain", "--value-coef", "-1"])


def test_an_empty_preset_is_none_of_the_presets_and_an_empty_folder_the_current_one(run_dir, monkeypatch):
    with pytest.raises(ValueError, match="unknown preset ''"):
        parsed("--env", "Chain", "--preset=")
    monkeypatch.chdir(run_dir)
    assert parsed("--resume=", "--steps", 77).run.seed == 4


def test_help_is_printed_and_leaves_with_0(capsys):
    with pytest.raises(SystemExit) as end:
        parsed("--env", "Chain", "--help")
    assert end.value.code == 0
    assert "A number." in capsys.readouterr().out


def test_read_takes_a_dataclass_as_it_is():
    @dataclass(frozen=True)
    class Plain:
        count: int = 3

    assert read(Plain, "A program.", []).count == 3
    assert read(Plain, "A program.", ["--count", "5"]).count == 5
    with pytest.raises(ValueError, match="--count"):
        read(Plain, "A program.", ["--count", "x"])


def test_a_resumed_runs_own_settings_are_the_defaults(run_dir):
    settings = parsed("--resume", run_dir, "--steps", 77, "--eval-interval", 5)
    stored = parsed("--env", "Chain", "--seed", 4, "--hidden", 8, 8, "--steps", 77, "--eval-interval", 5)
    assert settings == replace(stored, run_dir=run_dir, resume=run_dir, schedule_steps=10_000_000)
    longer = parsed("--resume", run_dir, "--steps", 77, "--schedule-steps", 77)
    assert longer.run.schedule_end == longer.run.steps == 77


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--seed", 5], "--seed cannot change in a resumed run: it is 4, 5 was given"),
        (["--rate", 0.125], "--rate cannot change"),
        (["--hidden", 8], r"--hidden cannot change in a resumed run: it is \[8, 8\], \[8\] was given"),
        (["--norm", "none"], "--norm cannot change in a resumed run: it is weight, none was given"),
        (["--num-envs", 2], "--num-envs cannot change"),
        (["--preset", "paper"], "--preset cannot change"),
        (["--run-dir", "other"], "--run-dir cannot change"),
        (["--env", "CartPole-v1"], "--env cannot change"),
    ],
)
def test_what_the_learner_has_seen_cannot_change(run_dir, flags, said):
    with pytest.raises(ValueError, match=said):
        parsed("--resume", run_dir, *flags)


def test_the_same_value_again_is_no_change(run_dir):
    assert parsed("--resume", run_dir, "--seed", 4, "--hidden", 8, 8).run.network.hidden == (8, 8)


def test_all_that_may_change_is_a_setting():
    assert flat_defaults(TrainSettings[DQNSettings]).keys() >= RESUMABLE


def test_a_run_of_another_version_is_refused_with_what_differs(run_dir):
    file = run_dir / "config.json"
    file.write_text(file.read_text().replace('"rate"', '"pace"'))
    with pytest.raises(ValueError, match=r"another agent or version: its settings differ in \['pace', 'rate'\]"):
        parsed("--resume", run_dir)


@pytest.mark.parametrize(("norm", "refused"), [("weight", False), ("batch", True), ("mean-batch", True)])
def test_a_run_that_learned_with_other_batch_statistics_than_it_acted_with_is_refused(tmp_path, norm, refused):
    """In `config.json` of earlier versions `batch_statistics` is not named."""
    spec = AGENTS["ppo"]
    base = parse(spec, "", ["--env", "Chain", "--norm", norm])
    stored = {name: value for name, value in to_json(base).items() if name != "batch_statistics"}
    path = RunDirectory.create(tmp_path / "run", {"agent": "ppo", "settings": stored}).path
    if refused:
        with pytest.raises(ValueError, match="learned with other batch statistics than it acted with"):
            parse(spec, "", ["--resume", str(path)])
    else:
        assert parse(spec, "", ["--resume", str(path)]).agent == base.agent


def test_a_folder_that_is_no_run_is_refused():
    with pytest.raises(ValueError, match="is not the folder of a run"):
        parsed("--resume", Path("nowhere"))


def test_fail_is_one_line_and_code_2(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["/a/b/program.py"])
    with pytest.raises(SystemExit) as end:
        fail(ValueError("two\n  lines"))
    assert end.value.code == 2
    assert capsys.readouterr() == ("", "program.py: error: two lines\n")
