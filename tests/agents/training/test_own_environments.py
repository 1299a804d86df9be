"""Every agent starts, learns and plays in environments as users write them."""

import gymnasium
import pytest
import torch

from agents.commands.parser import parse
from agents.registry import AGENTS
from agents.settings.flat import replace, to_flat
from agents.training.run import Run
from agents.training.task import Task
from tests.envs.own import Camera, Own, Paddle, Parts
from wnrl.networks.torsos import MLP, MinAtarCNN, NatureCNN

FEW = {  # updates come soon; each agent takes those that it has
    "steps": 96,
    "num_envs": 4,
    "rollout_length": 8,
    "minibatches": 2,
    "epochs": 1,
    "learning_starts": 32,
    "replay_size": 200,
    "batch_size": 8,
    "train_interval": 16,
    "episodes_per_update": 1,
    "eval_interval": 48,
    "eval_episodes": 2,
    "device": "cpu",
}


def run_of(agent, source, **values):
    spec = AGENTS[agent]
    own = {"env": f"python:{source.__name__}", **values}
    task = Task.of(own, source)
    settings = spec.defaults({}, observation=task.observation)
    few = {name: value for name, value in FEW.items() if name in to_flat(settings)}
    return Run(spec, replace(settings, **few, **own), task=task, keep=False)


@pytest.mark.parametrize("agent", AGENTS)
@pytest.mark.parametrize(
    ("source", "options", "torso"),
    [
        (Own, {}, MLP),
        (Parts, {}, MLP),
        (Paddle, {}, MinAtarCNN),
        (Camera, {}, NatureCNN),
        (Camera, {"grey": True, "stack": 3, "resize": (40, 40), "frame_skip": 2}, NatureCNN),
    ],
)
def test_it_learns(agent, source, options, torso):
    with run_of(agent, source, **options) as run:
        network = run.agent.learner.network
        assert torso in {type(module) for module in network.modules()}
        before = torch.cat([parameter.detach().flatten() for parameter in network.parameters()])
        run.learn()
        after = torch.cat([parameter.detach().flatten() for parameter in network.parameters()])
        assert torch.isfinite(after).all()
        assert not torch.equal(before, after)
        assert run.training_scores


@pytest.fixture
def registered():
    kinds = {f"Wnrl{kind.__name__}-v0": kind for kind in (Own, Camera, Paddle)}
    for name, kind in kinds.items():
        gymnasium.register(name, kind)
    yield
    for name in kinds:
        del gymnasium.registry[name]


@pytest.mark.parametrize(
    ("flags", "hidden"),
    [
        (["WnrlOwn-v0"], (256, 256)),
        (["WnrlCamera-v0"], (512,)),
        (["WnrlPaddle-v0"], (128,)),
        (["WnrlCamera-v0", "--resize", "20"], (128,)),
        (["WnrlPaddle-v0", "--torso", "impala"], (512,)),
        (["WnrlPaddle-v0", "--hidden", "64"], (64,)),
        (["FrozenLake-v1", "--env-kwargs", "map_name=8x8", "--stack", "2"], (256, 256)),
    ],
)
def test_the_command_line_has_the_defaults_of_what_it_sees(registered, flags, hidden):
    settings = parse(AGENTS["dqn"], "x", ["--env", *flags])
    assert settings.run.network.hidden == hidden
    assert to_flat(settings)["reward_clip"] == 0
    assert settings.run.steps == (100_000 if len(hidden) == 2 else 10_000_000)
