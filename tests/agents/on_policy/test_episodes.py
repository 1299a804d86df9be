import numpy as np
import torch

from agents.on_policy.episodes import EpisodeStorage
from agents.on_policy.rollout import SampledAction
from envs.stream import first_rows
from tests.agents.contract import differences
from tests.agents.environments import Clockwork


class Play:
    """Rows of a clockwork, stored until the storage is full."""

    def __init__(self, *lengths, episodes=1, storage=None):
        self.environment, n = Clockwork(*lengths), len(lengths)
        self.storage, self.n = storage or EpisodeStorage(episodes, n), n
        self.timestep, self.rows = self.environment.reset(0), 0

    def step(self):
        self.storage.add(
            self.timestep, SampledAction(torch.full((self.n,), self.rows), torch.zeros(self.n), torch.ones(self.n))
        )
        self.timestep = self.environment.step(np.zeros(self.n, int))
        self.storage.follow(self.timestep, self.timestep.reward)
        self.rows += 1

    def until_full(self):
        while not self.storage.full:
            self.step()
        return self.storage.read()


def test_each_environment_plays_its_share_and_no_more():
    rollout = Play(2, 5, 7, episodes=2).until_full()
    assert rollout.valid.sum(0).tolist() == [2 * 2, 2 * 5, 2 * 7]
    assert len(rollout.valid) == 7 + 1 + 7
    assert rollout.valid[:6, 0].tolist() == [True, True, False, True, True, False]


def test_a_decision_may_be_overwritten_by_the_next():
    """As it is by an agent that acts in a graph."""
    environment, storage = Clockwork(4), EpisodeStorage(1, 1)
    timestep, decision = (
        environment.reset(0),
        SampledAction(torch.zeros(1, dtype=torch.int64), torch.zeros(1), torch.zeros(1)),
    )
    while not storage.full:
        for values in decision:
            values += 1
        storage.add(timestep, decision)
        timestep = environment.step(np.zeros(1, int))
        storage.follow(timestep, timestep.reward)
    rollout = storage.read()
    assert rollout.action.tolist() == [[1], [2], [3], [4]]
    assert rollout.log_prob.tolist() == rollout.value.tolist() == [[1.0], [2.0], [3.0], [4.0]]


def test_only_episodes_that_begin_after_an_update_count():
    """At the first update the third environment is in mid-episode."""
    play = Play(2, 3, 5)
    while not (play.storage._played[:2] >= 1).all():
        play.step()
    play.storage.clear()
    rollout = play.until_full()
    assert rollout.valid.sum(0).tolist() == [2, 3, 5]
    begins = [int(rollout.valid[:, env].nonzero()[0]) for env in range(3)]
    assert all(rollout.first[begin, env] for env, begin in enumerate(begins))
    assert begins[2] == 5 - 3 + 1  # what was under way is played on: two steps and the last row


def test_an_episode_that_begins_with_the_first_row_counts():
    rollout = Play(4).until_full()
    assert rollout.valid.tolist() == [[True]] * 4
    assert rollout.action.tolist() == [[0], [1], [2], [3]]
    assert rollout.discount.tolist() == [[1], [1], [1], [0]]
    assert rollout.reward.dtype == torch.float32


def test_other_games_after_a_resume_are_no_step():
    play = Play(4, 9)
    play.step()
    play.step()
    play.timestep = play.environment.reset(1)
    play.step()
    assert play.storage.read().valid.tolist() == [[True, True], [False, False], [True, True]]


def test_what_is_looked_at_outlives_an_update_and_is_bounded():
    play = Play(3, 3)
    assert play.storage.recent_obs() is None
    play.step()
    assert play.storage.recent_obs().shape == (2, 1)
    play.storage.clear()
    assert play.storage.recent_obs().shape == (2, 1)
    for _ in range(400):
        play.step()
    assert play.storage.recent_obs().shape == (512, 1)
    one = EpisodeStorage(1, 1)
    one.add(first_rows(np.zeros((1, 4), np.float32)), SampledAction(torch.zeros(1), torch.zeros(1), torch.zeros(1)))
    assert one.recent_obs() is None


def test_goes_on_from_its_state():
    play, other = Play(2, 5), EpisodeStorage(1, 2)
    for _ in range(4):
        play.step()
    other.set_state(play.storage.get_state())
    assert differences(play.storage.get_state(), other.get_state()) == []
    rest = play.storage
    while not rest.full:
        row, rows = play.timestep, play.rows
        play.step()
        other.add(row, SampledAction(torch.full((2,), rows), torch.zeros(2), torch.ones(2)))
        other.follow(play.timestep, play.timestep.reward)
    assert other.full
    assert differences(rest.read()._asdict(), other.read()._asdict()) == []


def test_a_row_whose_step_failed_is_none():
    """What was written of it before the step, also as it stands in files of earlier versions."""
    play, other = Play(2, 5), EpisodeStorage(1, 2)
    play.step()
    before = play.storage.get_state()
    play.storage.add(play.timestep, SampledAction(torch.zeros(2), torch.zeros(2), torch.zeros(2)))
    assert differences(play.storage.get_state()["rows"], before["rows"]) == []
    longer = {name: rows.repeat(2, *[1] * (rows.ndim - 1)) for name, rows in before["rows"].items()}
    other.set_state({**before, "rows": {**longer, "valid": before["rows"]["valid"]}})
    assert differences(other.get_state()["rows"], before["rows"]) == []
    first = EpisodeStorage(1, 2)
    first.add(play.timestep, SampledAction(torch.zeros(2), torch.zeros(2), torch.zeros(2)))
    assert first.get_state()["rows"] == {}


def test_an_empty_storage_has_a_state_too():
    storage = EpisodeStorage(1, 2)
    storage.set_state(EpisodeStorage(1, 2).get_state())
    assert (len(storage), storage.recent_obs()) == (0, None)
