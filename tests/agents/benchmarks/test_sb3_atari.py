"""agents.benchmarks.sb3_atari: the host's algorithms with its own Atari environments and with AtariVecEnv."""

import numpy as np
import pytest

from agents.benchmarks import sb3_atari
from agents.benchmarks.races import RaceTask

PONG = RaceTask("Pong", None, "cpu")


@pytest.mark.slow
def test_three_kinds_of_environments_are_timed():
    figures = sb3_atari.playing_rates(PONG, num_envs=2, steps=8, rounds=2)
    assert [*figures["summary"]] == ["DummyVecEnv", "SubprocVecEnv", "AtariVecEnv"]
    assert all(len(rates) == 2 and min(rates) > 0 for rates in figures["steps_per_second"].values())


def test_both_sides_learn_on_from_timing_to_timing(monkeypatch):
    monkeypatch.setattr(sb3_atari, "WARMUP", 20)
    figures = sb3_atari.learning_rates(PONG, "a2c", num_envs=2, steps=10, rounds=2, seed=0)
    assert [*figures["summary"]] == [*figures["scores"]] == ["DummyVecEnv", "AtariVecEnv"]
    assert figures["scores"]["DummyVecEnv"] == [(20, 0.0), (30, 0.0), (40, 0.0)]
    table = sb3_atari.score_table(figures).splitlines()
    assert table[0].split() == ["steps", "DummyVecEnv", "AtariVecEnv"]
    assert table[3].split() == ["40", "0.0", "0.0"]


def test_the_score_is_the_mean_of_the_last_games():
    class Model:
        num_timesteps = 5
        ep_info_buffer = ()

        def learn(self, steps, reset_num_timesteps):
            self.num_timesteps += steps + 3  # whole rollouts
            self.ep_info_buffer = [*self.ep_info_buffer, {"r": self.num_timesteps}]

    model, scores = Model(), []
    assert [sb3_atari._learn(model, scores, 7) for _ in range(2)] == [10, 10]
    assert scores == [(15, 15.0), (25, 20.0)]


def test_epsilon_falls_with_the_steps_however_they_are_timed():
    environment = sb3_atari._environments(PONG)["AtariVecEnv"](2)
    model = sb3_atari._model(PONG, "dqn", environment, seed=0)
    found = []
    for model.num_timesteps in (0, 10_000, 20_000, 90_000):
        found.append(model.exploration_schedule(model._current_progress_remaining))
    np.testing.assert_allclose(found, [1, 0.525, 0.05, 0.05])
