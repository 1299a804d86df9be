"""What every agent must do, whatever it learns: a test class inherits this and says how its agent is made."""

import contextlib
import copy
import re

import numpy as np
import pytest
import torch

from agents.off_policy import replay_agent
from agents.on_policy import on_policy_agent
from agents.runtime.cuda_graphs import Graphs
from agents.training.evaluation import evaluate
from agents.training.trainer import Trainer
from envs import Chain, Groups
from envs.stream import first_rows
from tests.agents.environments import Clockwork
from tests.agents.tape import tape
from tests.agents.training.recorder import AfterSteps
from tests.products import mostly_slow
from wnrl import NORMALIZERS
from wnrl.checkpoints.tensor_files import read_checkpoint, write_checkpoint
from wnrl.normalizers.folding import fold
from wnrl.replay import sum_tree
from wnrl.weight_norm import formula

each_norm = pytest.mark.parametrize("norm", mostly_slow(NORMALIZERS, "weight", "mean-batch", "spectral"))
STATES = np.eye(4, dtype=np.float32)[:3]  # of the contract's chain, but for its end


def differences(first, second, place="", close=False):
    """The places at which two trees of tensors, arrays and values differ in any bit, or by more than rounding does."""
    if isinstance(first, dict):
        keys = first.keys() | second.keys()
        return [d for key in keys for d in differences(first.get(key), second.get(key), f"{place}/{key}", close)]
    if isinstance(first, list | tuple) and len(first) == len(second):
        pairs = enumerate(zip(first, second, strict=True))
        return [d for i, pair in pairs for d in differences(*pair, f"{place}/{i}", close)]
    if isinstance(first, torch.Tensor | np.ndarray):
        first, second = np.asarray(first), np.asarray(second)
        rounded = close and first.shape == second.shape and first.dtype.kind == "f"
        same = np.allclose(first, second, rtol=1e-3, atol=1e-5) if rounded else np.array_equal(first, second)
        return [] if same else [place]
    return [] if first == second or (first != first and second != second) else [place]


def parameters(agent):
    """The learner's parameters, in one vector."""
    return torch.cat([parameter.detach().flatten() for parameter in agent.learner.network.parameters()])


def check_acts_as_the_learner(agent, part):
    """What acts is the fold of that part of the learner, but for the noise that both draw for themselves."""
    acting, learner = agent.acting.state_dict(), fold(part).state_dict()
    assert {place for place in differences(acting, learner) if not place.endswith(("noise_in", "noise_out"))} == set()


def give(agent, sampler):
    """Let the agent learn from what another sampler draws."""
    agent.sampler = agent._updates._sampler = sampler


class FixedPlaces(Graphs):
    """Graphs without a GPU: arguments and results have fixed places, in which the work is done at each call."""

    pending = False

    def __init__(self, device, generators, **options):
        self.enabled = True

    def capture(self, work, name):
        return work

    def forget(self):
        """Nothing was captured."""


def check_close(network, truth):
    """Two networks that were trained alike, on a device that adds up in any order."""
    for ours, other in zip(network.parameters(), truth.parameters(), strict=True):
        torch.testing.assert_close(ours, other, rtol=1e-4, atol=1e-5)


def play(agent, obs, seed=0):
    """What evaluation does in the states `obs` `[N, ...]`, each the first of a game."""
    return agent.policy(np.random.default_rng(seed))(first_rows(obs))


class VariantContract:
    """Tests of each variant of an agent, on a chain of four states."""

    num_envs = 3
    steps_to_solve = 1_500
    steps_to_stop, steps_in_all = 77, 116  # not multiples of any interval; learning has begun at the first
    soon: dict = {}  # noqa: RUF012 - the settings with which it has

    def make(self, environment, seed, **changes):
        """The agent under test, its evaluation without random actions; `changes` are fields of its settings."""
        raise NotImplementedError

    def check_solution(self, trainer):
        """What else must be true of an agent that has solved the chain."""

    def acting_part(self, agent):
        """The part of the learner's network that acts."""
        return agent.learner.network

    def learned(self, agent):
        """All parameters that the agent learns."""
        return list(agent.learner.network.parameters())

    def environment(self, num_envs=None):
        return Chain(num_envs or self.num_envs, length=4, max_steps=20)

    def trainer(self, seed=0, environment=None, callbacks=(), **changes):
        environment = environment or self.environment()
        return Trainer(self.make(environment, seed, **changes), environment, seed=seed, callbacks=callbacks)

    def trained(self, steps, seed=0, **options):
        trainer = self.trainer(seed, **{**self.soon, **options})
        trainer.run(steps)
        return trainer

    @pytest.fixture(scope="class")
    def ended(self):
        """A run of `steps_in_all` and its state at the end."""
        trainer = self.trained(self.steps_in_all)
        return trainer, copy.deepcopy(trainer.get_state())

    @pytest.fixture
    def short(self, ended):
        """A run of `steps_in_all`, shared by the tests that only look at it."""
        return ended[0]

    def test_solves_the_chain(self):
        """Within `steps_to_solve`; solved in two looks, one after the other, is solved."""
        trainer, solved = self.trainer(), False
        policy = trainer.agent.policy(np.random.default_rng(0))  # it goes on learning
        for eighths in range(3, 8):
            trainer.run(self.steps_to_solve * eighths // 8)
            before, solved = solved, False
            with contextlib.suppress(AssertionError):
                self.check_solved(trainer, policy)
                solved = True
            if before and solved:
                return
        trainer.run(self.steps_to_solve)
        self.check_solved(trainer, policy)

    def check_solved(self, trainer, policy):
        assert play(trainer.agent, STATES).tolist() == [1, 1, 1]
        self.check_solution(trainer)
        games = evaluate(policy, self.environment(), episodes=3, seed=7)
        assert [(game.score, game.length) for game in games] == [(1, 3)] * 3

    def test_another_seed_has_other_initial_weights(self):
        same, other = (parameters(self.trainer(seed).agent) for seed in (0, 1))
        assert torch.equal(parameters(self.trainer(0).agent), same)
        assert not torch.equal(same, other)

    def test_the_same_seed_is_the_same_run_and_goes_on_from_a_saved_state_as_if_it_had_not_stopped(
        self, ended, tmp_path
    ):
        saved = self.trained(self.steps_to_stop)
        write_checkpoint(tmp_path / "state", saved.get_state())
        rest = self.trainer(seed=5, **self.soon)  # all that matters comes from the file
        rest.set_state(read_checkpoint(tmp_path / "state"))
        for trainer in (saved, rest):
            trainer.run(self.steps_in_all)
            assert {place for place in differences(ended[1], trainer.get_state()) if place != "/seconds"} == set()
        assert differences(*(trainer.agent.metrics(trainer.steps) for trainer in (saved, rest))) == []

    def test_figures_of_changes_go_on_from_a_saved_state(self, tmp_path):
        """They are those since the last reading, before the run was stopped."""
        saved = self.trained(self.steps_to_stop)
        saved.agent.metrics(saved.steps)
        write_checkpoint(tmp_path / "state", saved.get_state())
        rest = self.trainer(seed=5, **self.soon)
        rest.set_state(read_checkpoint(tmp_path / "state"))
        for trainer in (saved, rest):
            trainer.run(self.steps_in_all)
        figures, same = (trainer.agent.metrics(trainer.steps) for trainer in (saved, rest))
        assert differences(figures, same) == []
        assert figures["diagnostics/weight_change"] > 0
        assert 0 < figures["diagnostics/stable_rank"] <= figures["diagnostics/effective_rank"] + 1

    def test_environments_in_groups_make_the_same_run(self, ended):
        """Acted on group by group while others step, with a stop in the middle, of which the state shows nothing.

        What is computed for a smaller batch may differ in its last bits.
        """
        state = self.in_groups(1, self.num_envs - 1)
        truth = {name: ended[1][name] for name in state}  # but for the environment, which can be restored there
        assert {place for place in differences(truth, state, close=True) if place != "/seconds"} == set()

    def in_groups(self, *sizes):
        """The state after a run in groups of these sizes, with a stop in the middle."""
        environment = Groups([self.environment(size) for size in sizes if size])
        trainer = self.trainer(environment=environment, **self.soon)
        for steps in (self.steps_to_stop, self.steps_in_all):
            trainer.run(steps)
        return trainer.get_state()

    def test_acts_on_one_state_and_on_many(self, short):
        obs = STATES[[0, 1, 2, 0, 1]]
        many = play(short.agent, obs)
        assert many.shape == (5,)
        assert many.tolist() == [play(short.agent, row[None])[0] for row in obs]

    def test_acts_with_the_folded_learner(self, short):
        check_acts_as_the_learner(short.agent, self.acting_part(short.agent))

    def test_the_optimizer_holds_every_parameter(self):
        agent = self.trainer().agent
        held = {id(parameter) for group in agent.learner.optimizer.param_groups for parameter in group["params"]}
        assert held == {id(parameter) for parameter in self.learned(agent)}

    def test_figures_are_finite_numbers_by_tag(self, short):
        figures = short.agent.metrics(short.steps)
        assert {"train/loss", "train/n_updates", "train/learning_rate"} <= figures.keys()
        assert all("/" in tag and type(value) in (int, float) for tag, value in figures.items())
        assert all(np.isfinite(value) for value in figures.values())


class AgentContract(VariantContract):
    """Tests of an agent: those of its variants, and what no variant changes."""

    steps_to_value = 600  # until the value of the only state there is stands still
    value_changes: dict = {"learning_rate": 0.02}  # noqa: RUF012 - for that
    as_on_a_gpu: dict = {"learning_rate_schedule": "constant"}  # noqa: RUF012 - there the step size is a tensor
    refused_norms: frozenset = frozenset()  # that its network does not take

    def values(self, agent, obs):
        """The learner's values of the states `obs` `[N, ...]` under its own policy: `[N]`."""
        raise NotImplementedError

    def expected_updates(self, steps, num_envs):
        """How many gradient steps are due after `steps` steps of `counting_environment`."""
        raise NotImplementedError

    def works(self, trainer):
        """What the agent captures in graphs."""
        raise NotImplementedError

    def test_another_seed_is_another_run(self, short):
        other = self.trainer(seed=1, **self.soon)
        other.agent.learner.network.load_state_dict(self.trainer(seed=0).agent.learner.network.state_dict())
        other.run(self.steps_in_all)
        assert not torch.equal(parameters(short.agent), parameters(other.agent))

    @each_norm
    def test_what_the_device_does_is_the_same_each_time(self, norm, monkeypatch):
        """Gradient steps, acting and refreshing can be captured: nothing of the host that changes goes into them."""
        if norm in self.refused_norms:
            pytest.skip("its network does not take this normalizer")
        for module in (formula, sum_tree):
            monkeypatch.setattr(module, "HOST_READABLE", ())  # as on a GPU
        trainer = self.trained(self.steps_to_stop, norm=norm, **self.as_on_a_gpu)
        works = self.works(trainer)
        before = [tape(work) for work in works]
        trainer.run(trainer.steps + 30)  # more rows are there, and it is later
        for earlier, work in zip(before, works, strict=True):
            later = tape(work)
            assert earlier.lines == later.lines
            assert earlier.waits == later.waits == []

    @pytest.mark.parametrize("changes", [{}, {"init": "data"}])
    def test_a_run_whose_arguments_and_results_have_fixed_places_is_the_run_without(self, changes, ended, monkeypatch):
        """What a graph leaves in its places is used, or copied, before the next launch overwrites it."""
        plain = self.trained(self.steps_in_all, **changes).get_state() if changes else ended[1]
        for module in (replay_agent, on_policy_agent):
            monkeypatch.setattr(module, "Graphs", FixedPlaces)
        placed = self.trained(self.steps_in_all, **changes).get_state()
        assert {place for place in differences(plain, placed) if place != "/seconds"} == set()

    def test_groups_whose_arguments_and_results_have_fixed_places(self, ended, monkeypatch):
        """What is decided for one group outlasts the launch for the next."""
        for module in (replay_agent, on_policy_agent):
            monkeypatch.setattr(module, "Graphs", FixedPlaces)
        state = self.in_groups(*[1] * self.num_envs)  # which have the same places
        truth = {name: ended[1][name] for name in state}
        assert {place for place in differences(truth, state, close=True) if place != "/seconds"} == set()

    def counting_environment(self, num_envs):
        """Where updates are counted: games that last longer than the run."""
        return Clockwork(*[10_000] * num_envs)

    @pytest.mark.parametrize(
        ("terminates", "gamma", "value"), [(False, 0.8, 1 / (1 - 0.8)), (True, 0.8, 1.0), (False, 0.0, 1.0)]
    )
    def test_truncation_is_bootstrapped_and_discount_0_is_not(self, terminates, gamma, value):
        """A world of one state that pays 1 a step, each of which ends the game."""
        world = Clockwork(*[1] * self.num_envs, terminates=terminates)
        agent = self.trained(self.steps_to_value, environment=world, **{"gamma": gamma, **self.value_changes}).agent
        assert self.values(agent, np.ones((1, 1), np.float32)) == pytest.approx(value, rel=0.1)

    @pytest.mark.parametrize("num_envs", mostly_slow([1, 3, 8], 1, 8))
    def test_updates_are_counted_in_steps_for_any_number_of_environments(self, num_envs):
        trainer = self.trained(170, environment=self.counting_environment(num_envs))
        expected = self.expected_updates(trainer.steps, num_envs)
        assert trainer.agent.learner.num_updates == expected > 0
        assert trainer.agent.metrics(trainer.steps)["train/n_updates"] == expected

    @each_norm
    def test_learns_with_every_normalizer_that_its_network_takes(self, norm):
        if norm in self.refused_norms:
            with pytest.raises(ValueError, match=f"'{re.escape(norm)}' cannot normalize"):
                self.trainer(norm=norm)
            return
        trainer = self.trainer(norm=norm, **self.soon)
        before = parameters(trainer.agent)
        trainer.run(self.steps_in_all)
        after = parameters(trainer.agent)
        assert after.isfinite().all()
        assert not torch.equal(before, after)
        check_acts_as_the_learner(trainer.agent, self.acting_part(trainer.agent))

    def test_a_run_is_the_same_to_the_bit_whether_it_is_watched_or_not(self, short):
        """Reading figures and playing games beside the run draw nothing from it."""

        def watch(trainer, before):
            if trainer.steps % 7 == 0:
                trainer.agent.metrics(trainer.steps)
                play(trainer.agent, STATES)

        watched = self.trained(self.steps_in_all, callbacks=[AfterSteps(watch)])
        assert torch.equal(parameters(watched.agent), parameters(short.agent))


class ReplayContract(AgentContract):
    """Tests of an agent that learns from a replay."""

    soon = {"learning_starts": 40}  # noqa: RUF012

    def test_a_run_is_the_same_to_the_bit_whether_it_learns_while_the_environments_play_or_after(self, ended):
        after = self.trained(self.steps_in_all, overlap=False)
        assert (ended[0].agent.overlap, after.agent.overlap) == (True, False)
        assert differences(ended[1]["agent"], after.get_state()["agent"]) == []

    def works(self, trainer):
        agent, obs = trainer.agent, torch.zeros(self.num_envs, *trainer.environment.obs_shape)
        draws = agent.draw_row(self.num_envs, trainer.steps)
        choose = torch.no_grad()(lambda: agent._choose(obs, *draws.noise))
        return (lambda: agent._updates._make(1)), choose, agent._acting_fold.refresh
