"""agents.acting.player: a policy that plays for any environment."""

import numpy as np
import pytest

from agents.acting.player import Player


class Memory:
    """A policy whose action is how many rows it has seen since the game began."""

    def __init__(self, made):
        made.append(self)
        self.seen = None

    def __call__(self, timestep):
        self.seen = np.zeros(len(timestep.obs), int) if self.seen is None else self.seen
        self.seen = np.where(timestep.first, 0, self.seen + 1)
        return self.seen.copy()


def rows(obs):
    obs = np.asarray(obs, np.float32)
    return (obs[None], True) if obs.ndim == 1 else (obs, False)


@pytest.fixture
def made():
    return []


@pytest.fixture
def player(made):
    return Player(lambda: Memory(made), rows, lambda action: action + 10)


def test_a_single_observation_has_a_single_action_of_the_environment(player):
    assert [player([0.0]) for _ in range(3)] == [10, 11, 12]


def test_reset_begins_a_game_with_a_new_policy(player, made):
    player([0.0]), player([0.0])
    player.reset()
    assert player([0.0]) == 10
    assert len(made) == 2


def test_games_of_several_environments_begin_where_first_says_so(player):
    obs = np.zeros((3, 1))
    assert player(obs).tolist() == [10, 10, 10]
    assert player(obs).tolist() == [11, 11, 11]
    assert player(obs, first=[False, True, False]).tolist() == [12, 10, 12]


def test_another_number_of_environments_is_refused(player):
    player(np.zeros((3, 1)))
    with pytest.raises(ValueError, match=r"the player is of 3 environments, got 1: reset\(\) it first"):
        player([0.0])


def test_first_has_a_value_for_each_environment(player):
    with pytest.raises(ValueError, match="first must have one value for each of 2 environments"):
        player(np.zeros((2, 1)), first=[True])
