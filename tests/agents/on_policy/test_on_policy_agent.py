"""agents.on_policy.on_policy_agent: when an on-policy agent learns, from what, and what acts meanwhile."""

import copy
import threading

import numpy as np
import pytest
import torch
from torch.utils._pytree import tree_leaves

from agents.on_policy import on_policy_agent
from agents.pqn.build import build_pqn
from agents.runtime.distributed import OneProcess
from agents.settings.flat import from_flat, replace
from agents.settings.pqn import PQNSettings
from agents.training.trainer import Trainer
from envs import Chain, EnvironmentFault
from tests.agents.contract import STATES, FixedPlaces, VariantContract, differences
from tests.agents.policy_gradient_family import RUN
from tests.agents.policy_gradient_family import make as policy_gradient
from tests.agents.ranks import in_ranks
from tests.agents.training.recorder import AfterSteps
from wnrl.normalizers.folding import fold

N, T = 3, 8
KINDS = ["pqn", "ppo", "a2c"]  # those with rollouts of a fixed length


def make(kind, environment=None, seed=0, norm="weight", **changes):
    """An agent with rollouts of T rows, and its environment."""
    environment = environment or Chain(N, length=4, max_steps=5)
    if kind == "pqn":
        numbers = {"rollout_length": T, "minibatches": 2, "learning_rate": 0.01, "reward_clip": 0.0, **changes}
        run = replace(RUN, hidden=(16,), seed=seed, norm=norm)
        return build_pqn(run, from_flat(PQNSettings, numbers), environment), environment
    changes = {"rollout_length": T, **changes}
    return policy_gradient(kind, environment, seed=seed, norm=norm, **changes), environment


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
@pytest.mark.parametrize("init", ["data", "lsuv", "within-layer", "preserve"])
def test_a_data_dependent_initialization_takes_the_first_rollout_and_nothing_else_does(kind, init):
    trainer = after(T - 1, kind, init=init)
    fresh, learner = copy.deepcopy(trainer.agent.network.state_dict()), trainer.agent.learner
    assert differences(fresh, make(kind, init=init)[0].network.state_dict()) == []
    play(trainer, 1)
    assert differences(fresh, trainer.agent.network.state_dict()) != []
    assert (learner.num_updates == 0) is (init != "preserve")
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


# Rollouts that overlap

OVERLAP = {"overlap_rollouts": True}
VARIANTS = [
    *((kind, norm, {}) for kind in KINDS for norm in ("weight", "none")),
    ("pqn", "batch", {}),
    *((kind, "mean-batch", {}) for kind in ("ppo", "a2c")),
    *((kind, "weight", {"normalize_obs": True, "normalize_return": True}) for kind in ("ppo", "a2c")),
    ("ppo", "layer", {"init": "data", "target_kl": 0.002}),
]


def overlapping(kind, norm="weight", **changes):
    """A trainer of an agent that plays the next rollout while it learns from the last."""
    agent, environment = make(kind, norm=norm, **OVERLAP, **changes)
    return Trainer(agent, environment, seed=0)


class Twin:
    """Learns and acts in turn: from each rollout after the next one was played, by the network from before."""

    def __init__(self, kind, norm, **changes):
        self.agent, self.environment = make(kind, norm=norm, **OVERLAP, **changes)
        self.late = None

    def play(self, rollouts):
        agent, row, step = self.agent, Trainer(self.agent, self.environment, seed=0)._start(), 0
        for _ in range(rollouts):
            began = step
            for _ in range(T):
                decision = agent.act(row, step)
                agent.storage.add(row, decision.record)
                step += int((~row.last).sum())
                row = self.environment.step(decision.action)
                agent.storage.follow(row, agent.rewards(row, OneProcess()))
            self.complete(copy.deepcopy(agent.storage.read()), row, began)
            agent.storage.clear()
        if self.late:
            self.learn(*self.late)

    def complete(self, rollout, row, began):
        """The first rollout initializes, or is learned from at once, as is the first after that."""
        agent = self.agent
        if agent._waits_for_data:
            agent._initialize(rollout)
            agent._waits_for_data = False
            agent._folded_copy.refresh()
        elif not agent.learner.num_updates:
            agent.learner.anneal(began)
            agent.update(rollout, row, began)
            agent._folded_copy.refresh()
        else:
            if self.late:
                self.learn(*self.late)
            self.late = rollout, row, began, agent.acting
            self.act_with(fold(agent.network, agent.learner.dtype).eval())

    def learn(self, rollout, row, began, then):
        """Learn late, with the network that acted then for the value of the row after the rollout."""
        agent, now = self.agent, self.agent.acting
        self.act_with(then)
        agent.learner.anneal(began)
        agent.update(rollout, row, began)
        self.act_with(now)

    def act_with(self, network):
        self.agent.acting = network
        if hasattr(self.agent, "actor"):
            self.agent.actor.network = network


@pytest.mark.parametrize(("kind", "norm", "changes"), VARIANTS)
def test_a_run_that_overlaps_is_that_of_a_twin_that_learns_late_and_acts_with_old_parameters(kind, norm, changes):
    twin, trainer = Twin(kind, norm, **changes), overlapping(kind, norm, **changes)
    twin.play(5)
    play(trainer, 5 * T)
    states = [dict(agent.get_state()) for agent in (trainer.agent, twin.agent)]
    for state in states:
        assert state.pop("storage")
        for name in ("counted", "began", "learned"):
            del state[name]
    assert differences(*states) == []
    in_turn = after(5 * T, kind, norm=norm, **changes).agent
    assert differences(states[0]["learner"], in_turn.get_state()["learner"]) != []


@pytest.mark.parametrize("kind", KINDS)
def test_what_acts_has_learned_from_all_rollouts_but_the_last_two(kind):
    trainer, learned = overlapping(kind), []
    for _ in range(4):
        play(trainer, T)
        learned.append(fold(trainer.agent.network).state_dict())  # the run waits for it at its end
        check_newest(trainer.agent)
    agent = trainer.agent
    assert differences(agent.acting.state_dict(), learned[2]) == []
    play(trainer, T - 1)
    assert differences(agent.acting.state_dict(), learned[2]) == []


def check_newest(agent):
    assert differences(agent.newest().state_dict(), fold(agent.network).state_dict()) == []


def held(agent, number):
    """Hold the agent's `number`-th update, from 1 on: events that say that it has begun, and that let it go on."""
    update, begun, go, made = agent.update, threading.Event(), threading.Event(), []

    def wait(*arguments):
        made.append(threading.current_thread())
        if len(made) == number:
            begun.set()
            assert go.wait(20)
        update(*arguments)

    agent.update = wait
    return begun, go, made


@pytest.mark.parametrize("kind", KINDS)
def test_a_rollout_is_played_while_the_last_is_learned_from_and_its_updates_are_told_after_it(kind):
    trainer, told = overlapping(kind), []
    begun, go, threads = held(trainer.agent, 2)
    each = {"pqn": 4, "ppo": 6, "a2c": 1}[kind]  # gradient steps of a rollout

    def look(trainer, before):
        rows = len(trainer.agent.storage)
        if not go.is_set() and len(threads) == 2 and rows == T - 1:
            go.set()  # if the run had waited for the update, this would not be reached
        told.append(trainer.agent.num_updates)

    trainer.callbacks = [AfterSteps(look)]
    play(trainer, 4 * T)
    assert begun.is_set()
    assert threads[0] is threading.current_thread()
    assert len(set(threads[1:])) == 1
    assert threads[1] is not threads[0]
    assert told[T - 1 :: T] == [each, each, 2 * each, 3 * each]
    assert sorted(told) == told
    assert trainer.agent.learner.num_updates == 4 * each


@pytest.mark.parametrize("kind", KINDS)
def test_what_learning_beside_raises_ends_the_run_in_the_next_rollout_at_the_latest(kind):
    trainer = overlapping(kind)
    play(trainer, T)
    trainer.agent.update = lambda *arguments: {}["lost"]
    with pytest.raises(KeyError, match="lost"):
        play(trainer, 2 * T)
    assert trainer.failed
    trainer.agent.settle()  # it is raised once


@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_of_an_environment_is_raised_while_something_is_learned(kind):
    trainer = overlapping(kind)
    begun, go, _ = held(trainer.agent, 2)
    play(trainer, 2 * T - 1)
    step = trainer.environment.step

    def fails(action):
        if begun.wait(0):
            raise EnvironmentFault(1, "failed")
        return step(action)

    trainer.environment.step = fails
    with pytest.raises(EnvironmentFault, match="environment 1 failed at step"):
        play(trainer, 3 * T)
    go.set()
    trainer.agent.settle()


class Overlapping(VariantContract):
    """The contract of agents whose rollouts overlap; they act by the learner of one update before."""

    kind = ""
    steps_to_solve = 1_200

    def make(self, environment, seed, **changes):
        numbers = {"rollout_length": T, **OVERLAP, **self.exploration, **changes}
        return make(self.kind, environment, seed, **numbers)[0]

    exploration: dict = {}  # noqa: RUF012

    def test_acts_with_the_folded_learner(self, short):
        check_newest(short.agent)

    def test_what_a_graph_leaves_in_its_places_is_copied_before_the_next_launch(self, ended, monkeypatch):
        monkeypatch.setattr(on_policy_agent, "Graphs", FixedPlaces)
        placed = self.trained(self.steps_in_all).get_state()
        assert {place for place in differences(ended[1], placed) if place != "/seconds"} == set()


class TestOverlappingPPO(Overlapping):
    kind = "ppo"


class TestOverlappingA2C(Overlapping):
    kind = "a2c"


class TestOverlappingPQN(Overlapping):
    kind = "pqn"
    exploration = {"epsilon_end": 0.3, "epsilon_steps": 300, "eval_epsilon": 0.0}  # noqa: RUF012


@pytest.mark.parametrize("kind", KINDS)
def test_processes_learn_together_beside_their_acting(kind):
    """What one process exchanges while acting never meets what another exchanges while learning."""

    def learn(ranks):
        agent, environment = make(kind, Chain(2, length=4, max_steps=5), seed=ranks.rank, **OVERLAP)
        agent.share(ranks)
        assert agent.learner.ranks is not ranks
        Trainer(agent, environment, seed=0, ranks=ranks).run(200)
        return agent

    first, second = in_ranks(learn)
    assert first.learner.num_updates == second.learner.num_updates > 5
    assert differences(first.network.state_dict(), second.network.state_dict()) == []
    assert differences(first.acting.state_dict(), second.acting.state_dict()) == []
    assert differences(first.acting.state_dict(), first.newest().state_dict()) != []
