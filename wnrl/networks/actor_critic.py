"""Actor-critics: a policy and the value of a state, from shared features or each from a torso of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from wnrl.initialization.orthogonal import orthogonal_init
from wnrl.networks.architecture import PLAIN, Architecture, make_torso, normalize_each, seeded
from wnrl.networks.heads import Head
from wnrl.networks.lstm_core import LSTMCore, LSTMState
from wnrl.networks.observation_norm import NoNorm, RunningNorm
from wnrl.networks.policy_heads import CategoricalPolicy, GaussianPolicy, GaussianPolicyHead, PolicyHead, ValueHead
from wnrl.weight_norm.formed_weights import FormedWeights

ORTHOGONAL_GAINS = {"torso": math.sqrt(2), "value_torso": math.sqrt(2), "core": 1.0, "policy": 0.01, "value": 1.0}
"""Gains of `orthogonal_init` for the parts of an actor-critic (Huang et al. 2022)."""


class ActorCriticValues(NamedTuple):
    """The outputs of an actor-critic for a batch of observations."""

    policy: CategoricalPolicy | GaussianPolicy
    value: Tensor  # [B] float32, of the states


class _ActorCriticParts(nn.Module):
    """The modules of an actor-critic, registered in the order in which they are called."""

    def __init__(
        self,
        torso: nn.Module,
        core: LSTMCore | None,
        policy: Head,
        value_torso: nn.Module | None,
        value: ValueHead,
        obs_norm: RunningNorm | None,
    ) -> None:
        super().__init__()
        self.obs_norm = NoNorm() if obs_norm is None else obs_norm
        self.torso = torso
        if core is not None:
            self.core = core
        self.policy = policy
        self.value_torso = value_torso
        self.value = value

    @property
    def output_layers(self) -> tuple[nn.Module, ...]:
        """The layers that compute the outputs."""
        return (*self.policy.output_layers, *self.value.output_layers)

    @property
    def policy_layers(self) -> tuple[nn.Module, ...]:
        """Those of them that compute the policy."""
        return self.policy.output_layers


class _PolicyPart(nn.ModuleList):
    """A torso and the policy on its features, as a network of its own."""

    @property
    def policy_layers(self) -> tuple[nn.Module, ...]:
        """The layers that compute the policy."""
        return cast(Head, self[-1]).output_layers


class ActorCritic(_ActorCriticParts):
    """A torso with a policy and a value on its features, or a torso for each.

    Args:
        torso: maps observations `[B, *obs_shape]` to features `[B, F]`.
        policy: a `PolicyHead` or a `GaussianPolicyHead`.
        value: gives the value of the state.
        value_torso: gives the features of the value; None takes those of `torso`.
        obs_norm: normalizes observations before the torsos; None passes them through.

    Attribute `obs_norm`: has `update(obs)`, which does nothing where observations are not normalized.
    """

    def __init__(
        self,
        torso: nn.Module,
        policy: Head,
        value: ValueHead,
        value_torso: nn.Module | None = None,
        obs_norm: RunningNorm | None = None,
    ) -> None:
        super().__init__(torso, None, policy, value_torso, value, obs_norm)

    def forward(self, obs: Tensor) -> ActorCriticValues:
        """Policy and value `[B]` for observations `[B, *obs_shape]`."""
        if not torch.is_grad_enabled() or torch.compiler.is_compiling():
            return self._outputs(obs)
        torsos = (self.torso, self.value_torso)
        layers = (layer for torso in torsos for layer in getattr(torso, "dense_layers", ()))
        with FormedWeights((*layers, *self.output_layers)):
            return self._outputs(obs)

    def _outputs(self, obs: Tensor) -> ActorCriticValues:
        obs = self.obs_norm(obs)
        features = self.torso(obs)
        value_features = features if self.value_torso is None else self.value_torso(obs)
        return ActorCriticValues(self.policy(features), self.value(value_features))


class RecurrentActorCritic(_ActorCriticParts):
    """A torso and an LSTM over time, with a policy and a value on its outputs.

    Args:
        torso: maps observations `[B, *obs_shape]` to features `[B, F]`.
        core: maps sequences of features `[T, B, F]` to outputs `[T, B, H]`.
        policy: a `PolicyHead` or a `GaussianPolicyHead`, from H features.
        value: gives the value of the state, from H features.
        obs_norm: normalizes observations before the torso; None passes them through.

    Attribute `obs_norm`: has `update(obs)`, which does nothing where observations are not normalized.
    """

    def __init__(
        self, torso: nn.Module, core: LSTMCore, policy: Head, value: ValueHead, obs_norm: RunningNorm | None = None
    ) -> None:
        super().__init__(torso, core, policy, None, value, obs_norm)

    def initial_state(self, batch_size: int) -> LSTMState:
        """The state before the first step of an episode."""
        return self.core.initial_state(batch_size)

    def forward(self, obs: Tensor, state: LSTMState, first: Tensor) -> tuple[ActorCriticValues, LSTMState]:
        """Policy and value, with `[T, B]` instead of `[B]`, and the state after the last step.

        Args:
            obs: `[T, B, *obs_shape]`.
            state: before the first step.
            first: `[T, B]`, the first steps of episodes, see `LSTMCore`.
        """
        features = self.torso(self.obs_norm(obs).flatten(0, 1)).unflatten(0, obs.shape[:2])
        outputs, state = self.core(features, state, first)
        return ActorCriticValues(self.policy(outputs), self.value(outputs)), state

    def step(self, obs: Tensor, state: LSTMState, first: Tensor) -> tuple[ActorCriticValues, LSTMState]:
        """Policy and value `[B]` of one step, and the state after it, without synchronizing with the device.

        Args:
            obs: `[B, *obs_shape]`.
            state: before the step.
            first: `[B]`, whether the step is the first of an episode.
        """
        outputs, state = self(obs[None], state, first[None])
        return tree_map(lambda x: x[0] if x.ndim > 1 else x, outputs), state  # log_std [D] has no time


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
    """An actor-critic for observations of shape `obs_shape`, drawn from `seed` alone and then normalized.

    Args:
        obs_shape: shape of one observation.
        num_actions: A, for a policy over discrete actions.
        action_size: D, for a policy over continuous actions.
        hidden: widths of each torso's fully connected layers; torsos for images have exactly one.
        architecture: what the torsos are made of; dueling streams and distributions are for Q networks.
        separate: whether the value has a torso of its own; None: for vectors without an LSTM.
        lstm: width of an LSTM after the torso; 0 for none.
        orthogonal: initialize the plain network with `orthogonal_init` instead of torch's default.
        norm: name of the normalizer; one of the last hidden layer only is applied in each torso.
        seed: of the initial parameters; the global generators are not changed.
        normalize_obs: normalize vectors with a `RunningNorm`, `obs_norm`.
        options: further arguments of `wnrl.normalize`.

    Raises:
        ValueError: not exactly one of A and D is given, an architecture of Q networks, two torsos with an LSTM, images
            to be normalized, or as `q_network`.
    """
    images = architecture.takes_images(obs_shape)
    if (num_actions > 0) == (action_size > 0):
        raise ValueError(f"exactly one of num_actions and action_size is above 0, got {num_actions} and {action_size}")
    if architecture.dueling or architecture.distribution != "none":
        raise ValueError(f"dueling and distributions are for Q networks, got {architecture}")
    if separate and lstm:
        raise ValueError("separate torsos do not go with an LSTM, which policy and value share")
    if images and normalize_obs:
        raise ValueError("normalize_obs is for vectors: images are scaled by their torso")
    if separate is None:
        separate = not images and not lstm
    obs_norm = RunningNorm(obs_shape) if normalize_obs else None
    with seeded(seed):
        torso = make_torso(obs_shape, hidden, architecture)
        value_torso = make_torso(obs_shape, hidden, architecture) if separate else None
        core = LSTMCore(torso.out_features, lstm) if lstm else None
        features, layer = lstm or torso.out_features, architecture.layer
        policy: Head
        if num_actions:
            policy = PolicyHead(features, num_actions, layer)
        else:
            policy = GaussianPolicyHead(features, action_size, layer=layer)
        value = ValueHead(features, layer)
        network: ActorCritic | RecurrentActorCritic
        if core is None:
            network = ActorCritic(torso, policy, value, value_torso, obs_norm)
        else:
            network = RecurrentActorCritic(torso, core, policy, value, obs_norm)
        if orthogonal:
            orthogonal_init(network, ORTHOGONAL_GAINS)
    parts: list[nn.Module] = [network]
    if value_torso is not None:
        parts = [_PolicyPart([torso, policy]), nn.ModuleList([value_torso, value])]
    normalize_each(network, parts, norm, **options)
    return network
