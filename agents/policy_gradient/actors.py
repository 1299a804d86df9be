"""How an actor-critic acts on rows of environments, and how it is evaluated on minibatches of a rollout."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from agents.on_policy.minibatches import shuffled_indices
from agents.on_policy.rollout import Rollout
from envs import TimeStep
from wnrl.device import to_device
from wnrl.networks.actor_critic import ActorCritic, ActorCriticValues, RecurrentActorCritic
from wnrl.networks.lstm_core import LSTMState


class ActorCriticMinibatch(NamedTuple):
    """Steps of a rollout to learn from; B stands for `[B]`, or for `[T, b]` of whole sequences."""

    obs: Tensor  # [B, *obs_shape]
    first: Tensor  # [B]
    action: Tensor  # [B] or [B, D]
    log_prob: Tensor  # [B], by the policy that acted
    value: Tensor  # [B], by the network that acted
    advantage: Tensor  # [B]
    target: Tensor  # [B], returns
    valid: Tensor  # [B] bool
    state: LSTMState | tuple[()] = ()  # of a recurrent network before the sequences, [b, H] each


def steps_of(rollout: Rollout, advantage: Tensor, target: Tensor) -> ActorCriticMinibatch:
    """All steps of a rollout, `[T, N]`, with their advantages and returns."""
    return ActorCriticMinibatch(
        rollout.obs,
        rollout.first,
        rollout.action,
        rollout.log_prob,
        rollout.value,
        advantage,
        target,
        rollout.valid,
    )


def outputs_of(network: Any, obs: Tensor) -> ActorCriticValues:
    """The outputs of `network` for observations `[B, *obs_shape]`, each an episode's first to a recurrent network."""
    if not isinstance(network, RecurrentActorCritic):
        return network(obs)
    first = torch.ones(len(obs), dtype=torch.bool, device=obs.device)
    return network.step(obs, network.initial_state(len(obs)), first)[0]


ActorState = LSTMState | tuple[()]  # of a recurrent network, [N, H] each; else nothing


class Actor(Protocol):
    """An actor-critic as the policy gradients use it."""

    network: Any
    """Acts."""

    capturable: bool
    """Whether `evaluate` never waits for the device."""

    def inputs(self, timestep: TimeStep, part: slice) -> tuple[Tensor, ...]:
        """The inputs of `act` and `value` for a part of a row, on the network's device.

        Args:
            timestep: of the environments of the part.
            part: of the N environments.
        """

    def act(self, *inputs: Tensor) -> tuple[ActorCriticValues, ActorState]:
        """The acting network's outputs and its state after that; without gradient, or waiting for the device."""

    def move(self, state: ActorState, part: slice) -> None:
        """Go on from this state of a part of the environments, as `act` returned it."""

    def value(self, *inputs: Tensor) -> Tensor:
        """Values `[N]` of a row on which no action is chosen yet; without gradient."""

    def start_rollout(self) -> None:
        """Start a rollout with the next row."""

    def order(self, shape: Sequence[int], number: int, generator: torch.Generator) -> Sequence[Tensor]:
        """The steps `[T, N]` of a rollout, shuffled, in so many minibatches: the indices of each."""

    def take(self, steps: ActorCriticMinibatch, indices: Tensor) -> ActorCriticMinibatch:
        """The minibatch with these indices, of the steps `[T, N]` of a rollout."""

    def put(self, values: Tensor, indices: Tensor, rows: Tensor) -> None:
        """Write the values `[B]` of the minibatch with these indices into `rows` `[T, N]`."""

    def minibatch_inputs(self, batch: ActorCriticMinibatch) -> tuple[Any, ...]:
        """A network's arguments for a minibatch."""

    def evaluate(self, network: Any, batch: ActorCriticMinibatch) -> ActorCriticValues:
        """The outputs of `network` for a minibatch."""

    def get_state(self) -> dict[str, Any]:
        """Everything needed to continue."""

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continue from such a state."""


class FeedforwardActor:
    """Acts with a network that takes each observation by itself.

    Args:
        network: acts.
    """

    capturable = True

    def __init__(self, network: ActorCritic) -> None:
        self.network, self._device = network, next(network.parameters()).device

    def inputs(self, timestep: TimeStep, part: slice) -> tuple[Tensor, ...]:
        """The observations."""
        return (to_device(timestep.obs, self._device),)

    @torch.no_grad()
    def act(self, *inputs: Tensor) -> tuple[ActorCriticValues, ActorState]:
        """The network's outputs for a row of N environments, and no state."""
        return self.network(*inputs), ()

    def move(self, state: ActorState, part: slice) -> None:
        """Nothing: there is no state."""

    def value(self, *inputs: Tensor) -> Tensor:
        """Values `[N]` of a row."""
        return self.act(*inputs)[0].value

    def start_rollout(self) -> None:
        """Nothing: no state is carried from row to row."""

    def order(self, shape: Sequence[int], number: int, generator: torch.Generator) -> Sequence[Tensor]:
        """Steps of all times and environments, shuffled together."""
        return shuffled_indices(math.prod(shape), number, generator)

    def take(self, steps: ActorCriticMinibatch, indices: Tensor) -> ActorCriticMinibatch:
        """These steps, `[B]`."""
        return tree_map(lambda x: x.flatten(0, 1)[indices], steps)

    def put(self, values: Tensor, indices: Tensor, rows: Tensor) -> None:
        """Write values `[B]` of these steps."""
        rows.view(-1).index_copy_(0, indices, values)

    def minibatch_inputs(self, batch: ActorCriticMinibatch) -> tuple[Any, ...]:
        """The observations."""
        return (batch.obs,)

    def evaluate(self, network: Any, batch: ActorCriticMinibatch) -> ActorCriticValues:
        """The outputs of `network` for the observations."""
        return network(batch.obs)

    def get_state(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Nothing."""


class RecurrentActor:
    """Acts with a network that carries a state from row to row, which is reset with each episode.

    Args:
        network: acts.
        num_envs: N.
    """

    capturable = False  # `evaluate` looks for the episodes' starts

    def __init__(self, network: RecurrentActorCritic, num_envs: int) -> None:
        self.network = network
        self._state, self._start = network.initial_state(num_envs), network.initial_state(num_envs)

    def inputs(self, timestep: TimeStep, part: slice) -> tuple[Tensor, ...]:
        """The observations, where episodes begin, and the state before the row."""
        obs, first = (to_device(x, self._state.h.device) for x in (timestep.obs, timestep.first))
        return obs, first, *(values[part] for values in self._state)

    @torch.no_grad()
    def act(self, *inputs: Tensor) -> tuple[ActorCriticValues, ActorState]:
        """The network's outputs for a row of N environments, and the state after it."""
        obs, first, *state = inputs
        return self.network.step(obs, LSTMState(*state), first)

    def move(self, state: ActorState, part: slice) -> None:
        """Go on from this state of a part of the environments."""
        _copy(state, (values[part] for values in self._state))

    def value(self, *inputs: Tensor) -> Tensor:
        """Values `[N]` of a row; the state stays that before it."""
        return self.act(*inputs)[0].value

    def start_rollout(self) -> None:
        """Keep the state with which a rollout starts."""
        _copy(self._state, self._start)

    def order(self, shape: Sequence[int], number: int, generator: torch.Generator) -> Sequence[Tensor]:
        """Environments, shuffled: a minibatch has their whole sequences."""
        return shuffled_indices(shape[1], number, generator)

    def take(self, steps: ActorCriticMinibatch, indices: Tensor) -> ActorCriticMinibatch:
        """The sequences `[T, b]` of these environments, with the state before them."""
        sequences = tree_map(itemgetter((slice(None), indices)), steps)
        return sequences._replace(state=tree_map(itemgetter(indices), self._start))

    def put(self, values: Tensor, indices: Tensor, rows: Tensor) -> None:
        """Write values `[T, b]` of these environments."""
        rows.index_copy_(1, indices, values)

    def minibatch_inputs(self, batch: ActorCriticMinibatch) -> tuple[Any, ...]:
        """The observations of the sequences, the state before them, and where episodes begin."""
        return batch.obs, batch.state, batch.first

    def evaluate(self, network: Any, batch: ActorCriticMinibatch) -> ActorCriticValues:
        """The outputs of `network` for the sequences `[T, b]`."""
        return network(*self.minibatch_inputs(batch))[0]

    def get_state(self) -> dict[str, Any]:
        """The state before the next row, and that with which the rollout started."""
        states = {"now": self._state, "start": self._start}
        return {name: tuple(part.clone() for part in state) for name, state in states.items()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continue from such a state."""
        _copy(state["now"], self._state)
        _copy(state["start"], self._start)


def _copy(source: Iterable[Tensor], target: Iterable[Tensor]) -> None:
    """Copy tensors into others, which a captured graph may use."""
    for values, place in zip(source, target, strict=True):
        place.copy_(values)
