import pytest
import torch

from agents.dqn.build import describe_dqn
from agents.learner.network import make_network
from agents.settings.dqn import DQNSettings
from agents.settings.flat import flat_defaults, from_flat
from agents.settings.presets.dqn import dqn_preset
from agents.settings.run import RunSettings, TrainSettings
from envs import Chain
from tests.agents.dqn_family import NOISY
from wnrl.networks.noisy import NoisyLinear

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


# Hessel et al. 2018, table 1; below the line what its text and table 4 say beside it.
RAINBOW = {
    "learning_starts": 20_000,  # 80K frames
    "learning_rate": 0.0000625,
    "epsilon_start": 0.0,
    "epsilon_end": 0.0,
    "noisy": True,
    "target_interval": 8_000,  # 32K frames
    "optimizer": "adam",
    "optimizer_eps": 1.5e-4,
    "prioritized": True,
    "priority_exponent": 0.5,
    "priority_beta": 0.4,  # to 1.0
    "n_step": 3,
    "distribution": "categorical",
    "atoms": 51,
    "v_min": -10.0,
    "v_max": 10.0,
    # ---
    "double": True,
    "dueling": True,
    "munchausen": False,
    "gamma": 0.99,
    "batch_size": 32,
    "train_interval": 4,
    "replay_size": 1_000_000,
    "tau": 1.0,
    "hidden": (512,),
    "reward_clip": 1.0,
    "life_loss": True,
    "max_frames": 108_000,
    "loss_reduction": "mean",
}


def values(name, **options):
    """Every value of a run with that preset: the preset's, or else the dataclasses' own defaults."""
    return {
        **flat_defaults(TrainSettings[DQNSettings]),
        **dqn_preset(name, **{"images": True, "norm": "weight", **options}),
    }


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


def test_rainbow_preset_to_the_letter():
    expected = {**RAINBOW, "preset": "rainbow"}
    found = values("rainbow")
    assert {name: found[name] for name in expected} == expected


def test_the_noise_of_rainbow_begins_where_the_paper_says():
    network = make_network(describe_dqn(from_flat(RunSettings, env="Chain"), from_flat(DQNSettings, **NOISY), Chain(1)))
    (layer,) = (module for module in network.modules() if isinstance(module, NoisyLinear) and module.in_features == 5)
    torch.testing.assert_close(layer.sigma_weight, torch.full_like(layer.sigma_weight, 0.5 / 5**0.5))  # sigma 0.5


PRESETS = [("fast", True), ("fast", False), ("nature", True), ("paper", True), ("rainbow", True), ("rainbow", False)]


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
    ],
)
def test_every_part_can_be_put_on_and_off_by_its_flag_alone(options, flags):
    """What a flag makes meaningless is not left behind by the preset."""
    name, images = options
    arguments = {key if value else f"no_{key}": value if isinstance(value, str) else "" for key, value in flags.items()}
    preset = dqn_preset(name, images=images, norm="weight", flags=arguments)
    task = {"game": "Pong"} if images else {"env": "Chain"}
    settings = from_flat(TrainSettings[DQNSettings], {**preset, **task, **flags}).agent
    assert settings.noisy != (max(settings.exploration.epsilon_start, settings.exploration.epsilon_end) > 0)


def test_a_flag_changes_the_defaults_of_others_only_where_they_depend_on_it():
    assert values("nature", flags={"no_noisy": ""}) == values("nature")
    assert values("rainbow", flags={"distribution": "categorical"}) == values("rainbow")
    assert values("rainbow", images=False, flags={"distribution": "categorical"})["v_max"] == 100
    assert values("rainbow", images=False, flags={"distribution": "quantile"})["v_max"] == 10
    plain, fast = values("rainbow", flags={"no_noisy": ""}), values("fast")
    assert (plain["epsilon_start"], plain["epsilon_end"]) == (fast["epsilon_start"], fast["epsilon_end"])


def test_fast_leaves_the_norm_to_the_user():
    assert all("norm" not in dqn_preset("fast", images=images, norm="none") for images in (True, False))


def test_a_preset_is_not_shared():
    dqn_preset("fast", images=True, norm="weight")["learning_rate"] = 7
    assert dqn_preset("fast", images=True, norm="weight")["learning_rate"] != 7


def test_an_unknown_preset_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="'slow': choose from fast, nature, paper, rainbow"):
        dqn_preset("slow", images=True, norm="weight")


@pytest.mark.parametrize("name", ["nature", "paper"])
def test_the_papers_presets_are_for_atari(name):
    with pytest.raises(ValueError, match=f"preset '{name}' is defined for Atari games"):
        dqn_preset(name, images=False, norm="weight")
