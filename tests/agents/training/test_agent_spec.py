import sys

import pytest

from agents.registry import AGENTS
from agents.settings.flat import from_flat, replace, to_flat
from agents.settings.keywords import as_flags
from agents.settings.task import OF_GAMES, TaskSettings
from agents.training.agent_spec import AgentSpec

BUILDER = """
def build_toy(run, settings, environment):
    return run, settings, environment
"""


def test_the_builder_is_imported_when_it_is_called(tmp_path, monkeypatch):
    (tmp_path / "toy_builder.py").write_text(BUILDER)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "toy_builder", raising=False)
    spec = AgentSpec("toy", dict, None, "toy_builder:build_toy")
    assert "toy_builder" not in sys.modules
    assert spec.build("run", "settings", "environment") == ("run", "settings", "environment")
    assert not spec.supports_torchrun
    monkeypatch.delitem(sys.modules, "toy_builder")


@pytest.mark.parametrize("spec", AGENTS.values(), ids=AGENTS)
def test_images_of_other_environments_have_the_numbers_of_games(spec):
    game, image, vector = (to_flat(spec.defaults({}, observation=kind)) for kind in ("game", "image", "vector"))
    changed = {name for name, value in image.items() if value != game[name]}
    assert changed <= {*OF_GAMES, "reward_clip"}
    assert (game["reward_clip"], image["reward_clip"]) == (1.0, 0.0)
    assert all(image[name] == getattr(TaskSettings, name) for name in OF_GAMES)
    assert {"hidden", "steps"} <= {name for name, value in vector.items() if value != image[name]}
    from_flat(TaskSettings, {name: image[name] for name in OF_GAMES}, env="CarRacing-v3")


@pytest.mark.parametrize("spec", AGENTS.values(), ids=AGENTS)
def test_small_images_have_the_width_of_minatar(spec):
    hidden = {kind: spec.defaults({}, observation=kind).run.network.hidden for kind in ("game", "image", "small image")}
    assert hidden == {"game": (512,), "image": (512,), "small image": (128,)}
    assert spec.defaults({"torso": "impala"}, observation="small image").run.network.hidden == (512,)
    assert spec.defaults({"torso": "minatar"}, observation="image").run.network.hidden == (128,)


@pytest.mark.parametrize(
    ("agent", "observation", "preset"),
    [
        *((agent, kind, "fast") for agent in AGENTS for kind in ("vector", "game")),
        *(("dqn", "game", preset) for preset in ("rainbow", "btr", "nature")),
    ],
)
def test_a_flag_that_names_its_own_default_changes_nothing(agent, observation, preset):
    def given(**values):
        return to_flat(AGENTS[agent].defaults(as_flags({"preset": preset, **values}), observation=observation))

    default = given()
    games_instead_of_steps = {"eval_episodes"} if default["eval_steps"] else set()
    assert {name for name, value in default.items() if given(**{name: value}) != default} == games_instead_of_steps


@pytest.mark.parametrize(
    ("agent", "flags", "observation", "name", "ends"),
    [
        ("pqn", {}, "vector", "epsilon_steps", (20_000, 200_000)),
        ("pqn", {"steps": "100000"}, "game", "epsilon_steps", (10_000, 100_000)),
        ("dqn", {"preset": "btr", "steps": "100000"}, "game", "epsilon_off", (50_000, 500_000)),
    ],
)
def test_what_a_preset_makes_of_a_length_follows_it(agent, flags, observation, name, ends):
    settings = replace(AGENTS[agent].defaults(flags, observation=observation), steps=100_000)
    longer = AGENTS[agent].for_length(settings, 1_000_000)
    assert (to_flat(settings)[name], to_flat(longer)[name]) == ends
    assert {key for key, value in to_flat(longer).items() if value != to_flat(settings)[key]} == {name}
    own = replace(settings, **{name: 777})
    assert AGENTS[agent].for_length(own, 1_000_000) == own


def test_rainbow_on_images_has_the_support_of_unclipped_returns():
    game, image = (
        to_flat(AGENTS["dqn"].defaults({"preset": "rainbow"}, observation=kind)) for kind in ("game", "image")
    )
    assert [(values["atoms"], values["v_min"], values["v_max"]) for values in (game, image)] == [
        (51, -10.0, 10.0),
        (101, -100.0, 100.0),
    ]
    assert image["learning_rate"] == game["learning_rate"]


def test_presets_of_games_are_for_games():
    for observation in ("image", "small image", "vector"):
        with pytest.raises(ValueError, match="preset 'nature' is defined for Atari games: use it with --game"):
            AGENTS["dqn"].defaults({"preset": "nature"}, observation=observation)
