"""What a value agent makes of the future: the policy whose value its targets take over, as parts of the DQN family."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from torch import Tensor

from agents.losses.value import greedy, munchausen_bonus, softmax_policy
from wnrl.replay.uniform import Transition

QFunction = Callable[[Tensor], Tensor]  # observations [B, *obs_shape] to values [B, A], without gradient


class Bootstrap(NamedTuple):
    """A target before the values of the next observation are put in."""

    reward: Tensor  # [B]
    discount: Tensor  # [B]
    policy: Tensor  # [B, A], of the next observation's actions
    penalty: Tensor | None  # [B, A], taken from the next observation's values; None: nothing


class MakeBootstrap(Protocol):
    """A part of an agent that says what its targets take over."""

    def __call__(self, batch: Transition, next_q: Tensor, *, learner: QFunction, target: QFunction) -> Bootstrap:
        """The bootstrap of a batch.

        Args:
            batch: of transitions.
            next_q: `[B, A]`, values of the next observations by the target network.
            learner: the learner's values.
            target: the target network's values.
        """


def greedy_bootstrap(batch: Transition, next_q: Tensor, *, learner: QFunction, target: QFunction) -> Bootstrap:
    """The target network chooses what it values (Mnih et al. 2015)."""
    return Bootstrap(batch.reward, batch.discount, greedy(next_q), None)


def double_bootstrap(batch: Transition, next_q: Tensor, *, learner: QFunction, target: QFunction) -> Bootstrap:
    """The learner chooses what the target network values (van Hasselt et al. 2016, equation 4)."""
    return Bootstrap(batch.reward, batch.discount, greedy(learner(batch.next_obs)), None)


class MunchausenBootstrap(NamedTuple):
    """The soft policy of the target network, and its log-probability as a reward (Vieillard et al. 2020, M-DQN).

    Over several steps the bonus is that of the first action alone.
    """

    temperature: float  # of the soft policy, in units of a return
    alpha: float  # share of the log-probability that is added to the reward
    low: float  # the least bonus before `alpha`

    def __call__(self, batch: Transition, next_q: Tensor, *, learner: QFunction, target: QFunction) -> Bootstrap:
        """The bootstrap of a batch."""
        bonus = munchausen_bonus(
            target(batch.obs), batch.action, temperature=self.temperature, alpha=self.alpha, low=self.low
        )
        policy, log_policy = softmax_policy(next_q, self.temperature)
        return Bootstrap(batch.reward + bonus, batch.discount, policy, self.temperature * log_policy)
