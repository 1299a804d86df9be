"""What the other states of a minibatch do to the values of a state: one state in many companies."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from wnrl.replay.uniform import Transition

SPREAD = 1_024  # states whose values' spread the noise is a share of
ROUNDING = 1e-6  # a smaller share counts as rounding errors, and as 0

Draw = Callable[[int], Transition]  # so many transitions, drawn as for learning


class Deviation(NamedTuple):
    """How far a number varies that should depend on the state alone."""

    over_companies: float
    """Standard deviation of a state's number over its companies, root mean square over states and actions."""
    over_states: float
    """Standard deviation over states, in one minibatch of `SPREAD`; root mean square over actions."""

    @property
    def noise(self) -> float:
        """The one as a share of the other; 0 where it is within rounding errors, NaN where the states do not differ."""
        if self.over_companies <= ROUNDING * self.over_states:
            return 0.0 if self.over_states > 0 else math.nan
        return self.over_companies / self.over_states if self.over_states > 0 else math.nan


class Noise(NamedTuple):
    """Of minibatches of one size."""

    q: Deviation
    """Of Q values in training mode, as in the pass from which an agent learns."""
    target: Deviation
    """Of TD targets reward + discount × max Q(next state), if the target network, a copy of the learner, took the
    statistics of the next states' minibatch. (Ours takes running statistics: its targets have no such noise.)"""


@torch.no_grad()
def measure(network: nn.Module, draw: Draw, batch_size: int, *, states: int, companies: int) -> Noise:
    """The noise that minibatches add to Q values and TD targets of a network in training mode.

    Args:
        network: from observations to a NamedTuple with `q_values` `[B, A]`; it is not changed.
        draw: transitions of the replay buffer. Nothing else is drawn at random.
        batch_size: of the minibatches, at least 2: the state and its company.
        states: that are looked at.
        companies: of each state, at least 2.
    """
    trial = _Trial(network)
    probes, many = draw(states), draw(SPREAD)
    q, target = [], []  # [companies, A] and [companies] of each state
    for index in range(states):
        others = [draw(batch_size - 1) for _ in range(companies)]
        q.append(trial.outputs(probes.obs[index], [other.obs for other in others]))
        q_next = trial.outputs(probes.next_obs[index], [other.next_obs for other in others])
        target.append(td_target(probes.reward[index], probes.discount[index], q_next))
    q_of_many = trial(many.obs)
    targets_of_many = td_target(many.reward, many.discount, trial(many.next_obs))
    return Noise(
        _deviation(torch.stack(q), q_of_many),
        _deviation(torch.stack(target)[:, :, None], targets_of_many[:, None]),
    )


def td_target(reward: Tensor, discount: Tensor, q_next: Tensor) -> Tensor:
    """reward + discount × max over actions of the next state's values `[..., A]` (Mnih et al. 2015): `[...]`."""
    return reward + discount * q_next.amax(-1)


class _Trial:
    """A copy of a network in training mode, whose passes all start from the same buffers."""

    def __init__(self, network: nn.Module) -> None:
        self._network = copy.deepcopy(network).train()
        self._buffers = list(self._network.buffers())
        self._values = [buffer.clone() for buffer in self._buffers]

    def __call__(self, obs: Tensor) -> Tensor:
        if self._buffers:
            torch._foreach_copy_(self._buffers, self._values)
        return self._network(obs).q_values

    def outputs(self, state: Tensor, others: list[Tensor]) -> Tensor:
        """The values `[companies, A]` of a state in each of its companies `[batch_size - 1, ...]`."""
        return torch.stack([self(torch.cat([state[None], company]))[0] for company in others])


def _deviation(values: Tensor, of_many: Tensor) -> Deviation:
    """Of values `[states, companies, A]`, and of those of many states in one minibatch `[SPREAD, A]`."""
    over_companies = values.double().var(1).mean().sqrt()
    return Deviation(over_companies.item(), of_many.double().var(0).mean().sqrt().item())
