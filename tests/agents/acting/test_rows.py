"""agents.acting.rows; that agents act alike on parts and on whole rows is in their contract."""

from typing import NamedTuple

import numpy as np
import pytest
import torch

from agents.acting.policies import Decision
from agents.acting.rows import ByRows, Turn
from envs.stream import first_rows


class Record(NamedTuple):
    action: torch.Tensor
    value: torch.Tensor


class Agent(ByRows):
    """Takes what it drew, and adds the observation; its record has a fixed place, as that of a captured graph has."""

    def __init__(self, records=True):
        self.rng, self.records = np.random.default_rng(0), records
        self.place = Record(torch.zeros(2, dtype=torch.int64), torch.zeros(2))

    def _draw_row(self, number, step):
        return self.rng.integers(100, size=number) + 1_000 * step

    def act_on(self, timestep, draws, part):
        action = draws[part] + timestep.obs[:, 0]
        if not self.records:
            return Decision(action)
        record = Record(*(place[: len(action)] for place in self.place))
        record.action.copy_(torch.from_numpy(action))
        record.value.copy_(torch.from_numpy(-action))
        return Decision(action, record)

    def _moved_by_acting(self):
        return {"rng": self.rng.bit_generator.state}


def row(*obs):
    return first_rows(np.array(obs)[:, None])


@pytest.mark.parametrize("records", [True, False])
def test_a_row_in_parts_is_acted_on_as_a_whole_one(records):
    drawn = np.random.default_rng(0).integers(100, size=5) + 3_000
    turn = Turn(Agent(records), 5, 3)
    actions = [turn.act(row(*obs), slice(obs[0], obs[-1] + 1)) for obs in ([0, 1], [2, 3], [4])]
    decision = turn.decision
    assert np.concatenate(actions).tolist() == decision.action.tolist() == (drawn + np.arange(5)).tolist()
    if records:
        assert decision.record.action.tolist() == decision.action.tolist()
        assert decision.record.value.tolist() == (-decision.action).tolist()
    else:
        assert decision.record is None


def test_a_whole_row_is_one_part():
    drawn = np.random.default_rng(0).integers(100, size=2) + 1_000
    assert Agent().act(row(5, 6), 1).action.tolist() == (drawn + np.array([5, 6])).tolist()


def test_what_acting_moves_is_kept_from_before_the_row():
    agent = Agent()
    before = agent.rng.bit_generator.state
    agent.draw_row(3, 0)
    assert agent._before_row == {"rng": before} != {"rng": agent.rng.bit_generator.state}
