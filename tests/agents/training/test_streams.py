"""Random numbers of environments: runs of two seeds, evaluations and resumes share no stream of them."""

import itertools

import numpy as np
import pytest

from agents.acting.policies import Decision
from agents.registry import AGENTS
from agents.runtime.distributed import OneProcess
from agents.settings.dqn import DQNSettings
from agents.settings.flat import from_flat, replace
from agents.settings.run import TrainSettings
from agents.training.run import Run
from agents.training.trainer import Trainer
from envs import Gym, make
from envs.seeds import environment_seeds
from tests.agents.environments import Clockwork
from tests.agents.training.recorder import Recorder

ATARI = {"game": "Breakout", "max_frames": 40}  # games of 10 steps, of which the number of no-ops differs
STICKY = {"game": "Breakout", "sticky_actions": 0.25, "noop_max": 0}


class Dice(Recorder):
    """Plays the same random actions in all environments of every run."""

    def __init__(self, num_actions):
        super().__init__()
        self._num_actions, self._rng = num_actions, np.random.default_rng(0)

    def act(self, timestep, step):
        return Decision(np.full(len(timestep.obs), self._rng.integers(self._num_actions)))


def rows(options, seed, number=2, length=120):
    """Observations of a run's first rows `[T, N, ...]`, of games the newest frame, and where games begin `[T, N]`."""
    environment = make(num_envs=number, **options)
    agent = Dice(environment.num_actions)
    Trainer(agent, environment, seed=seed).run(length * number)
    environment.close()
    seen = [timestep for timestep, _ in agent.observed][:length]
    obs, first = np.stack([row.obs for row in seen]), np.stack([row.first for row in seen])
    return obs[:, :, -1] if "game" in options else obs, first


@pytest.mark.parametrize(
    "options", [{"env": "CartPole-v1"}, {"env": "Acrobot-v1"}, {"env": "Recall", "cues": 4}, ATARI, STICKY], ids=str
)
def test_runs_of_neighbouring_seeds_share_no_stream(options):
    """With the same actions in each, two environments with one stream would show the same."""
    seeds = range(2 if "game" in options else 3)  # an emulator costs a fifth of a second
    streams = [obs[:, i].tobytes() for seed in seeds for obs, _ in [rows(options, seed)] for i in range(2)]
    assert len(set(streams)) == len(streams)
    again, _ = rows(options, 1)
    assert [again[:, i].tobytes() for i in range(2)] == streams[2:4]


def test_no_game_of_one_run_is_one_of_another():
    """Not a later one either, as it is where the streams are shifted."""
    starts = []
    for seed in range(4):
        obs, first = rows({"env": "CartPole-v1"}, seed, number=4)
        starts += map(tuple, obs[first])
    assert len(set(starts)) == len(starts) > 60


def test_environments_of_several_processes_are_those_of_one():
    class Third(OneProcess):
        rank, world_size = 2, 4

    environments = [Clockwork(*[5] * number) for number in (8, 2)]
    Trainer(Recorder(), environments[0], seed=3).run(8)
    Trainer(Recorder(), environments[1], seed=3, ranks=Third()).run(2)
    (joint,), (own,) = (environment.seeds for environment in environments)
    assert own.tolist() == joint[4:6].tolist()


@pytest.fixture
def started(monkeypatch):
    """The seeds of all environments that are started, on a resume too: an array `[N]` each."""
    monkeypatch.setattr(Gym, "resumable", False)
    seeds, reset = [], Gym.reset

    def watched(self, seed=None):
        seeds.append(environment_seeds(seed, self.num_envs))
        return reset(self, seed)

    monkeypatch.setattr(Gym, "reset", watched)
    return seeds


def play(path, steps, **changes):
    run = {"env": "CartPole-v1", "hidden": (4,), "device": "cpu", "num_envs": 2, "eval_interval": 30, "seed": 4}
    options = {"learning_starts": 20, "batch_size": 4, "replay_size": 200, "eval_episodes": 2, "run_dir": path}
    settings = from_flat(TrainSettings[DQNSettings], run | options, steps=steps)
    with Run(AGENTS["dqn"], replace(settings, **changes)) as started:
        started.learn()


def test_training_its_evaluations_and_a_resume_have_streams_of_their_own(tmp_path, started):
    play(tmp_path / "run", 60)
    whole = [*started]  # training, evaluations at steps 30 and 60
    assert [len(seeds) for seeds in whole] == [2, 2, 2]
    play(tmp_path / "run", 120, resume=tmp_path / "run")
    assert [len(seeds) for seeds in started] == [2] * 6
    assert len(set(np.concatenate(started).tolist())) == 12
    started.clear()
    play(tmp_path / "again", 120)
    training, *evaluations = started
    assert training.tolist() == whole[0].tolist()
    assert [seeds.tolist() for seeds in evaluations[:2]] == [seeds.tolist() for seeds in whole[1:]]


def test_evaluations_after_a_resume_play_the_games_of_an_uninterrupted_run(tmp_path, started):
    play(tmp_path / "part", 60)
    play(tmp_path / "part", 120, resume=tmp_path / "part")
    parts = [*started]
    started.clear()
    play(tmp_path / "whole", 120)
    evaluations = [seeds.tolist() for seeds in started[1:]]
    assert [seeds.tolist() for seeds in [*parts[1:3], *parts[4:]]] == evaluations


def test_evaluations_of_one_run_play_different_games(tmp_path, monkeypatch):
    shown, reset = [], Gym.reset

    def watched(self, seed=None):
        row = reset(self, seed)
        shown.extend(map(tuple, row.obs))
        return row

    monkeypatch.setattr(Gym, "reset", watched)
    play(tmp_path / "run", 120)
    assert len(set(shown)) == len(shown) == 10
    before = [*itertools.islice(shown, 10)]
    shown.clear()
    play(tmp_path / "same", 120)
    assert shown == before
