import numpy as np

from agents.acting.exploration import with_random

ACTION = np.array([1, 0])


def test_without_epsilon_actions_stay():
    assert with_random(ACTION, 3, 0.0, np.random.default_rng(0)).tolist() == [1, 0]


def test_epsilon_is_the_share_of_uniform_actions():
    actions = with_random(np.ones(30_000, int), 3, 0.3, np.random.default_rng(0))
    shares = np.bincount(actions, minlength=3) / 30_000
    np.testing.assert_allclose(shares, [0.1, 0.8, 0.1], atol=0.01)


def test_the_actions_that_were_given_are_left_alone():
    action = np.ones(100, int)
    with_random(action, 3, 1.0, np.random.default_rng(0))
    assert (action == 1).all()


def test_the_generator_moves_alike_for_every_epsilon():
    first, second = np.random.default_rng(0), np.random.default_rng(0)
    with_random(ACTION, 3, 0.0, first)
    with_random(ACTION, 3, 1.0, second)
    assert first.bit_generator.state == second.bit_generator.state
