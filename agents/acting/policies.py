"""Policies: how a network acts."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from agents.acting.exploration import with_random
from envs import TimeStep
from wnrl.device import to_device
from wnrl.networks.actor_critic import ActorCriticValues, RecurrentActorCritic
from wnrl.networks.lstm_core import LSTMState
from wnrl.networks.policy_heads import CategoricalPolicy

Policy = Callable[[TimeStep], np.ndarray]  # a row of N environments to their actions, [N] or [N, D]


class Decision(NamedTuple):
    """An agent's actions for one row of its environments while it learns."""

    action: np.ndarray  # [N] integers, or [N, D] where actions are continuous
    record: Any = None  # what else the agent stores, such as log-probabilities


def make_policy(
    network: nn.Module,
    rng: np.random.Generator,
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
    *,
    epsilon: float = 0.0,
    sample: bool = False,
    seen: Callable[[Any], Any] = lambda outputs: None,
) -> Policy:
    """A policy that follows `network`, which may go on learning.

    Args:
        network: a Q network, followed greedily, or one with a policy head; in evaluation mode.
        rng: of random actions and samples.
        autocast: a context for the forward pass.
        epsilon: probability of a uniformly random action; the policy refuses any but 0 where actions are continuous.
        sample: sample actions from a policy head instead of taking the most probable ones.
        seen: called with the network's outputs for each row.

    Returns:
        A function of time steps. That of a recurrent network carries its state: use one for each stream of rows.
    """
    device = next(network.parameters()).device
    generator = torch.Generator(device).manual_seed(int(rng.integers(2**62)))
    forward = Recurrence(network) if isinstance(network, RecurrentActorCritic) else None

    @torch.no_grad()
    def act(timestep: TimeStep) -> np.ndarray:
        with autocast():
            outputs = forward(timestep) if forward else network(to_device(timestep.obs, device))
        seen(outputs)
        policy = outputs if isinstance(outputs, CategoricalPolicy) else outputs.policy
        action = (policy.sample(generator) if sample else policy.mode()).cpu().numpy()
        if not epsilon:
            return action
        if not policy.num_actions:
            raise ValueError("epsilon needs discrete actions: leave it out, or set it to 0")
        return with_random(action, policy.num_actions, epsilon, rng)

    return act


class Recurrence:
    """A recurrent network with its state, for acting row by row.

    Args:
        network: called once for each row, without gradient.

    Attributes:
        state: before the next row, `[N, ...]`; None before the first one.
    """

    def __init__(self, network: RecurrentActorCritic) -> None:
        self._network, self._device = network, next(network.parameters()).device
        self.state: LSTMState | None = None

    @torch.no_grad()
    def __call__(self, timestep: TimeStep) -> ActorCriticValues:
        """The network's outputs for a row of N environments."""
        obs, first = (to_device(x, self._device) for x in (timestep.obs, timestep.first))
        state = self._network.initial_state(len(obs)) if self.state is None else self.state
        outputs, self.state = self._network.step(obs, state, first)
        return outputs
