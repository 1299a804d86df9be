"""Networks as JSON-able descriptions, so that a saved model's network can be built again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from agents.settings.flat import not_given, python_name
from agents.settings.network import NetworkSettings
from envs import Environment
from wnrl.initialization.initialize import FROM_DATA, initialize
from wnrl.initialization.weighted_layers import check_lengths_are_free, layers_to_initialize
from wnrl.networks.actor_critic import actor_critic
from wnrl.networks.architecture import Architecture
from wnrl.networks.own_torso import OwnModule
from wnrl.networks.q_network import q_network
from wnrl.networks.soft_actor_critic import soft_actor_critic

NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "q": q_network,
    "actor-critic": actor_critic,
    "soft-actor-critic": soft_actor_critic,
}
"""What builds a network of each kind."""


def network_description(
    kind: str,
    settings: NetworkSettings,
    environment: Environment,
    architecture: Mapping[str, Any] = {},
    *,
    optimizer: str,
    **options: Any,
) -> dict[str, Any]:
    """The argument of `make_network`, JSON-able.

    Args:
        kind: a name in `NETWORKS`.
        settings: of the network.
        environment: whose observations and actions the network is for.
        architecture: fields of `Architecture` beside those of the settings.
        optimizer: its name, which decides the units of g where the settings leave them open: the paper's for SGD,
            under which a step of g in units of √n would be n times as long, √n for every other one.
        options: further arguments of the network's builder.
    """
    units = settings.units
    if units == "auto":
        units = "paper" if optimizer == "sgd" else "sqrt"
    return {
        "kind": kind,
        "obs_shape": list(environment.obs_shape),
        "num_actions": environment.num_actions,
        "hidden": list(settings.hidden),
        "architecture": {
            "torso": settings.torso,
            "width": settings.impala_width,
            "blocks": settings.impala_blocks,
            "pool": settings.impala_pool,
            "activation": settings.activation,
            **architecture,
        },
        **({} if settings.own_torso is None else {"own_torso": python_name(settings.own_torso)}),
        "norm": settings.norm,
        "norm_layers": settings.norm_layers,
        "units": units,
        "normalize_output": settings.normalize_output,
        **options,
    }


def make_network(
    description: Mapping[str, Any], *, seed: int = 0, init: str = "preserve", own_torso: OwnModule | None = None
) -> Any:
    """A network: normalized, and initialized unless its initialization has to wait for data.

    Args:
        description: of `network_description`.
        seed: of the initial parameters.
        init: the initialization's name.
        own_torso: the module that the description names, or what makes it.

    Raises:
        ValueError: an unknown name, a module that is named but not given, or a normalizer that leaves the
            initialization nothing to set.
    """
    arguments = dict(description)
    build, obs_shape = NETWORKS[arguments.pop("kind")], arguments.pop("obs_shape")
    if (name := arguments.pop("own_torso", None)) is not None and (own_torso is None or isinstance(own_torso, str)):
        raise not_given(name, "a network", "network")
    architecture = Architecture(**arguments.pop("architecture"), own=own_torso)
    network = build(obs_shape, architecture=architecture, seed=seed, **arguments)
    if init in FROM_DATA:
        check_lengths_are_free(layers_to_initialize(network), f"init {init}")
    else:
        initialize(network, init, generator=torch.Generator().manual_seed(seed))
    return network


def store_channels_last(network: nn.Module) -> None:
    """Store convolutions' weights, in place, in the memory order in which their torsos' images are on CUDA.

    Values and shapes stay; where weights and images have one order, no kernel is spent on changing it.
    """
    for torso in network.modules():
        if getattr(torso, "computes_channels_last", False):
            for parameter in torso.parameters():
                if parameter.ndim == 4:
                    parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
