"""Acting on a row of environments at once or part by part, with the same actions either way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from agents.acting.policies import Decision
from envs import TimeStep


class ByRows:
    """Base of agents whose actions for a row are made from what is drawn at random for all of it.

    A row that is acted on in parts and not observed yet does not show in the agent's state.
    """

    _before_row: Mapping[str, Any] | None = None  # `_moved_by_acting` before such a row

    def act(self, timestep: TimeStep, step: int) -> Decision:
        """The decision at a row of the stream, while learning at `step`."""
        return self.act_on(timestep, self._draw_row(len(timestep.obs), step), slice(None))

    def draw_row(self, number: int, step: int) -> Any:
        """All that the actions of a row of N environments draw at random, while learning at `step`."""
        self._before_row = self._moved_by_acting()
        return self._draw_row(number, step)

    def _draw_row(self, number: int, step: int) -> Any:
        raise NotImplementedError

    def act_on(self, timestep: TimeStep, draws: Any, part: slice) -> Decision:
        """The decision at a part of a row; what is in it may be overwritten by the next call.

        Args:
            timestep: of the environments of the part.
            draws: for the whole row, see `draw_row`.
            part: of its environments.
        """
        raise NotImplementedError

    def _moved_by_acting(self) -> Mapping[str, Any]:
        """What changes in the agent's state when it acts: the states of random generators, by their names there."""
        raise NotImplementedError


class Turn:
    """A row that is acted on part by part.

    Args:
        agent: that acts.
        number: N, environments in the row.
        step: at which it learns.
    """

    def __init__(self, agent: Any, number: int, step: int) -> None:
        self._agent, self._draws = agent, agent.draw_row(number, step)
        self._made: list[Decision] = []

    def act(self, timestep: TimeStep, part: slice) -> np.ndarray:
        """The actions at the next part of the row."""
        decision = self._agent.act_on(timestep, self._draws, part)
        record = decision.record
        kept = None if record is None else type(record)(*(values.clone() for values in record))
        self._made.append(Decision(decision.action.copy(), kept))
        return self._made[-1].action

    @property
    def decision(self) -> Decision:
        """The decision at the whole row, when all of its parts are acted on."""
        actions, records = zip(*self._made, strict=True)
        action = np.concatenate(actions)
        if records[0] is None:
            return Decision(action)
        return Decision(action, type(records[0])(*(torch.cat(columns) for columns in zip(*records, strict=True))))
