from dataclasses import fields

import pytest

from agents.dqn import DQNSettings
from agents.presets import dqn_preset
from agents.settings import RunSettings

# Salimans & Kingma 2016, section 5.4; below the line the code base that it adapted.
PAPER = {
    "optimizer": "adamax",
    "beta1": 0.5,
    "batch_size": 64,
    "units": "paper",
    "steps": 50_000_000,  # 200 epochs of 250,000
    # ---
    "num_envs": 1,
    "train_interval": 4,
    "replay_size": 1_000_000,
    "learning_starts": 50_000,
    "epsilon_start": 1.0,
    "epsilon_end": 0.1,
    "epsilon_steps": 1_000_000,
    "eval_epsilon": 0.05,
    "eval_steps": 125_000,
    "eval_interval": 250_000,
    "target_interval": 40_000,  # 10,000 updates
    "tau": 1.0,
    "gamma": 0.99,
    "n_step": 1,
    "double": False,
    "huber_delta": 1.0,
    "loss_reduction": "sum",
    "max_grad_norm": 0.0,
    "reward_clip": 1.0,
    "life_loss": True,
    "noop_max": 30,
    "sticky_actions": 0.0,
    "full_action_set": False,
    "hidden": (512,),
    "precision": "float32",
}

# Mnih et al. 2015, extended data table 1 and methods.
NATURE = {
    "norm": "none",
    "optimizer": "rmsprop",
    "learning_rate": 0.00025,
    "batch_size": 32,
    "replay_size": 1_000_000,
    "target_interval": 40_000,
    "gamma": 0.99,
    "train_interval": 4,
    "epsilon_start": 1.0,
    "epsilon_end": 0.1,
    "epsilon_steps": 1_000_000,
    "learning_starts": 50_000,
    "noop_max": 30,
    "steps": 50_000_000,
    "eval_epsilon": 0.05,
    "huber_delta": 1.0,
    "reward_clip": 1.0,
    "life_loss": True,
    "double": False,
    "n_step": 1,
}


def values(name, **options):
    """Every value of a run with that preset: the preset's, or else the dataclasses' own defaults."""
    defaults = {field.name: field.default for kind in (RunSettings, DQNSettings) for field in fields(kind)}
    return {**defaults, **dqn_preset(name, **{"images": True, "norm": "weight", **options})}


@pytest.mark.parametrize(
    ("norm", "by_norm"),
    [("weight", {"learning_rate": 0.0003, "init": "data"}), ("none", {"learning_rate": 0.0001, "init": "he"})],
)
def test_paper_preset_to_the_letter(norm, by_norm):
    expected = {**PAPER, **by_norm, "norm": norm, "preset": "paper"}
    found = values("paper", norm=norm)
    assert {name: found[name] for name in expected} == expected


def test_nature_preset_to_the_letter():
    expected = {**NATURE, "preset": "nature"}
    found = values("nature")
    assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize("options", [("fast", True), ("fast", False), ("nature", True), ("paper", True)])
@pytest.mark.parametrize("norm", ["weight", "none"])
def test_every_value_is_of_a_field_and_in_its_range(options, norm):
    name, images = options
    preset = dqn_preset(name, images=images, norm=norm)
    run_fields, agent_fields = ({field.name for field in fields(kind)} for kind in (RunSettings, DQNSettings))
    assert preset.keys() <= run_fields | agent_fields
    task = {"game": "Pong"} if images else {"env": "Chain"}
    RunSettings(**task, **{key: value for key, value in preset.items() if key in run_fields})
    DQNSettings(**{key: value for key, value in preset.items() if key in agent_fields})


def test_fast_leaves_the_norm_to_the_user():
    assert all("norm" not in dqn_preset("fast", images=images, norm="none") for images in (True, False))


def test_a_preset_is_not_shared():
    dqn_preset("fast", images=True, norm="weight")["learning_rate"] = 7
    assert dqn_preset("fast", images=True, norm="weight")["learning_rate"] != 7


def test_an_unknown_preset_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="'slow': choose from fast, nature, paper"):
        dqn_preset("slow", images=True, norm="weight")


@pytest.mark.parametrize("name", ["nature", "paper"])
def test_the_papers_presets_are_for_atari(name):
    with pytest.raises(ValueError, match=f"preset '{name}' is defined for Atari games"):
        dqn_preset(name, images=False, norm="weight")
