import importlib
import inspect

import pytest

from agents.learner.network import make_network
from agents.registry import AGENTS
from agents.runtime.distributed import SPLIT
from agents.settings.flat import flat_defaults, from_flat
from agents.settings.run import TrainSettings
from agents.training.trainer import Trainer
from envs import Chain
from wnrl.normalizers.folding import fold

each_agent = pytest.mark.parametrize("spec", AGENTS.values(), ids=lambda spec: spec.name)


def settings(spec, **changes):
    """Those of the `fast` preset for a task of vectors."""
    values = {**spec.preset("fast", images=False, norm="weight", flags={}), "hidden": (8,), **changes}
    return from_flat(TrainSettings[spec.settings], values, env="Chain", device="cpu")


@each_agent
def test_names_are_their_own(spec):
    assert AGENTS[spec.name] is spec


@each_agent
def test_the_builder_is_a_function_of_run_settings_own_settings_and_environment(spec):
    module, name = spec.builder.split(":")
    build = getattr(importlib.import_module(module), name)
    assert build.__module__ == module
    assert [*inspect.signature(build).parameters] == ["run", "settings", "environment"]


@each_agent
@pytest.mark.parametrize("images", [True, False])
@pytest.mark.parametrize("norm", ["weight", "none"])
def test_every_value_of_a_preset_is_a_setting_in_its_range(spec, images, norm):
    values = spec.preset("fast", images=images, norm=norm, flags={})
    kind = TrainSettings[spec.settings]
    assert values.keys() <= flat_defaults(kind).keys()
    from_flat(kind, {**({"game": "Pong"} if images else {"env": "Chain"}), **values})


@each_agent
def test_the_description_is_of_the_agents_network_and_it_plays(spec):
    environment = Chain(4, length=4)
    numbers = settings(spec, num_envs=4)
    agent = spec.build(numbers.run, numbers.agent, environment)
    network = fold(make_network(agent.learner.description))
    network.load_state_dict(fold(agent.learner.network).state_dict())
    assert agent.evaluation_options.keys() <= {"epsilon", "sample"}
    trainer = Trainer(agent, environment, seed=0)
    trainer.run(20)
    assert trainer.steps >= 20


@each_agent
def test_an_unknown_preset_is_refused(spec):
    with pytest.raises(ValueError, match="unknown preset 'slow': choose from fast"):
        spec.preset("slow", images=False, norm="weight", flags={})


def test_torchrun_runs_all_agents_but_the_one_that_learns_from_whole_games():
    assert {spec.name for spec in AGENTS.values() if not spec.supports_torchrun} == {"reinforce"}
    splits = {spec.name: set(SPLIT) & flat_defaults(TrainSettings[spec.settings]).keys() for spec in AGENTS.values()}
    assert splits["dqn"] == splits["sac"] == set(SPLIT)
    assert splits["ppo"] == splits["a2c"] == splits["pqn"] == {"num_envs"}
