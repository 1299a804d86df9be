import numpy as np
import torch

from agents.exploration import epsilon_greedy

VALUES = torch.tensor([[0.0, 3.0, 1.0], [5.0, 0.0, 0.0]])


def test_without_epsilon_the_greatest_value_is_taken():
    assert epsilon_greedy(VALUES, 0.0, np.random.default_rng(0)).tolist() == [1, 0]


def test_epsilon_is_the_share_of_uniform_actions():
    actions = epsilon_greedy(VALUES[:1].expand(30_000, 3), 0.3, np.random.default_rng(0))
    shares = np.bincount(actions, minlength=3) / 30_000
    np.testing.assert_allclose(shares, [0.1, 0.8, 0.1], atol=0.01)


def test_the_generator_moves_alike_for_every_epsilon():
    first, second = np.random.default_rng(0), np.random.default_rng(0)
    epsilon_greedy(VALUES, 0.0, first)
    epsilon_greedy(VALUES, 1.0, second)
    assert first.bit_generator.state == second.bit_generator.state
