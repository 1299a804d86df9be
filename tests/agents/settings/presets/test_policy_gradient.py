import pytest

from agents.registry import AGENTS
from agents.settings.flat import from_flat, to_flat
from agents.settings.presets.policy_gradient import a2c_preset, ppo_preset, reinforce_preset
from agents.settings.run import TrainSettings

each_preset = pytest.mark.parametrize(
    ("spec", "preset"),
    [(AGENTS["ppo"], ppo_preset), (AGENTS["a2c"], a2c_preset), (AGENTS["reinforce"], reinforce_preset)],
    ids=["ppo", "a2c", "reinforce"],
)


@pytest.mark.parametrize("images", [True, False])
@each_preset
def test_a_preset_holds_fields_of_its_settings_and_they_are_allowed(spec, preset, images):
    values = preset("fast", images=images, norm="weight")
    task = {"game": "Pong"} if images else {"env": "CartPole-v1"}
    settings = to_flat(from_flat(TrainSettings[spec.settings], values, **task))
    assert {name: settings[name] for name in values} == values
    assert values["preset"] == "fast"
    assert spec.preset is preset


@each_preset
def test_pictures_and_vectors_have_presets_of_their_own(spec, preset):
    pictures, vectors = (preset("fast", images=images, norm="weight") for images in (True, False))
    assert (pictures["eval_sample"], vectors.get("eval_sample", False)) == (True, False)
    assert "reward_clip" not in pictures  # 1, as in all settings
    assert vectors["reward_clip"] == 0


@each_preset
@pytest.mark.parametrize("name", ["nature", "slow"])
def test_an_unknown_preset_is_named(spec, preset, name):
    with pytest.raises(ValueError, match=f"unknown preset '{name}': choose from fast"):
        preset(name, images=True, norm="weight")


@each_preset
def test_presets_are_not_shared(spec, preset):
    preset("fast", images=False, norm="weight")["hidden"] = (1,)
    assert preset("fast", images=False, norm="weight")["hidden"] == (64, 64)
