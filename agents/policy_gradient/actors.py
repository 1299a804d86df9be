"""How an actor-critic acts on rows of the stream, and how it is evaluated on minibatches of a rollout."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import itemgetter
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from agents.on_policy.rollout import Rollout
from envs import TimeStep
from wnrl.device import to_device
from wnrl.networks.actor_critic import ActorCritic, ActorCriticValues, RecurrentActorCritic
from wnrl.networks.lstm_core import LSTMState


class Minibatch(NamedTuple):
    """Steps of a rollout to learn from; B stands for `[B]`, or for `[T, b]` of whole sequences."""

    obs: Tensor  # [B, *obs_shape]
    first: Tensor  # [B]
    action: Tensor  # [B] or [B, D]
    log_prob: Tensor  # [B]
    value: Tensor  # [B]
    advantage: Tensor  # [B]
    target: Tensor  # [B], returns
    valid: Tensor  # [B] bool
    state: tuple[Tensor, ...] = ()  # of a recurrent network before the sequences, [b, H] each

    def map(self, select: Callable[[Tensor], Tensor]) -> Minibatch:
        """The same of what `select` makes of each field but the state, which is left out."""
        fields: dict[str, Any] = {name: select(getattr(self, name)) for name in self._fields if name != "state"}
        return Minibatch(**fields)


class Actor(Protocol):
    """A network as on-policy agents use it."""

    evaluates_at_once: bool
    """Whether `evaluate` never waits for the device."""

    def see(self, timestep: TimeStep) -> tuple[Tensor, ...]:
        """What the network needs of a row of N environments, on its device."""

    def act(self, *row: Tensor) -> ActorCriticValues:
        """What the acting network says of a row that was seen; without gradient, and without waiting for the device."""

    def look(self, *row: Tensor) -> Tensor:
        """Values `[N]` of a row on which no action is chosen yet; without gradient."""

    def begin(self) -> None:
        """A rollout begins with the next row."""

    def minibatches(self, steps: Minibatch, number: int, generator: torch.Generator) -> Iterator[Minibatch]:
        """All steps `[T, N]` of a rollout, shuffled, in so many parts."""

    def inputs(self, batch: Minibatch) -> tuple[Any, ...]:
        """What a network is called with on a minibatch."""

    def evaluate(self, network: Any, batch: Minibatch) -> ActorCriticValues:
        """What `network` says of a minibatch."""

    def get_state(self) -> dict[str, Any]:
        """Everything needed to go on."""

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from such a state."""


class FeedforwardActor:
    """A network that looks at each observation by itself.

    Args:
        network: acts.
    """

    evaluates_at_once = True

    def __init__(self, network: ActorCritic) -> None:
        self._network, self._device = network, next(network.parameters()).device

    def see(self, timestep: TimeStep) -> tuple[Tensor, ...]:
        """The observations."""
        return (to_device(timestep.obs, self._device),)

    @torch.no_grad()
    def act(self, *row: Tensor) -> ActorCriticValues:
        """What the network says of a row of N environments."""
        return self._network(*row)

    def look(self, *row: Tensor) -> Tensor:
        """Values `[N]` of a row."""
        return self.act(*row).value

    def begin(self) -> None:
        """Nothing is carried from row to row."""

    def minibatches(self, steps: Minibatch, number: int, generator: torch.Generator) -> Iterator[Minibatch]:
        """Steps of all times and environments, shuffled together, in `number` parts that differ by one at most."""
        flat = steps.map(lambda values: values.flatten(0, 1))
        order = torch.randperm(len(flat.valid), generator=generator, device=generator.device)
        for places in order.tensor_split(number):
            yield flat.map(itemgetter(places))

    def inputs(self, batch: Minibatch) -> tuple[Any, ...]:
        """The observations."""
        return (batch.obs,)

    def evaluate(self, network: Any, batch: Minibatch) -> ActorCriticValues:
        """What `network` says of the observations."""
        return network(*self.inputs(batch))

    def get_state(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Nothing."""


class RecurrentActor:
    """A network that carries a state from row to row, which begins anew with each episode.

    Args:
        network: acts.
        num_envs: N.
    """

    evaluates_at_once = False  # it looks for the episodes' starts

    def __init__(self, network: RecurrentActorCritic, num_envs: int) -> None:
        self._network = network
        self._state, self._start = network.initial_state(num_envs), network.initial_state(num_envs)

    def see(self, timestep: TimeStep) -> tuple[Tensor, ...]:
        """The observations, and where episodes begin."""
        return tuple(to_device(x, self._state.h.device) for x in (timestep.obs, timestep.first))

    @torch.no_grad()
    def act(self, *row: Tensor) -> ActorCriticValues:
        """What the network says of a row of N environments; the state goes on."""
        obs, first = row
        outputs, state = self._network.step(obs, self._state, first)
        _write(self._state, state)
        return outputs

    @torch.no_grad()
    def look(self, *row: Tensor) -> Tensor:
        """Values `[N]` of a row; the state stays before it."""
        obs, first = row
        return self._network.step(obs, self._state, first)[0].value

    def begin(self) -> None:
        """Remember the state with which a rollout begins."""
        _write(self._start, self._state)

    def minibatches(self, steps: Minibatch, number: int, generator: torch.Generator) -> Iterator[Minibatch]:
        """Whole sequences of the environments, shuffled, in `number` parts."""
        order = torch.randperm(steps.valid.shape[1], generator=generator, device=generator.device)
        for envs in order.tensor_split(number):
            state = tuple(part[envs] for part in self._start)
            yield steps.map(itemgetter((slice(None), envs)))._replace(state=state)

    def inputs(self, batch: Minibatch) -> tuple[Any, ...]:
        """The observations of the sequences, the state before them, and where episodes begin."""
        return batch.obs, LSTMState(*batch.state), batch.first

    def evaluate(self, network: Any, batch: Minibatch) -> ActorCriticValues:
        """What `network` says of the sequences `[T, b]`."""
        return network(*self.inputs(batch))[0]

    def get_state(self) -> dict[str, Any]:
        """The state before the next row, and that with which the rollout began."""
        states = {"now": self._state, "start": self._start}
        return {name: tuple(part.clone() for part in state) for name, state in states.items()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from `get_state`'s state."""
        _write(self._state, state["now"])
        _write(self._start, state["start"])


def _write(places: Iterable[Tensor], values: Iterable[Tensor]) -> None:
    """Copy tensors to where others lie."""
    for place, value in zip(places, values, strict=True):
        place.copy_(value)


def steps_of(rollout: Rollout, advantage: Tensor, target: Tensor) -> Minibatch:
    """All steps of a rollout, `[T, N]`, with their advantages and returns."""
    return Minibatch(
        rollout.obs,
        rollout.first,
        rollout.action,
        rollout.log_prob,
        rollout.value,
        advantage,
        target,
        rollout.valid,
    )
