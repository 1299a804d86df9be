"""agents.benchmarks.replay_costs: full replays beside stable-baselines3's."""

import itertools

import numpy as np
import torch

from agents.benchmarks.replay_costs import EPISODE, RandomGames, replay_costs, replay_table


def test_the_stream_is_of_stacks_that_follow_each_other():
    stream = RandomGames(2)
    rows = [stream.step() for _ in range(EPISODE + 2)]
    assert rows[0].obs.shape == (2, 4, 84, 84)
    for before, after in itertools.pairwise(rows[:EPISODE]):
        assert np.array_equal(before.next_obs, after.obs)
        assert np.array_equal(before.obs[:, 1:], after.obs[:, :-1])
    assert [index for index, row in enumerate(rows) if row.first.all()] == [0, EPISODE]
    assert [index for index, row in enumerate(rows) if row.last.all()] == [EPISODE - 1]


def test_frames_stored_once_take_an_eighth():
    figures = replay_costs(num_envs=2, batch_size=4, capacity=1_000, rounds=1, times=1, device=torch.device("cpu"))
    bytes_a_step = figures["bytes a step"]
    assert bytes_a_step["stable-baselines3"]["median"] > 2 * 4 * 84 * 84
    for name in ("Replay", "PrioritizedReplay", "for stable-baselines3"):
        assert 0.125 < bytes_a_step[name]["ratio"] < 0.14
        assert figures["sample"][name]["median"] > 0
    assert "sample (µs)" in replay_table(figures)
