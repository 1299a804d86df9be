"""agents.settings.presets.pqn: the published numbers, and the share of a run over which epsilon falls."""

import pytest

from agents.settings.flat import flat_defaults, from_flat
from agents.settings.pqn import PQNSettings
from agents.settings.presets.pqn import pqn_preset
from agents.settings.run import TrainSettings

# github.com/mttga/purejaxql, config/alg/pqn_atari.yaml; radam stands in pqn_atari.py
PUBLISHED = {
    "num_envs": 128,
    "rollout_length": 32,
    "epsilon_start": 1.0,
    "epsilon_end": 0.001,
    "epochs": 2,
    "minibatches": 32,
    "learning_rate": 0.00025,
    "max_grad_norm": 10.0,
    "gamma": 0.99,
    "q_lambda": 0.65,
    "optimizer": "radam",
    "beta1": 0.9,
    "optimizer_eps": 1e-8,
    "reward_clip": 1.0,
    "life_loss": True,
    "sticky_actions": 0.0,
    "noop_max": 30,
    "hidden": (512,),
    "steps": 50_000_000,
    "learning_rate_schedule": "constant",  # LR_LINEAR_DECAY: False
    "eval_epsilon": 0.0,  # EPS_TEST
}


def values(images=True, **flags):
    """Every value of a run: the preset's, or else the dataclass's own default."""
    return {
        **flat_defaults(TrainSettings[PQNSettings]),
        **pqn_preset("fast", images=images, norm="weight", flags=flags),
    }


def test_atari_is_as_published():
    found = values()
    assert {name: found[name] for name in PUBLISHED} == PUBLISHED


@pytest.mark.parametrize("images", [True, False])
def test_every_value_is_of_a_field_and_in_its_range(images):
    task = {"game": "Pong"} if images else {"env": "Chain"}
    from_flat(TrainSettings[PQNSettings], pqn_preset("fast", images=images, norm="none"), **task)


@pytest.mark.parametrize(("images", "share"), [(True, 0.1), (False, 0.2)])
def test_epsilon_falls_over_a_share_of_the_run(images, share):
    own = values(images)
    assert own["epsilon_steps"] == share * own["steps"]
    assert values(images, steps="5000")["epsilon_steps"] == share * 5_000
    assert values(images, steps="5000", schedule_steps="2000")["epsilon_steps"] == share * 2_000
    assert values(images, steps="1_000_000")["epsilon_steps"] == share * 1_000_000


def test_a_length_that_is_no_number_is_left_to_the_command_line():
    assert values(steps="many") == values()


def test_an_unknown_preset_is_refused():
    with pytest.raises(ValueError, match="unknown preset 'nature': choose from fast"):
        pqn_preset("nature", images=True, norm="weight")
