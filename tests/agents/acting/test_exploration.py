import math

import numpy as np
import pytest

from agents.acting.exploration import ExplorationRate, with_random
from agents.settings.exploration import ExplorationSettings

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


LINEAR = {"epsilon_start": 1.0, "epsilon_end": 0.1, "epsilon_steps": 100}
EXPONENTIAL = {**LINEAR, "epsilon_schedule": "exponential"}


@pytest.mark.parametrize(
    ("settings", "rates"),
    [
        (LINEAR, {0: 1.0, 50: 1.0, 100: 0.55, 150: 0.1, 999: 0.1}),
        (EXPONENTIAL, {0: 1.0, 50: 1.0, 150: 0.1 + 0.9 / math.e, 250: 0.1 + 0.9 / math.e**2, 9_999: 0.1}),
        ({**LINEAR, "epsilon_off": 120}, {100: 0.55, 119: 0.379, 120: 0.0, 999: 0.0}),
        ({**EXPONENTIAL, "epsilon_steps": 0}, {50: 0.1, 51: 0.1}),
    ],
)
def test_the_exploration_rate_from_step_50_on(settings, rates):
    rate = ExplorationRate(ExplorationSettings(**settings), begin=50)
    assert {step: rate(step) for step in rates} == pytest.approx(rates)
