"""What every agent must do, whatever it learns: a test class inherits this and says how its agent is made."""

import numpy as np
import torch

from agents.training import Trainer
from envs import Chain
from wnrl.checkpoints import load, save
from wnrl.folding import fold


def differences(first, second, place=""):
    """The places at which two trees of tensors, arrays and values differ in any bit."""
    if isinstance(first, dict):
        keys = first.keys() | second.keys()
        return [d for key in keys for d in differences(first.get(key), second.get(key), f"{place}/{key}")]
    if isinstance(first, list | tuple) and len(first) == len(second):
        return [d for i, pair in enumerate(zip(first, second, strict=True)) for d in differences(*pair, f"{place}/{i}")]
    if isinstance(first, torch.Tensor | np.ndarray):
        return [] if np.array_equal(np.asarray(first), np.asarray(second)) else [place]
    return [] if first == second or (first != first and second != second) else [place]


def parameters(agent):
    """The learner's parameters, in one vector."""
    return torch.cat([parameter.detach().flatten() for parameter in agent.network.parameters()])


class AgentContract:
    """Tests of an agent on a chain of four states."""

    num_envs = 3
    steps_to_solve = 1_500
    steps_to_stop, steps_in_all = 211, 320  # not multiples of any interval; learning has begun at the first

    def make(self, environment, seed):
        """The agent under test."""
        raise NotImplementedError

    def greedy_actions(self, agent, obs):
        """Actions `[N]` without exploration."""
        return agent.act_greedily(obs, 0.0, np.random.default_rng(0))

    def check_solution(self, trainer):
        """What else must be true of an agent that has solved the chain."""

    def environment(self):
        return Chain(self.num_envs, length=4, max_steps=20)

    def trainer(self, seed=0):
        environment = self.environment()
        return Trainer(self.make(environment, seed), environment, seed=seed)

    def trained(self, steps, seed=0):
        trainer = self.trainer(seed)
        trainer.run(steps)
        return trainer

    def test_solves_the_chain(self):
        trainer = self.trained(self.steps_to_solve)
        assert self.greedy_actions(trainer.agent, np.eye(4, dtype=np.float32)[:3]).tolist() == [1, 1, 1]
        self.check_solution(trainer)

    def test_the_same_seed_is_the_same_run_and_another_is_another(self):
        first, again, other = (self.trained(self.steps_in_all, seed) for seed in (0, 0, 1))
        assert torch.equal(parameters(first.agent), parameters(again.agent))
        assert not torch.equal(parameters(first.agent), parameters(other.agent))

    def test_goes_on_from_a_saved_state_as_if_it_had_not_stopped(self, tmp_path):
        save(tmp_path / "state", self.trained(self.steps_to_stop).get_state())
        rest = self.trainer(seed=5)  # all that matters comes from the file
        rest.set_state(load(tmp_path / "state"))
        rest.run(self.steps_in_all)
        whole = self.trained(self.steps_in_all)
        assert {d for d in differences(whole.get_state(), rest.get_state()) if d != "/seconds"} == set()
        figures = [trainer.agent.figures(trainer.steps) for trainer in (whole, rest)]
        assert differences(*figures) == []

    def test_acts_on_one_state_and_on_many(self):
        agent = self.trained(self.steps_in_all).agent
        obs = np.eye(4, dtype=np.float32)[[0, 1, 2, 0, 1]]
        many = self.greedy_actions(agent, obs)
        assert many.shape == (5,)
        assert many.tolist() == [self.greedy_actions(agent, row[None])[0] for row in obs]

    def test_acts_with_the_folded_learner(self):
        agent = self.trained(self.steps_in_all).agent
        assert differences(fold(agent.network).state_dict(), agent.acting.state_dict()) == []

    def test_the_optimizer_holds_every_parameter_of_the_network(self):
        agent = self.trainer().agent
        held = {id(parameter) for group in agent.optimizer.param_groups for parameter in group["params"]}
        assert held == {id(parameter) for parameter in agent.network.parameters()}

    def test_figures_are_numbers_by_tag(self):
        trainer = self.trained(self.steps_in_all)
        figures = trainer.agent.figures(trainer.steps)
        assert {"train/loss", "train/n_updates", "train/learning_rate"} <= figures.keys()
        assert all(np.isfinite(float(value)) for value in figures.values())
