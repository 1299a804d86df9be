"""That both sides of a race are the same but for who wrote them."""

import sys

import pytest

from agents.benchmarks.races import RACES, RaceTask, our_side, our_trainer, sb3_environment, sb3_model, sb3_side
from tests.products import mostly_slow

CARTPOLE = RaceTask(None, "CartPole-v1", "cpu")


def size(network):
    """Numbers that a network learns."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)


@pytest.mark.parametrize("name", mostly_slow(RACES, "dqn", "ppo"))
def test_networks_for_images_are_of_one_size(name):
    task, race = RaceTask("Pong", None, "cpu"), RACES[name]
    trainer, model = our_trainer(race, task, "none"), sb3_model(race, task)
    policy = model.policy
    theirs = next((getattr(policy, part) for part in ("q_net", "quantile_net") if hasattr(policy, part)), policy)
    assert size(trainer.agent.learner.network) == size(theirs)
    assert trainer.environment.num_envs == model.n_envs
    trainer.environment.close()
    model.env.close()


@pytest.mark.parametrize("name", ["dqn", "ppo", "a2c"])
def test_both_make_as_many_updates_in_as_many_steps(name):
    trainer, model = our_trainer(RACES[name], CARTPOLE, "weight"), sb3_model(RACES[name], CARTPOLE)
    trainer.run(1_024)
    model.learn(1_024)
    updates = model._n_updates * (4 if name == "ppo" else 1)  # theirs are the epochs, of 4 minibatches each
    assert trainer.agent.learner.num_updates == pytest.approx(updates, rel=0.1)


def test_sides_say_how_many_steps_they_made():
    race = RACES["a2c"]
    for advance in (our_side(our_trainer(race, CARTPOLE, "weight")), sb3_side(race, CARTPOLE)):
        assert 160 <= advance(160) < 160 + 5 * race.num_envs


def test_a_race_without_sb3_contrib_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sb3_contrib", None)
    with pytest.raises(ValueError, match=r"QRDQN needs sb3-contrib: pip install"):
        sb3_model(RACES["qrdqn"], CARTPOLE)


def test_both_sides_take_a_game_in_any_spelling():
    environment = sb3_environment(RaceTask("space_invaders", None), 1)
    assert environment.get_attr("spec")[0].id == "ALE/SpaceInvaders-v5"
    environment.close()
