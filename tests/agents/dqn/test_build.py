import itertools

import numpy as np
import pytest
import torch

from agents.dqn.build import build_dqn, describe_dqn
from agents.learner.network import make_network
from agents.settings.flat import from_flat, replace
from agents.settings.run import RunSettings
from agents.training.task import Task
from agents.training.trainer import Trainer
from envs import Chain, Gym
from envs.stream import first_rows
from tests.agents.contract import STATES, parameters, play
from tests.agents.dqn_family import BOOTSTRAPS, DISTRIBUTIONS, NOISY, NUMBERS, RAINBOW, RUN, make, settings, values
from tests.products import covering
from wnrl.networks.torsos import NatureCNN
from wnrl.normalizers.projection import ProjectedLayer

SMALL = replace(RUN, hidden=(8,), num_envs=3)
LATER = {"learning_starts": 8_000, "replay_size": 100}  # nothing is learned
EXTRAS = {"dueling": {"dueling": True}, "noisy": NOISY, "prioritized": {"prioritized": True}}
SETS = [extras for number in range(len(EXTRAS) + 1) for extras in itertools.combinations(EXTRAS, number)]
COMBINATIONS = list(itertools.product(BOOTSTRAPS, DISTRIBUTIONS, SETS))


# Combinations


def combined(bootstrap, distribution, extras):
    changes = {**BOOTSTRAPS[bootstrap], **DISTRIBUTIONS[distribution]}
    for extra in extras:
        changes |= EXTRAS[extra]
    return changes


@pytest.mark.parametrize(("bootstrap", "distribution", "extras"), covering(BOOTSTRAPS, DISTRIBUTIONS, SETS, strength=2))
def test_every_combination_runs(bootstrap, distribution, extras):
    environment = Chain(4, length=4)
    agent = make(environment, train_interval=6, **combined(bootstrap, distribution, extras))
    before, target = parameters(agent), {name: value.clone() for name, value in agent.target.state_dict().items()}
    trainer = Trainer(agent, environment, seed=0)
    trainer.run(152)
    assert agent.learner.num_updates == (trainer.steps - 100) // 6 > 0
    assert parameters(agent).isfinite().all()
    assert (parameters(agent) != before).float().mean() > 0.5
    assert any(not torch.equal(value, target[name]) for name, value in agent.target.state_dict().items())
    assert play(agent, STATES).shape == (3,)


def check_learned(steps, tolerance, changes):
    """The best actions, and their values: at the end, or in two looks before, one after the other."""
    environment = Chain(3, length=4, max_steps=20)
    agent, solved = make(environment, **changes), False
    trainer, optimal = Trainer(agent, environment, seed=0), environment.optimal_values(NUMBERS["gamma"])[:3]
    for eighths in range(3, 8):
        trainer.run(steps * eighths // 8)
        before, solved = solved, learned(agent, optimal, tolerance)
        if before and solved:
            return
    trainer.run(steps)
    assert learned(agent, optimal, tolerance)


def learned(agent, optimal, tolerance):
    found = values(agent, STATES)[:, 1]
    return play(agent, STATES).tolist() == [1, 1, 1] and found == pytest.approx(optimal, abs=tolerance)


@pytest.mark.parametrize(("bootstrap", "distribution"), covering(BOOTSTRAPS, DISTRIBUTIONS))
def test_every_bootstrap_learns_every_distribution(bootstrap, distribution):
    check_learned(700, 0.12, combined(bootstrap, distribution, ()))


@pytest.mark.parametrize("extra", EXTRAS)
def test_every_extra_learns(extra):
    check_learned(1_000, 0.2, combined("greedy", "none", (extra,)))


@pytest.mark.slow  # fast ones: the contract in test_dqn.py
@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_everything_at_once_learns(distribution):
    check_learned(1_000, 0.2, combined("double", distribution, EXTRAS))


@pytest.mark.slow
@pytest.mark.parametrize(("bootstrap", "distribution", "extras"), COMBINATIONS)
def test_every_combination_learns(bootstrap, distribution, extras):
    check_learned(1_500, 0.15, combined(bootstrap, distribution, extras))


# Parts


@pytest.mark.parametrize("changes", [{}, *DISTRIBUTIONS.values(), RAINBOW])
def test_the_description_is_of_the_agents_network(changes):
    numbers = settings(**changes)
    network = make_network(describe_dqn(SMALL, numbers, Chain(3)), seed=4)
    agent = build_dqn(replace(SMALL, seed=4), numbers, Chain(3))
    assert {name: tensor.shape for name, tensor in network.state_dict().items()} == {
        name: tensor.shape for name, tensor in agent.network.state_dict().items()
    }
    expected = {"categorical": 29, "quantile": 11, "implicit": 8}.get(numbers.distribution)
    outputs = agent.network(torch.zeros(2, 5))
    assert getattr(outputs, "logits", getattr(outputs, "quantiles", torch.zeros(0))).shape[2:] == (
        (expected,) if expected else ()
    )


def test_the_agent_is_put_together_from_both_settings():
    agent = build_dqn(replace(SMALL, seed=5), settings(**LATER, n_step=3, init="he"), Chain(3))
    config = agent.sampler.replay.get_state()["config"]
    assert (config["capacity"], config["num_envs"], config["n_step"], config["gamma"]) == (100, 3, 3, 0.9)
    assert (config["obs_shape"], config["obs_dtype"], config["stack"]) == ([5], "torch.float32", 1)
    assert torch.equal(agent.network.head.bias.detach(), torch.full((2,), 0.1))
    assert agent.learner.num_updates == 0


def test_seeds_reach_network_replay_exploration_and_noise():
    agents = [build_dqn(replace(SMALL, seed=seed), settings(**LATER), Chain(3)) for seed in (0, 0, 1)]
    timestep = first_rows(np.zeros((100, 5), np.float32))
    for read in (
        lambda agent: agent.network.head.v.detach().flatten(),
        lambda agent: agent.sampler.replay.get_state()["generator"],
        lambda agent: agent.get_state()["generator"],
        lambda agent: torch.as_tensor(agent.act(timestep, 0).action),
    ):
        first, again, other = (read(agent) for agent in agents)
        assert torch.equal(first, again)
        assert not torch.equal(first, other)


def test_a_replay_of_frames_is_stored_once_each():
    run = from_flat(RunSettings, game="Pong", num_envs=2, device="cpu", hidden=(8,))
    agent = build_dqn(run, settings(learning_starts=8_000, replay_size=1_000), Task(run.task).training(run.num_envs))
    assert isinstance(agent.network.torso, NatureCNN)
    assert agent.sampler.replay.get_state()["config"]["stack"] == 4
    assert agent.sampler.replay.nbytes < 1_100 * 84 * 84


# Refusals


@pytest.mark.parametrize("prioritized", [False, True])
def test_a_replay_larger_than_memory_is_refused_before_it_is_made(prioritized):
    numbers = settings(replay_size=2_000_000_000, prioritized=prioritized)
    said = r"a replay of 2,000,000,000 steps needs [\d.]+ GB, [\d.]+ GB are free on cpu: use"
    with pytest.raises(ValueError, match=said):
        build_dqn(replace(SMALL, num_envs=1), numbers, _Wide())


class _Wide(Chain):
    """Observations of a megabyte."""

    def __init__(self):
        super().__init__(1)
        self.obs_shape = (250_000,)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"norm": "wieght"}, "nearest: weight"), ({"device": "cuda:99"}, "'cuda:99' is not available")],
)
def test_names_that_are_unknown_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        build_dqn(replace(SMALL, **change), settings(), Chain(3))


def test_continuous_actions_are_refused():
    with pytest.raises(ValueError, match="DQN takes discrete actions, here they are continuous"):
        build_dqn(SMALL, settings(), Gym("Pendulum-v1", 1))


@pytest.mark.parametrize(
    ("n_step", "train_interval", "num_envs"), [(1, 1, 1), (1, 4, 8), (3, 1, 2), (5, 4, 3), (1, 50, 8)]
)
@pytest.mark.parametrize("prioritized", [False, True])
def test_learning_may_start_as_soon_as_there_is_a_transition(n_step, train_interval, num_envs, prioritized):
    numbers = settings(n_step=n_step, train_interval=train_interval, batch_size=2, prioritized=prioritized)
    least = max(0, n_step * num_envs - train_interval + 1)
    environment = Chain(num_envs)
    agent = build_dqn(SMALL, replace(numbers, learning_starts=least), environment)
    Trainer(agent, environment, seed=0).run(60)
    assert agent.learner.num_updates > 0
    if least:
        with pytest.raises(ValueError, match=f"learning_starts must be at least {least} for {num_envs} environments"):
            build_dqn(SMALL, replace(numbers, learning_starts=least - 1), environment)


@pytest.mark.parametrize("init", ["data", "analytic"])
def test_an_initialization_without_effect_is_refused_before_the_run(init):
    with pytest.raises(ValueError, match="whose lengths its method gives: take 'preserve' or 'he'"):
        build_dqn(replace(SMALL, norm="projected"), settings(init=init), Chain(3))


# Learning rates


@pytest.mark.parametrize(("norm", "schedule", "falls"), [
    ("weight", "auto", False), ("projected", "auto", True), ("weight", "linear", True), ("projected", "constant", False)
])  # fmt: skip
def test_the_learning_rate_falls_for_projected_weights_and_on_request(norm, schedule, falls):
    run = replace(SMALL, norm=norm, steps=300)
    agent = build_dqn(run, settings(learning_rate=1e-4, learning_rate_schedule=schedule), Chain(3))
    rates = [agent.metrics(step)["train/learning_rate"] for step in (0, 100, 200, 300)]
    assert rates == pytest.approx([1e-4, 1e-4, 0.51e-4, 0.01e-4] if falls else [1e-4] * 4)


def test_the_optimizer_follows_the_learning_rate():
    run = replace(SMALL, norm="projected", steps=300)
    environment = Chain(3)
    agent = build_dqn(run, settings(learning_rate=1e-4, learning_starts=30, batch_size=4), environment)
    Trainer(agent, environment, seed=0).run(165)
    assert agent.learner.optimizer.param_groups[0]["lr"] == pytest.approx(5e-5, rel=0.05)
    assert all(module.weight.norm(dim=1).allclose(torch.ones(8)) for module in agent.network.modules()
               if isinstance(module, ProjectedLayer))  # fmt: skip
