"""agents.training.overestimation: values and returns by hand, and of a chain whose values are known."""

import numpy as np
import pytest
import torch
from torch import nn

from agents.acting.policies import make_policy
from agents.training.evaluation import evaluate
from agents.training.overestimation import ValuedPolicy
from envs import Chain
from tests.agents.environments import Clockwork
from wnrl.networks.heads import QValues


class Table(nn.Module):
    """Action values of each one-hot state."""

    def __init__(self, rows):
        super().__init__()
        self.values = nn.Parameter(torch.tensor(rows))

    def forward(self, obs):
        return QValues(obs @ self.values)


def reward_of(timestep):
    return timestep.reward


def play(table, environment, games, gamma, reward=reward_of, epsilon=0.0):
    """The policy and the games that count."""
    policy = make_policy(table, np.random.default_rng(0), epsilon=epsilon)
    valued = ValuedPolicy(policy, table, gamma, reward)
    return valued, evaluate(valued, environment, episodes=games, seed=0, watch=valued.watch)


def test_a_value_that_is_the_return_is_not_overestimated():
    environment = Chain(3, length=4)
    right = environment.optimal_values(0.9)
    table = Table([[0.0, float(value)] for value in np.append(right[:3], 0.0)])
    valued, games = play(table, environment, 5, 0.9)
    assert valued.overestimation(games) == pytest.approx(0, abs=1e-6)
    with torch.no_grad():
        table.values.add_(0.25)
    valued, games = play(table, environment, 5, 0.9)
    assert valued.overestimation(games) == pytest.approx(0.25)


@pytest.mark.parametrize(("terminates", "following"), [(True, 1 + 0.5 + 0.25), (False, 1 + 0.5 + 0.25 + 0.125 * 7.0)])
def test_a_truncated_return_is_bootstrapped(terminates, following):
    valued, games = play(Table([[7.0, 3.0]]), Clockwork(3, terminates=terminates), 2, 0.5)
    assert valued.games[0] == [(7.0, pytest.approx(following))] * 2
    assert valued.overestimation(games) == pytest.approx(7 - following)


def test_the_first_games_of_each_environment_count():
    """In the first environment two games of one step end before the other's game of four, and one of them counts."""
    valued, games = play(Table([[0.0, 0.0]]), Clockwork(1, 4), 2, 1.0)
    assert len(valued.games[0]) == 2
    assert [game.length for game in games] == [1, 4]
    assert valued.overestimation(games) == -(1 + 4) / 2
    assert valued.overestimation([]) is None


def test_the_value_is_of_the_action_that_was_taken():
    valued, _ = play(Table([[5.0, 3.0]]), Clockwork(1), 200, 1.0, epsilon=1.0)
    values = [value for value, _ in valued.games[0]]
    assert set(values) == {3.0, 5.0}
    assert 0.35 < np.mean([value == 3 for value in values]) < 0.65


def test_rewards_are_those_that_are_learned_from():
    valued, _ = play(Table([[0.0, 0.0]]), Clockwork(2, reward=10.0), 1, 1.0, lambda row: np.clip(row.reward, -1, 1))
    assert valued.games[0] == [(0.0, 2.0)]


def test_the_games_are_those_of_the_policy_alone():
    table = Table(torch.randn(4, 2, generator=torch.Generator().manual_seed(0)).tolist())
    environment = Chain(3, length=4, slip=0.2, max_steps=30)
    _, valued = play(table, environment, 7, 0.9, epsilon=0.3)
    alone = evaluate(make_policy(table, np.random.default_rng(0), epsilon=0.3), environment, episodes=7, seed=0)
    assert valued == alone
