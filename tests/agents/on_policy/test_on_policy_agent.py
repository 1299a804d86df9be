"""agents.on_policy.on_policy_agent: when an on-policy agent learns, from what, and what acts meanwhile."""

import copy

import numpy as np
import pytest
import torch
from torch.utils._pytree import tree_leaves

from agents.pqn.build import build_pqn
from agents.settings.flat import from_flat, replace
from agents.settings.pqn import PQNSettings
from agents.training.trainer import Trainer
from envs import Chain
from tests.agents.contract import STATES, differences
from tests.agents.policy_gradient_family import RUN
from tests.agents.policy_gradient_family import make as policy_gradient

N, T = 3, 8
KINDS = ["pqn", "ppo", "a2c"]  # those with rollouts of a fixed length


def make(kind, **changes):
    """An agent with rollouts of T rows, and its environment."""
    environment = Chain(N, length=4, max_steps=5)
    if kind == "pqn":
        numbers = {"rollout_length": T, "minibatches": 2, "learning_rate": 0.01, "reward_clip": 0.0, **changes}
        return build_pqn(replace(RUN, hidden=(16,)), from_flat(PQNSettings, numbers), environment), environment
    return policy_gradient(kind, environment, **{"rollout_length": T, **changes}), environment


def play(trainer, rows):
    """Let the agent act on so many rows; returns them with what it decided."""
    acted, observe = [], trainer.agent.observe
    trainer.agent.observe = lambda timestep, decision: (acted.append((timestep, decision)), observe(timestep, decision))
    trainer.run(1_000_000, stopped=lambda: len(acted) == rows)
    trainer.agent.observe = observe
    return acted


def after(rows, kind, **changes):
    """A trainer whose agent has acted on so many rows."""
    agent, environment = make(kind, **changes)
    trainer = Trainer(agent, environment, seed=0)
    play(trainer, rows)
    return trainer


@pytest.mark.parametrize("kind", KINDS)
def test_each_rollout_is_learned_from_once_with_the_row_that_follows_and_is_discarded(kind):
    trainer, updates, began = after(0, kind), [], 0
    update = trainer.agent.update
    trainer.agent.update = lambda *arguments: (updates.append(arguments), update(*arguments))
    for number in (1, 2, 3):
        rows = play(trainer, T)
        assert len(updates) == number
        rollout, following, step = updates[-1]
        assert np.array_equal(rollout.obs, [timestep.obs for timestep, _ in rows])
        assert np.array_equal(rollout.action, [decision.action for _, decision in rows])
        timesteps = [*(timestep for timestep, _ in rows[1:]), following]
        assert np.array_equal(rollout.reward, [timestep.reward for timestep in timesteps])
        assert np.array_equal(rollout.valid, [~timestep.first for timestep in timesteps])
        assert step == began
        began = trainer.steps
        assert len(trainer.agent.storage) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_what_acts_stays_as_it_is_while_a_rollout_is_played_and_is_the_learner_after_it(kind):
    trainer = after(2 * T, kind)
    agent = trainer.agent
    before = copy.deepcopy(agent.acting.state_dict())
    play(trainer, T - 1)
    assert differences(before, agent.acting.state_dict()) == []
    play(trainer, 1)
    assert differences(before, agent.acting.state_dict()) != []
    acting, learner = (tree_leaves(network(torch.from_numpy(STATES))) for network in (agent.acting, agent.network))
    torch.testing.assert_close(acting, learner)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("init", ["data", "preserve"])
def test_a_data_dependent_initialization_takes_the_first_rollout_and_nothing_else_does(kind, init):
    trainer = after(T - 1, kind, init=init)
    fresh, learner = copy.deepcopy(trainer.agent.network.state_dict()), trainer.agent.learner
    assert differences(fresh, make(kind, init=init)[0].network.state_dict()) == []
    play(trainer, 1)
    assert differences(fresh, trainer.agent.network.state_dict()) != []
    assert (learner.num_updates == 0) is (init == "data")
    updates = learner.num_updates
    play(trainer, T)
    assert learner.num_updates > updates


@pytest.mark.parametrize("kind", KINDS)
def test_reading_metrics_draws_nothing(kind):
    agent = after(T + 2, kind).agent
    before = agent._generator.get_state()
    agent.metrics(0)
    assert torch.equal(agent._generator.get_state(), before)


@pytest.mark.parametrize(
    ("kind", "own"),
    [("pqn", {"rng"}), ("ppo", {"actor", "rewards", "rollouts"}), ("a2c", {"actor", "rewards", "rollouts"})],
)
def test_a_state_keeps_its_names_so_that_earlier_checkpoints_can_be_resumed(kind, own):
    agent, _ = make(kind)
    assert agent.get_state().keys() == {"learner", "storage", "generator", "waits_for_data", "began", "learned"} | own
