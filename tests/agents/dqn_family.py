"""Small agents of the DQN family, and what the contract asks of each."""

import pytest
import torch

from agents.dqn.build import build_dqn
from agents.settings.dqn import DQNSettings
from agents.settings.flat import from_flat, replace
from agents.settings.run import RunSettings
from agents.training.trainer import Trainer
from tests.agents.contract import STATES, ReplayContract, VariantContract

NUMBERS = {
    "learning_rate": 3e-3,
    "batch_size": 16,
    "train_interval": 2,
    "learning_starts": 100,
    "replay_size": 1_000,
    "gamma": 0.9,
    "target_interval": 50,
    "epsilon_end": 0.3,
    "epsilon_steps": 500,
    "eval_epsilon": 0.0,
    "init_batch": 64,
}
RUN = from_flat(RunSettings, env="Chain", hidden=(32,), device="cpu")
DISTRIBUTIONS = {
    "none": {},
    "categorical": {"distribution": "categorical", "atoms": 29, "v_min": -7.0, "v_max": 7.0},
    "quantile": {"distribution": "quantile", "quantiles": 11},
    "implicit": {"distribution": "implicit", "taus": 8, "target_taus": 8, "acting_taus": 8},
}
BOOTSTRAPS = {"greedy": {}, "double": {"double": True}, "munchausen": {"munchausen": True}}
NOISY = {"noisy": True, "epsilon_start": 0.0, "epsilon_end": 0.0}
RAINBOW = {
    **DISTRIBUTIONS["categorical"],
    **NOISY,
    "double": True,
    "dueling": True,
    "prioritized": True,
    "n_step": 3,
}


def settings(**changes):
    return from_flat(DQNSettings, **{**NUMBERS, **changes})


def make(environment, seed=0, norm="weight", steps=2_000, **changes):
    """An agent with these settings of its own."""
    return build_dqn(replace(RUN, norm=norm, seed=seed, steps=steps), settings(**changes), environment)


def trained(environment, steps, **changes):
    trainer = Trainer(make(environment, **changes), environment, seed=0)
    trainer.run(steps)
    return trainer


@torch.no_grad()
def values(agent, obs):
    """The learner's values `[N, A]`, without noise."""
    network = agent.network.eval()
    q_values = network(torch.as_tensor(obs)).q_values.numpy()
    network.train()
    return q_values


class DQNVariant(VariantContract):
    """The contract of one variant, which says what it changes."""

    steps_to_solve = 800
    soon = ReplayContract.soon
    changes: dict = {}  # noqa: RUF012

    def make(self, environment, seed, **changes):
        return make(environment, seed, **{**self.changes, **changes})

    def check_solution(self, trainer):
        """Only the best actions have been tried often enough for their values to be right."""
        optimal = trainer.environment.optimal_values(NUMBERS["gamma"])[:3]
        assert values(trainer.agent, STATES)[:, 1] == pytest.approx(optimal, abs=0.1)


class DQNContract(DQNVariant, ReplayContract):
    """The whole contract."""

    steps_to_value = 250
    value_changes = {"learning_rate": 0.03, "target_interval": 8, "learning_starts": 30}  # noqa: RUF012

    def values(self, agent, obs):
        return values(agent, obs).max(1)

    def expected_updates(self, steps, num_envs):
        return (steps - self.soon["learning_starts"]) // NUMBERS["train_interval"]
