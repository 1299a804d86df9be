import math

import numpy as np
import pytest

from envs import Chain, Episode, EpisodeStatistics, TimeStep


def row(reward, first=None, last=None, discount=None):
    n = len(reward)
    off = [False] * n
    return TimeStep(
        np.zeros((n, 1), np.float32),
        np.array(reward, np.float32),
        np.array(discount or [1.0] * n, np.float32),
        np.array(first or off),
        np.array(last or off),
    )


def test_two_environments():
    statistics = EpisodeStatistics(2)
    assert statistics.update(row([0, 0], first=[True, True])) == []
    assert statistics.update(row([1, 5])) == []
    assert statistics.update(row([2, 7], last=[True, False])) == [Episode(env=0, score=3.0, length=2)]
    assert statistics.update(row([0, 1], first=[True, False])) == []
    assert statistics.update(row([-1, 1], last=[True, True])) == [Episode(0, -1.0, 1), Episode(1, 14.0, 4)]
    assert statistics.mean_score == pytest.approx(16 / 3)
    assert statistics.mean_length == pytest.approx(7 / 3)


def test_a_lost_life_does_not_end_the_score():
    statistics = EpisodeStatistics(1)
    statistics.update(row([0], first=[True]))
    assert statistics.update(row([4], discount=[0.0])) == []
    assert statistics.update(row([3], discount=[0.0], last=[True])) == [Episode(0, 7.0, 2)]


def test_means_are_nan_before_an_episode_ends():
    statistics = EpisodeStatistics(1)
    statistics.update(row([0], first=[True]))
    statistics.update(row([1]))
    assert math.isnan(statistics.mean_score)
    assert math.isnan(statistics.mean_length)


def test_means_are_over_the_last_100_episodes():
    statistics = EpisodeStatistics(1)
    for score in range(150):
        statistics.update(row([0], first=[True]))
        statistics.update(row([score], last=[True]))
    assert statistics.mean_score == np.mean(np.arange(50, 150))
    assert EpisodeStatistics(1, window=7)._scores.maxlen == 7


def test_large_scores_do_not_lose_small_rewards():
    statistics = EpisodeStatistics(1)
    statistics.update(row([0], first=[True]))
    statistics.update(row([2**24]))
    statistics.update(row([1]))
    assert statistics.update(row([1], last=[True]))[0].score == 2**24 + 2


def test_rows_before_the_first_start_are_left_out():
    assert EpisodeStatistics(1).update(row([5], last=[True])) == []


def test_state_round_trips_in_the_middle_of_episodes():
    env, straight = Chain(3, length=3, max_steps=6, slip=0.4), EpisodeStatistics(3, window=5)
    rng, resumed = np.random.default_rng(0), EpisodeStatistics(3, window=5)
    straight.update(env.reset(seed=0))
    for t in range(60):
        if t == 31:
            resumed.set_state(straight.get_state())
        step = env.step(rng.integers(0, 2, 3))
        expected = straight.update(step)
        assert t < 31 or resumed.update(step) == expected
    assert resumed.mean_score == straight.mean_score > 0
    assert resumed.mean_length == straight.mean_length
    assert {type(v) for v in straight.get_state().values()} == {np.ndarray}


def test_the_state_is_a_copy():
    statistics = EpisodeStatistics(1)
    statistics.update(row([0], first=[True]))
    state = statistics.get_state()
    statistics.update(row([5], last=[True]))
    assert (state["score"].tolist(), state["length"].tolist(), state["running"].tolist()) == ([0], [0], [True])
    assert len(state["scores"]) == 0


def test_wrong_sizes_are_named():
    with pytest.raises(ValueError, match=r"step must be of 2 environments, got rewards \[1\]"):
        EpisodeStatistics(2).update(row([0]))
    with pytest.raises(ValueError, match="state of 1 environments, these statistics follow 2"):
        EpisodeStatistics(2).set_state(EpisodeStatistics(1).get_state())
    with pytest.raises(ValueError, match="window must be at least 1 episode, got 0"):
        EpisodeStatistics(1, window=0)
