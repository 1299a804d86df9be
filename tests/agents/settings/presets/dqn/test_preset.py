"""agents.settings.presets.dqn.preset: the presets by name, and how flags change their values."""

import pytest

from agents.registry import AGENTS
from agents.settings.dqn import DQNSettings
from agents.settings.flat import flat_defaults, from_flat
from agents.settings.presets.dqn.preset import ATARI, VECTOR, dqn_preset
from agents.settings.run import TrainSettings
from tests.agents.settings.presets.dqn_values import dqn_values

PRESETS = [*((name, True) for name in ATARI), *((name, False) for name in VECTOR)]
OF_PAPERS = sorted(ATARI.keys() - VECTOR.keys())


@pytest.mark.parametrize("options", PRESETS, ids=str)
@pytest.mark.parametrize("norm", ["weight", "none"])
def test_every_value_is_of_a_field_and_in_its_range(options, norm):
    name, images = options
    preset = dqn_preset(name, images=images, norm=norm)
    assert preset.keys() <= flat_defaults(TrainSettings[DQNSettings]).keys()
    from_flat(TrainSettings[DQNSettings], preset, **({"game": "Pong"} if images else {"env": "Chain"}))


@pytest.mark.parametrize("options", PRESETS, ids=str)
@pytest.mark.parametrize(
    "flags",
    [
        {"noisy": True},
        {"noisy": False},
        {"munchausen": True},
        {"munchausen": True, "noisy": True, "dueling": True},
        {"distribution": "none"},
        {"distribution": "categorical"},
        {"distribution": "quantile"},
        {"distribution": "implicit"},
        {"prioritized": False},
        {"prioritized": True, "double": True},
        {"dueling": False},
        {"munchausen": False},
        {"munchausen": False, "double": True},
    ],
)
def test_every_part_can_be_put_on_and_off_by_its_flag_alone(options, flags):
    """What a flag makes meaningless is not left behind by the preset."""
    name, images = options
    if flags == {"prioritized": True, "double": True} and name in ("munchausen", "m-iqn", "btr"):
        pytest.skip("Munchausen does not combine with double")
    arguments = {key if value else f"no_{key}": value if isinstance(value, str) else "" for key, value in flags.items()}
    preset = dqn_preset(name, images=images, norm="weight", flags=arguments)
    task = {"game": "Pong"} if images else {"env": "Chain"}
    from_flat(TrainSettings[DQNSettings], {**preset, **task})  # the command line's defaults, before its flags
    settings = from_flat(TrainSettings[DQNSettings], {**preset, **task, **flags}).agent
    rates = settings.exploration.epsilon_start, settings.exploration.epsilon_end
    assert settings.noisy != (max(rates) > 0 and not settings.exploration.epsilon_off)


def test_a_flag_changes_the_defaults_of_others_only_where_they_depend_on_it():
    assert dqn_values("nature", flags={"no_noisy": ""}) == dqn_values("nature")
    assert dqn_values("rainbow", flags={"distribution": "categorical"}) == dqn_values("rainbow")
    assert dqn_values("rainbow", images=False, flags={"distribution": "categorical"})["v_max"] == 100
    assert dqn_values("rainbow", images=False, flags={"distribution": "quantile"})["v_max"] == 10
    plain, fast = dqn_values("rainbow", flags={"no_noisy": ""}), dqn_values("fast")
    assert (plain["epsilon_start"], plain["epsilon_end"]) == (fast["epsilon_start"], fast["epsilon_end"])


def test_fast_leaves_the_norm_to_the_user():
    assert all("norm" not in dqn_preset("fast", images=images, norm="none") for images in (True, False))


def test_a_preset_is_not_shared():
    dqn_preset("fast", images=True, norm="weight")["learning_rate"] = 7
    assert dqn_preset("fast", images=True, norm="weight")["learning_rate"] != 7


def test_an_unknown_preset_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="'slow': choose from fast, nature, paper, double, dueling"):
        dqn_preset("slow", images=True, norm="weight")


@pytest.mark.parametrize("name", OF_PAPERS)
def test_the_papers_presets_are_for_atari(name):
    with pytest.raises(ValueError, match=f"preset '{name}' is defined for Atari games"):
        dqn_preset(name, images=False, norm="weight")


@pytest.mark.parametrize(
    ("flags", "paper"),
    [
        ({"distribution": "categorical"}, "c51"),
        ({"distribution": "quantile"}, "qr-dqn"),
        ({"distribution": "implicit"}, "iqn"),
        ({"munchausen": ""}, "munchausen"),
        ({"munchausen": "", "distribution": "implicit"}, "m-iqn"),
    ],
)
@pytest.mark.parametrize("images", [True, False])
def test_a_method_in_the_fast_preset_has_the_bootstrap_and_step_size_of_its_paper(flags, paper, images):
    found, fast, source = (
        dqn_values("fast", images=images, flags=flags),
        dqn_values("fast", images=images),
        dqn_values(paper),
    )
    assert (found["n_step"], found["double"]) == (1, False) == (source["n_step"], source["double"])
    assert (fast["n_step"], fast["double"]) == (3, True)
    step_size = source if images else fast  # on vectors the task decides about it
    for name in ("learning_rate", "optimizer_eps"):
        assert found[name] == step_size[name]
    others = fast.keys() - {
        "n_step",
        "double",
        "learning_rate",
        "optimizer_eps",
        "distribution",
        "atoms",
        "v_min",
        "v_max",
    }
    assert {name: found[name] for name in others} == {name: fast[name] for name in others}


def test_other_flags_leave_the_fast_preset_as_it_is():
    for part in ("dueling", "prioritized", "double"):
        assert dqn_values("fast", flags={part: ""}) == dqn_values("fast")


def test_another_normalizer_or_torso_takes_the_place_of_btrs():
    assert dqn_values("btr", norm="weight", flags={"norm": "weight"})["norm_layers"] == "auto"
    assert dqn_values("btr", norm="spectral", flags={"norm": "spectral"})["norm_layers"] == "residual"
    found = dqn_values("btr", flags={"torso": "nature"})
    assert (found["impala_width"], found["impala_pool"], found["norm_layers"]) == (1, 0, "auto")


def test_games_that_are_asked_for_are_played():
    """Presets of papers count steps, before which the number of games would go unheard."""
    for name in ("nature", "rainbow", "m-iqn"):
        assert dqn_values(name)["eval_steps"] == 125_000
        assert dqn_values(name, flags={"eval_episodes": "50"})["eval_steps"] == 0
        assert dqn_values(name, flags={"eval_episodes": "50", "eval_steps": "7"})["eval_steps"] == 0


def test_atoms_span_returns_of_rewards_that_are_not_clipped():
    flags = {"distribution": "categorical"}
    bounds = {images: dqn_values("fast", images=images, flags=flags) for images in (True, False)}
    assert (bounds[True]["v_min"], bounds[True]["v_max"], bounds[True]["atoms"]) == (-10, 10, 51)
    assert (bounds[False]["v_min"], bounds[False]["v_max"], bounds[False]["atoms"]) == (-100, 100, 101)
    own_images = AGENTS["dqn"].defaults({**flags, "env": "CarRacing-v3"}, observation="image").agent
    assert (own_images.v_min, own_images.v_max, own_images.atoms, own_images.learner.reward_clip) == (-100, 100, 101, 0)
    assert own_images.learner.learning_rate == bounds[True]["learning_rate"]
