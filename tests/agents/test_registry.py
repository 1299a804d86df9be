from dataclasses import fields

import pytest

from agents.learner.network import make_network
from agents.registry import AGENTS
from agents.training.trainer import Trainer
from envs import Chain
from wnrl.normalizers.folding import fold

KINDS = list(AGENTS.values())


def settings(kind, **changes):
    """Those of the `fast` preset for a task of vectors."""
    values = {**kind.preset("fast", images=False, norm="weight", flags={}), "hidden": (8,), **changes}
    return kind.settings(env="Chain", device="cpu", **values)


@pytest.mark.parametrize("kind", KINDS)
def test_names_are_their_own(kind):
    assert AGENTS[kind.name] is kind


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("images", [True, False])
@pytest.mark.parametrize("norm", ["weight", "none"])
def test_every_value_of_a_preset_is_a_setting_in_its_range(kind, images, norm):
    values = kind.preset("fast", images=images, norm=norm, flags={})
    assert values.keys() <= {field.name for field in fields(kind.settings)}
    kind.settings(**({"game": "Pong"} if images else {"env": "Chain"}), **values)


@pytest.mark.parametrize("kind", KINDS)
def test_the_description_is_of_the_agents_network_and_it_plays(kind):
    environment = Chain(4, length=4)
    numbers = settings(kind, num_envs=4)
    agent = kind.make(numbers, numbers, environment)
    network = fold(make_network(kind.describe(numbers, numbers, environment)))
    network.load_state_dict(fold(agent.learner.network).state_dict())
    assert kind.play(numbers).keys() <= {"epsilon", "sample"}
    trainer = Trainer(agent, environment, seed=0)
    trainer.run(20)
    assert trainer.steps >= 20


@pytest.mark.parametrize("kind", KINDS)
def test_an_unknown_preset_is_refused(kind):
    with pytest.raises(ValueError, match="unknown preset 'slow': choose from fast"):
        kind.preset("slow", images=False, norm="weight", flags={})
