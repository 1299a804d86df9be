import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.commands.parser import RESUMABLE, fail, parse, read
from agents.registry import AGENTS
from agents.settings.dqn import DQNSettings
from agents.settings.flat import flat_defaults, flat_types, from_flat, replace, to_flat, to_json
from agents.settings.run import AUTO, RunSettings, TrainSettings
from agents.training.agent_spec import AgentSpec
from agents.training.run_directory import RunDirectory
from tests.agents.settings.any_settings import any_settings, default_settings, kind_of


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
    if "compile" in flags or flags.get("kind") == "b":
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
        (["--compile"], 100),
        (["--no-compile"], 2),
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
    settings = parsed("--env", "Chain", "--rate", 0.25, "--hidden", 3, 4, "--kind", "b", "--compile")
    assert settings.agent == ToySettings(rate=0.25, kind="b")
    assert (settings.run.network.hidden, settings.run.compile) == ((3, 4), True)
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
        (["--env", "Chain", "--seed", -1], "seed must not be negative, got -1"),
        (["--env", "Chain", "--hidden", 0], "hidden takes widths of at least 1, got (0,)"),
        (["--game", "Pong", "--noop-max", -1], "noop_max must not be negative, got -1"),
    ],
)
def test_the_dataclass_that_refuses_a_value_is_not_named(arguments, said):
    with pytest.raises(ValueError, match="got") as refusal:
        parsed(*arguments)
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
        parsed("--env", "Chain", "--help-all")
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


@pytest.fixture
def pqn_run(tmp_path):
    settings = parse(AGENTS["pqn"], "A program.", ["--env", "Chain", "--run-dir", str(tmp_path / "pqn")])
    settings = replace(settings, eval_steps=500)
    return RunDirectory.create(settings.run.run_dir, {"agent": "pqn", "settings": to_json(settings)}).path


def test_with_another_length_the_end_of_epsilon_is_another(pqn_run):
    def epsilon_steps(*flags):
        settings = parse(AGENTS["pqn"], "A program.", ["--config", str(pqn_run / "config.json"), *flags])
        return settings.agent.exploration.epsilon_steps

    assert epsilon_steps() == 20_000
    assert epsilon_steps("--steps", "1M") == 200_000
    assert epsilon_steps("--steps", "1M", "--schedule-steps", "10_000") == 2_000
    assert epsilon_steps("--steps", "1M", "--epsilon-steps", "7") == 7


def test_games_that_are_asked_for_are_played_where_a_run_counted_steps(pqn_run):
    def evaluation(source, *flags):
        run = parse(AGENTS["pqn"], "A program.", [source, str(pqn_run), *flags]).run
        return run.eval_steps, run.eval_episodes

    assert evaluation("--config") == (500, 10)
    assert evaluation("--config", "--eval-episodes", "30") == (0, 30)
    assert evaluation("--resume", "--eval-episodes", "30") == (0, 30)
    assert evaluation("--resume", "--eval-episodes", "30", "--eval-steps", "0") == (0, 30)
    with pytest.raises(ValueError, match="--eval-episodes counts games and --eval-steps steps: leave one of them out"):
        evaluation("--resume", "--eval-episodes", "30", "--eval-steps", "9")


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


@pytest.mark.parametrize(("flag", "value"), [("--compile", True), ("--no-compile", False), ("--compile=None", None)])
def test_whether_updates_are_compiled_may_change(run_dir, flag, value):
    assert parsed("--resume", run_dir, flag).run.compile is value


@pytest.mark.parametrize("value", [1, 2, None])
def test_how_many_groups_there_are_may_change(run_dir, value):
    run = parsed("--resume", run_dir, f"--env-groups={value}", "--vectorization", "async").run
    assert run.env_groups == value


def test_another_runs_groups_are_not_taken_over(run_dir):
    path = run_dir / "config.json"
    config = json.loads(path.read_text())
    config["settings"] |= {"env_groups": 2, "vectorization": "async", "num_envs": 4}
    path.write_text(json.dumps(config))
    assert parsed("--config", path, "--vectorization", "sync", "--num-envs", 1).run.env_groups is None
    with pytest.raises(ValueError, match="add --vectorization async, or --env-groups None"):
        parsed("--resume", run_dir, "--vectorization", "sync")
    assert parsed("--resume", run_dir, "--vectorization", "sync", "--env-groups", "None").run.env_groups is None


@pytest.mark.parametrize(
    "flags", [["--env-kwargs", "a=1", "--env-kwargs", "b=2"], ["--env_kwargs=a=1", "--env_kwargs=b=2"]]
)
def test_arguments_after_a_second_flag_do_not_replace_those_after_the_first(flags):
    with pytest.raises(
        ValueError, match=r"^--env.kwargs is given more than once: give it once, with all of its values"
    ):
        parse(AGENTS["ppo"], "d", ["--env", "Chain", *flags])
    settings = parse(AGENTS["ppo"], "d", ["--env", "Chain", "--env-kwargs", "length=7", "slip=0.1"])
    assert settings.run.task.env_options == {"length": 7, "slip": 0.1}


@pytest.mark.parametrize("following", [[], ["--seed", 5]])
@pytest.mark.parametrize("flag", ["--resume", "--config", "--preset"])
def test_a_flag_that_is_read_before_the_others_needs_a_value(flag, following):
    with pytest.raises(ValueError, match=rf"^{flag} needs a value: \w.+"):
        parsed("--env", "Chain", flag, *following)


def test_all_that_may_change_is_a_setting():
    assert flat_defaults(TrainSettings[DQNSettings]).keys() >= RESUMABLE


def edit(run_dir, change):
    """Let `change` see what `config.json` holds, and write it back."""
    file = run_dir / "config.json"
    config = json.loads(file.read_text())
    change(config)
    file.write_text(json.dumps(config))


def test_a_run_of_a_later_version_is_refused_with_what_differs_and_what_made_it(run_dir):
    edit(run_dir, lambda config: config["settings"].update(pace=1))
    edit(run_dir, lambda config: config["starts"][-1].update(git_commit="abc123", versions={"wnrl": "7.0"}))
    made = r"It was made by wnrl 7.0, git commit abc123: use that$"
    with pytest.raises(ValueError, match=rf"cannot be continued here: this version has no settings pace. {made}"):
        parsed("--resume", run_dir)
    edit(run_dir, lambda config: config.update(format=99))
    with pytest.raises(ValueError, match=rf"its settings are of format 99, later than this version's 1. {made}"):
        parsed("--resume", run_dir)


@pytest.mark.parametrize(("norm", "refused"), [("weight", False), ("batch", True), ("mean-batch", True)])
def test_a_run_that_learned_with_other_batch_statistics_than_it_acted_with_is_refused(tmp_path, norm, refused):
    """In `config.json` of earlier versions `batch_statistics` is not named, nor is the format."""
    spec = AGENTS["ppo"]
    base = parse(spec, "", ["--env", "Chain", "--norm", norm])
    stored = {name: value for name, value in to_json(base).items() if name != "batch_statistics"}
    path = RunDirectory.create(tmp_path / "run", {"agent": "ppo", "settings": stored}).path
    edit(path, lambda config: config.pop("format"))
    if refused:
        with pytest.raises(ValueError, match="learned with other batch statistics than it acted with"):
            parse(spec, "", ["--resume", str(path)])
    else:
        assert parse(spec, "", ["--resume", str(path)]).agent == base.agent


def test_a_run_of_another_agent_names_its_command(tmp_path, monkeypatch):
    path = RunDirectory.create(tmp_path / "a run", {"agent": "dqn", "settings": {}}).path
    monkeypatch.setattr("sys.argv", ["scripts/train_ppo.py"])
    with pytest.raises(ValueError, match=r"a run was made by train_dqn.py: ") as refusal:
        parse(AGENTS["ppo"], "", ["--resume", str(path)])
    assert str(refusal.value).endswith(f"continue with python scripts/train_dqn.py --resume '{path}'")
    edit(path, lambda config: config.update(agent="ppo", library="stable-baselines3"))
    with pytest.raises(ValueError, match=r"was made by train_sb3.py, whose runs cannot be continued"):
        parse(AGENTS["ppo"], "", ["--resume", str(path)])


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--noisy"], "--noisy cannot change in a resumed run: it is False, True was given"),  # not: epsilon
        (["--game", "Pong"], "--game cannot change in a resumed run: it learns Chain, Pong was given"),
        (["--double", "--munchausen"], "--munchausen cannot change in a resumed run: it is False, True was given"),
        (["--no-double", "--munchausen"], "--double cannot change in a resumed run: it is True, False was given"),
        (["--env", "Chain", "--norm", "none", "--steps", 5], "--norm cannot change in a resumed run: it is weight"),
        (["--seed", 0, "--steps", "x"], "--steps takes a whole number"),
        (["--steps", 0, "--seed", 0], "steps must be at least 1, got 0"),
    ],
)
def test_what_cannot_change_is_said_before_what_does_not_fit_together(tmp_path, flags, said):
    spec = AGENTS["dqn"]
    settings = parse(spec, "", ["--env", "Chain"])
    path = RunDirectory.create(tmp_path / "run", {"agent": "dqn", "settings": to_json(settings)}).path
    with pytest.raises(ValueError, match=said):
        parse(spec, "", ["--resume", str(path), *map(str, flags)])


def test_resume_auto_begins_where_there_is_no_checkpoint_and_goes_on_where_there_is_one(tmp_path):
    path = tmp_path / "run"
    command = ["--env", "Chain", "--seed", 4, "--hidden", 8, 8, "--steps", "1k", "--run-dir", path, "--resume", "auto"]
    begun = parsed(*command)
    assert (begun.run.resume, begun.run.resumes, begun.run.run_dir) == (AUTO, False, path)
    directory = RunDirectory.create(path, {"agent": "toy", "settings": to_json(begun)})
    assert parsed(*command) == begun  # there is no checkpoint yet
    (directory.checkpoints / "000000000010.safetensors").touch()
    gone_on = parsed(*command)
    assert (gone_on.run.resume, gone_on.run.resumes) == (path, True)
    assert gone_on == replace(begun, resume=path, schedule_steps=1_000)
    with pytest.raises(ValueError, match="--seed cannot change in a resumed run: it is 4, 5 was given"):
        parsed(*command, "--seed", 5)


def test_resume_auto_needs_a_folder():
    with pytest.raises(ValueError, match=r"--resume auto needs --run-dir DIR"):
        parsed("--env", "Chain", "--resume", "auto")


def test_the_settings_of_another_run(run_dir):
    again = parsed("--config", run_dir / "config.json", "--seed", 1, "--rate", 0.25)
    settings = parsed("--env", "Chain", "--hidden", 8, 8, "--seed", 1, "--rate", 0.25)
    assert again == replace(settings, config=run_dir / "config.json")
    assert parsed("--config", run_dir).run.seed == 4  # of the folder too
    assert parsed("--config", run_dir, "--game", "Pong").run.task.name == "Pong"


def test_the_settings_of_a_longer_run_keep_its_schedules_and_steps_move_those_of_another(run_dir):
    assert parsed("--config", run_dir, "--steps", 50).run.schedule_end == 50
    RunDirectory(run_dir).go_on(5, {**RunDirectory(run_dir).config["settings"], "steps": 90, "schedule_steps": 60})
    assert parsed("--config", run_dir).run.schedule_end == 60
    RunDirectory(run_dir).go_on(5, {**RunDirectory(run_dir).config["settings"], "schedule_steps": 90})
    assert parsed("--config", run_dir, "--steps", 50).run.schedule_end == 50


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--preset", "paper"], "--config has every setting, so that --preset would change none"),
        (["--protocol", "none"], "--config has every setting, so that --protocol would change none"),
    ],
)
def test_a_preset_beside_the_settings_of_another_run_is_refused(run_dir, flags, said):
    with pytest.raises(ValueError, match=said):
        parsed("--config", run_dir, *flags)


def test_a_file_of_settings_may_have_any_name_and_place(run_dir, tmp_path):
    file = (run_dir / "config.json").rename(tmp_path / "mine.json")
    assert parsed("--config", file, "--seed", 3).run.network.hidden == (8, 8)
    for text, said in (
        ("nowhere/config.json", r"there is no file .*config.json"),
        (tmp_path, r"there is no file .*config.json"),
    ):
        with pytest.raises(ValueError, match=said):
            parsed("--config", text)
    file.write_text("[1]")
    with pytest.raises(ValueError, match=r"mine.json is damaged: it holds no object"):
        parsed("--config", file)


def test_a_file_of_settings_with_a_size_far_above_what_is_used_is_refused_unless_trusted(run_dir):
    file = run_dir / "config.json"
    config = json.loads(file.read_text())
    config["settings"]["num_envs"] = 10**9
    file.write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"config\.json has num_envs 1,000,000,000: add --trust if you know why"):
        parsed("--config", file)
    assert parsed("--config", file, "--num-envs", 2).run.num_envs == 2
    assert parsed("--config", file, "--trust").run.num_envs == 10**9


def test_a_folder_that_is_no_run_is_refused():
    with pytest.raises(ValueError, match="is not the folder of a run"):
        parsed("--resume", Path("nowhere"))


def test_fail_is_one_line_and_code_2(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["/a/b/program.py"])
    with pytest.raises(SystemExit) as end:
        fail(ValueError("two\n  lines"))
    assert end.value.code == 2
    assert capsys.readouterr() == ("", "program.py: error: two lines\n")


def as_text(name, value, kind):
    """A flag and its values as somebody types them."""
    flag = "--" + name.replace("_", "-")
    if flat_types(kind)[name] is bool:  # a switch, unless it may be None too
        return [flag if value else "--no-" + flag[2:]]
    return [flag, *map(str, value if isinstance(value, tuple) else [value])]


@pytest.mark.parametrize("agent", ["dqn", "ppo"])
@settings(max_examples=6, deadline=None)
@given(data=st.data())
def test_a_command_line_says_all_that_settings_are(agent, data):
    base, drawn = default_settings(agent), data.draw(any_settings(agent))
    before = to_flat(base)
    changed = {name: value for name, value in to_flat(drawn).items() if value != before[name]}
    argv = [text for name, value in changed.items() for text in as_text(name, value, kind_of(agent))]
    assert read(kind_of(agent), "A program.", argv, base) == drawn
