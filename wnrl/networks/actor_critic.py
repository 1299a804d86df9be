"""Actor-critics: a policy and the value of a state, on the same features or each on its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn

from wnrl.initialization.orthogonal import orthogonal_init
from wnrl.networks.heads import Head
from wnrl.networks.lstm_core import LSTMCore, LSTMState
from wnrl.networks.observation_norm import NoNorm, RunningNorm
from wnrl.networks.policy_heads import CategoricalPolicy, GaussianPolicy, GaussianPolicyHead, PolicyHead, ValueHead
from wnrl.networks.q_network import PLAIN, Architecture, make_torso, normalize_each, seeded


ORTHOGONAL_GAINS = {"torso": math.sqrt(2), "value_torso": math.sqrt(2), "core": 1.0, "policy": 0.01, "value": 1.0}
"""Gains of `orthogonal_init` for the parts of an actor-critic (Huang et al. 2022)."""


class ActorCriticValues(NamedTuple):
    """What an actor-critic network says of a batch of observations."""

    policy: CategoricalPolicy | GaussianPolicy
    value: Tensor  # [B] float32, of the states


class ActorCritic(nn.Module):
    """A torso with a policy and a value on its features, or a torso for each.

    Args:
        torso: maps observations `[B, *obs_shape]` to features `[B, F]`.
        policy: a `PolicyHead` or a `GaussianPolicyHead`.
        value: of the states.
        value_torso: makes the features of the value; None takes those of `torso`.
        obs_norm: before the torsos; None leaves observations as they are.

    Attribute `obs_norm`: has `update(obs)`, which does nothing where there is none.
    """

    def __init__(
        self,
        torso: nn.Module,
        policy: Head,
        value: ValueHead,
        value_torso: nn.Module | None = None,
        obs_norm: RunningNorm | None = None,
    ) -> None:
        super().__init__()
        self.obs_norm = NoNorm() if obs_norm is None else obs_norm
        self.torso = torso
        self.policy = policy
        self.value_torso = value_torso
        self.value = value

    @property
    def output_layers(self) -> tuple[nn.Module, ...]:
        """The layers that make the outputs."""
        return (*self.policy.output_layers, *self.value.output_layers)

    @property
    def streams(self) -> tuple[nn.Module, ...]:
        """What leads from observations to outputs: the network, or where they have two torsos, policy and value."""
        if self.value_torso is None:
            return (self,)
        return nn.ModuleList([self.torso, self.policy]), nn.ModuleList([self.value_torso, self.value])

    def forward(self, obs: Tensor) -> ActorCriticValues:
        """Policy and value `[B]` of observations `[B, *obs_shape]`."""
        obs = self.obs_norm(obs)
        features = self.torso(obs)
        value_features = features if self.value_torso is None else self.value_torso(obs)
        return ActorCriticValues(self.policy(features), self.value(value_features))


class RecurrentActorCritic(nn.Module):
    """A torso and an LSTM over time with a policy and a value on its outputs.

    Args:
        torso: maps observations `[B, *obs_shape]` to features `[B, F]`.
        core: maps sequences of features to outputs `[T, B, H]`.
        policy: a `PolicyHead` or a `GaussianPolicyHead`, from H features.
        value: of the states, from H features.
        obs_norm: before the torso; None leaves observations as they are.

    Attribute `obs_norm`: has `update(obs)`, which does nothing where there is none.
    """

    def __init__(
        self, torso: nn.Module, core: LSTMCore, policy: Head, value: ValueHead, obs_norm: RunningNorm | None = None
    ) -> None:
        super().__init__()
        self.obs_norm = NoNorm() if obs_norm is None else obs_norm
        self.torso = torso
        self.core = core
        self.policy = policy
        self.value = value

    @property
    def output_layers(self) -> tuple[nn.Module, ...]:
        """The layers that make the outputs."""
        return (*self.policy.output_layers, *self.value.output_layers)

    @property
    def streams(self) -> tuple[nn.Module, ...]:
        """What leads from observations to outputs: the network."""
        return (self,)

    def initial_state(self, batch_size: int) -> LSTMState:
        """The state before an episode's first step."""
        return self.core.initial_state(batch_size)

    def forward(self, obs: Tensor, state: LSTMState, first: Tensor) -> tuple[ActorCriticValues, LSTMState]:
        """Policy and value, `[T, B]` in the place of `[B]`, and the state after the last step.

        Args:
            obs: `[T, B, *obs_shape]`.
            state: before the first step.
            first: `[T, B]`, set where an episode begins, see `LSTMCore`.
        """
        features = self.torso(self.obs_norm(obs).flatten(0, 1)).unflatten(0, obs.shape[:2])
        outputs, state = self.core(features, state, first)
        return ActorCriticValues(self.policy(outputs), self.value(outputs)), state

    def step(self, obs: Tensor, state: LSTMState, first: Tensor) -> tuple[ActorCriticValues, LSTMState]:
        """Policy and value `[B]` of one step, and the state after it; never waits for the device.

        Args:
            obs: `[B, *obs_shape]`.
            state: before the step.
            first: `[B]`, set where an episode begins.
        """
        (policy, value), state = self(obs[None], state, first[None])
        return ActorCriticValues(type(policy)(*(x[0] if x.ndim > 1 else x for x in policy)), value[0]), state


def actor_critic(
    obs_shape: Sequence[int],
    *,
    num_actions: int = 0,
    action_size: int = 0,
    hidden: Sequence[int] = (64, 64),
    architecture: Architecture = PLAIN,
    separate: bool | None = None,
    lstm: int = 0,
    orthogonal: bool = True,
    norm: str = "none",
    seed: int = 0,
    normalize_obs: bool = False,
    **options: Any,
) -> ActorCritic | RecurrentActorCritic:
    """An actor-critic for observations of that shape, its parameters drawn from `seed` alone and then normalized.

    Args:
        obs_shape: of one observation.
        num_actions: A, of a policy over discrete actions.
        action_size: D, of a policy over continuous actions.
        hidden: widths of each torso's fully connected layers; torsos for images have exactly one.
        architecture: what the torsos are made of; dueling and distributions are for Q networks.
        separate: whether the value has a torso of its own; None: for vectors without an LSTM.
        lstm: width of an LSTM after the torso; 0 for none.
        orthogonal: whether the plain network starts from `orthogonal_init`, else from torch's own initialization.
        norm: the normalizer's name; a normalizer of one layer takes one in each of two torsos.
        seed: of the initial parameters; the global generators are left as they were.
        normalize_obs: whether vectors go through a `RunningNorm` first, `obs_norm`.
        options: further arguments of `wnrl.normalize`.

    Raises:
        ValueError: not exactly one of A and D, an architecture of Q networks, two torsos with an LSTM, images to be
            normalized, or as `q_network`.
    """
    images = architecture.takes_images(obs_shape)
    _check(num_actions, action_size, architecture, bool(separate and lstm), images and normalize_obs)
    separate = not images and not lstm if separate is None else separate
    obs_norm = RunningNorm(obs_shape) if normalize_obs else None
    with seeded(seed):
        network = _draw(obs_shape, num_actions, action_size, hidden, architecture, separate, lstm, obs_norm)
        if orthogonal:
            orthogonal_init(network, ORTHOGONAL_GAINS)
    normalize_each(network, network.streams, norm, **options)
    return network


def _check(
    num_actions: int, action_size: int, architecture: Architecture, separate_lstm: bool, normalized_images: bool
) -> None:
    if (num_actions > 0) == (action_size > 0):
        raise ValueError(f"exactly one of num_actions and action_size is above 0, got {num_actions} and {action_size}")
    if architecture.dueling or architecture.distribution != "none":
        raise ValueError(f"dueling and distributions are for Q networks, got {architecture}")
    if separate_lstm:
        raise ValueError("separate torsos do not go with an LSTM, which policy and value share")
    if normalized_images:
        raise ValueError("normalize_obs is for vectors: images are scaled by their torso")


def _draw(
    obs_shape: Sequence[int],
    num_actions: int,
    action_size: int,
    hidden: Sequence[int],
    architecture: Architecture,
    separate: bool,
    lstm: int,
    obs_norm: RunningNorm | None,
) -> ActorCritic | RecurrentActorCritic:
    """The plain network, its parameters drawn from the global generator."""
    torso = make_torso(obs_shape, hidden, architecture)
    value_torso = make_torso(obs_shape, hidden, architecture) if separate else None
    core = LSTMCore(torso.out_features, lstm) if lstm else None
    features, layer = lstm or torso.out_features, architecture.layer
    policy = (
        PolicyHead(features, num_actions, layer)
        if num_actions
        else GaussianPolicyHead(features, action_size, layer=layer)
    )
    value = ValueHead(features, layer)
    if core is None:
        return ActorCritic(torso, policy, value, value_torso, obs_norm)
    return RecurrentActorCritic(torso, core, policy, value, obs_norm)
