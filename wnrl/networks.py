"""Networks that agents learn: a torso, perhaps a core, and heads (see the modules of these names)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from wnrl.cores import LSTMCore, LSTMState
from wnrl.heads import (
    CategoricalHead,
    CategoricalPolicy,
    DuelingLayer,
    GaussianPolicy,
    Head,
    QuantileHead,
    QValues,
    ValueHead,
    in_float32,
    output_layers,
)
from wnrl.noisy import NoisyLinear
from wnrl.normalizers import normalize
from wnrl.torsos import MLP, ImpalaCNN, NatureCNN

TorsoName = Literal["auto", "nature", "impala", "mlp"]
Distribution = Literal["none", "categorical", "quantile"]


class ActorCriticValues(NamedTuple):
    """What an actor-critic network says of a batch of observations."""

    policy: CategoricalPolicy | GaussianPolicy
    value: Tensor  # [B] float32, of the states


class QNetwork(nn.Module):
    """A torso and a head that values actions; the head is always computed in float32.

    Args:
        torso: maps observations `[B, *obs_shape]` to features `[B, F]`.
        head: a `CategoricalHead` or a `QuantileHead`; or a layer with one output per action (`nn.Linear`,
            `NoisyLinear`, `DuelingLayer`).

    Attribute `num_actions`: A.
    """

    head: Any  # Head, or a layer

    def __init__(self, torso: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.torso = torso
        self.head = head
        self.num_actions: int = self.head.out_features

    @property
    def output_layers(self) -> tuple[nn.Module, ...]:
        """The layers that make the outputs."""
        return output_layers(self.head)

    def forward(self, obs: Tensor) -> Any:
        """The head's NamedTuple, which has `q_values` `[B, A]`; `QValues` from a layer. `obs`: `[B, *obs_shape]`."""
        features = self.torso(obs)
        return self.head(features) if isinstance(self.head, Head) else QValues(in_float32(self.head, features))


class ActorCritic(nn.Module):
    """A torso with a policy and a value on its features.

    Args:
        torso: maps observations `[B, *obs_shape]` to features `[B, F]`.
        policy: a `PolicyHead` or a `GaussianPolicyHead`.
        value: of the states.
    """

    def __init__(self, torso: nn.Module, policy: Head, value: ValueHead) -> None:
        super().__init__()
        self.torso = torso
        self.policy = policy
        self.value = value

    @property
    def output_layers(self) -> tuple[nn.Module, ...]:
        """The layers that make the outputs."""
        return (*self.policy.output_layers, *self.value.output_layers)

    def forward(self, obs: Tensor) -> ActorCriticValues:
        """Policy and value `[B]` of observations `[B, *obs_shape]`."""
        features = self.torso(obs)
        return ActorCriticValues(self.policy(features), self.value(features))


class RecurrentActorCritic(nn.Module):
    """A torso and an LSTM over time with a policy and a value on its outputs.

    Args:
        torso: maps observations `[B, *obs_shape]` to features `[B, F]`.
        core: maps sequences of features to outputs `[T, B, H]`.
        policy: a `PolicyHead` or a `GaussianPolicyHead`, from H features.
        value: of the states, from H features.
    """

    def __init__(self, torso: nn.Module, core: LSTMCore, policy: Head, value: ValueHead) -> None:
        super().__init__()
        self.torso = torso
        self.core = core
        self.policy = policy
        self.value = value

    @property
    def output_layers(self) -> tuple[nn.Module, ...]:
        """The layers that make the outputs."""
        return (*self.policy.output_layers, *self.value.output_layers)

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
        features = self.torso(obs.flatten(0, 1)).unflatten(0, obs.shape[:2])
        outputs, state = self.core(features, state, first)
        return ActorCriticValues(self.policy(outputs), self.value(outputs)), state


@dataclass(frozen=True)
class Architecture:
    """What a Q network is made of, beside the widths of its hidden layers.

    Raises:
        ValueError: an unknown name, or numbers of the IMPALA torso for another torso.
    """

    torso: TorsoName = "auto"
    """By name; auto: the Nature network for images (C, H, W), a multilayer perceptron for anything else."""
    width: int = 1
    """Factor on the channels of the IMPALA torso."""
    blocks: int = 2
    """Residual blocks per stage of the IMPALA torso."""
    dueling: bool = False
    """Separate streams for the state's value and the actions' advantages."""
    noisy: bool = False
    """Learned noise on every fully connected layer."""
    distribution: Distribution = "none"
    """Form of the return's distribution: none (its mean alone), categorical (C51) or quantile (QR-DQN)."""
    atoms: int = 51
    """Of a categorical distribution."""
    v_min: float = -10.0
    """Least atom, a return."""
    v_max: float = 10.0
    """Greatest atom, a return."""
    quantiles: int = 200
    """Of a quantile distribution."""

    def __post_init__(self) -> None:
        for name, known in (("torso", get_args(TorsoName)), ("distribution", get_args(Distribution))):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}")
        if self.torso != "impala" and (self.width, self.blocks) != (1, 2):
            raise ValueError(f"width {self.width}, blocks {self.blocks}: numbers of torso impala, got {self.torso!r}")


PLAIN = Architecture()


def q_network(
    obs_shape: Sequence[int],
    num_actions: int,
    *,
    hidden: Sequence[int] = (512,),
    architecture: Architecture = PLAIN,
    norm: str = "none",
    seed: int = 0,
    **options: Any,
) -> QNetwork:
    """A Q network for observations of that shape, its parameters drawn from `seed` alone and then normalized.

    Args:
        obs_shape: of one observation.
        num_actions: A.
        hidden: widths of the fully connected layers; torsos for images have exactly one. With dueling streams the
            last of these layers stands in each stream, not in the torso (Wang et al. 2016, figure 1).
        architecture: everything else that the network is made of.
        norm: the normalizer's name.
        seed: of the initial parameters; the global generators are left as they were.
        options: further arguments of `wnrl.normalize`.

    Raises:
        ValueError: more or less than one hidden width for images, images too small, unknown normalizer.
    """
    layer: Callable[[int, int], nn.Module] = NoisyLinear if architecture.noisy else nn.Linear
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torso = _torso(obs_shape, hidden, architecture, layer)
        if architecture.dueling:
            last = hidden[-1] if hidden else None
            layer = functools.partial(DuelingLayer, num_actions=num_actions, hidden=last, layer=layer)
        network = QNetwork(torso, _head(torso.out_features, num_actions, architecture, layer))
    normalize(network, norm, **options)
    return network


def _torso(
    obs_shape: Sequence[int], hidden: Sequence[int], architecture: Architecture, layer: Callable[[int, int], nn.Module]
) -> NatureCNN | ImpalaCNN | MLP:
    kind = architecture.torso
    if kind == "mlp" or (kind == "auto" and len(obs_shape) != 3):
        return MLP(obs_shape, hidden[:-1] if architecture.dueling else hidden, layer)
    if len(hidden) != 1:
        raise ValueError(f"a torso for images has one hidden layer, got widths {tuple(hidden)}")
    width = None if architecture.dueling else hidden[0]
    if kind == "impala":
        return ImpalaCNN(obs_shape, width, width=architecture.width, blocks=architecture.blocks, layer=layer)
    return NatureCNN(obs_shape, width, layer)


def _head(
    features: int, num_actions: int, architecture: Architecture, layer: Callable[[int, int], nn.Module]
) -> nn.Module:
    if architecture.distribution == "categorical":
        atoms, v_min, v_max = architecture.atoms, architecture.v_min, architecture.v_max
        return CategoricalHead(features, num_actions, atoms, v_min, v_max, layer)
    if architecture.distribution == "quantile":
        return QuantileHead(features, num_actions, architecture.quantiles, layer)
    return layer(features, num_actions)
