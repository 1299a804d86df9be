"""Parts of a run built from its settings: environments, networks, and what every agent is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from agents.learner.learner import Learner
from agents.runtime.devices import check_compiler, resolve_device, resolve_dtype
from agents.settings.run import LearnerSettings, RunSettings, emulator_options
from envs import Environment, make
from wnrl.diagnostics.norms import Forward
from wnrl.initialization.initialize import initialize
from wnrl.initialization.weighted_layers import check_lengths_are_free, layers_to_initialize
from wnrl.networks.actor_critic import actor_critic
from wnrl.networks.q_network import Architecture, q_network
from wnrl.networks.soft_actor_critic import soft_actor_critic
from wnrl.schedules import Linear

NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "q": q_network,
    "actor-critic": actor_critic,
    "soft-actor-critic": soft_actor_critic,
}
"""What builds a network of each kind."""


def make_training_environment(settings: RunSettings) -> Environment:
    """N environments to learn in; a lost life ends the return there if the settings say so."""
    options = emulator_options(settings)
    if settings.game is not None:
        options["life_loss"] = settings.life_loss
    return make(game=settings.game, env=settings.env, num_envs=settings.num_envs, **options)


def make_evaluation_environment(settings: RunSettings, num_envs: int, **options: Any) -> Environment:
    """Environments to measure true scores in: whole games, whatever a lost life means in training."""
    return make(game=settings.game, env=settings.env, num_envs=num_envs, **emulator_options(settings), **options)


def network_description(
    kind: str, settings: RunSettings, environment: Environment, architecture: Mapping[str, Any] = {}, **options: Any
) -> dict[str, Any]:
    """The argument of `make_network`, JSON-able, so that a saved model can be built again.

    Args:
        kind: a name in `NETWORKS`.
        settings: of the run.
        environment: whose observations and actions the network is for.
        architecture: fields of `Architecture` beside those of the run's settings.
        options: further arguments of the network's builder.
    """
    return {
        "kind": kind,
        "obs_shape": list(environment.obs_shape),
        "num_actions": environment.num_actions,
        "hidden": list(settings.hidden),
        "architecture": {
            "torso": settings.torso,
            "width": settings.impala_width,
            "blocks": settings.impala_blocks,
            "activation": settings.activation,
            **architecture,
        },
        "norm": settings.norm,
        "units": settings.units,
        "normalize_output": settings.normalize_output,
        **options,
    }


def make_network(description: Mapping[str, Any], *, seed: int = 0, init: str = "preserve") -> Any:
    """A network: normalized, and initialized unless its initialization has to wait for data.

    Args:
        description: of `network_description`.
        seed: of the initial parameters.
        init: the initialization's name.

    Raises:
        ValueError: an unknown name, or a normalizer that leaves the initialization nothing to set.
    """
    arguments = dict(description)
    build, obs_shape = NETWORKS[arguments.pop("kind")], arguments.pop("obs_shape")
    architecture = Architecture(**arguments.pop("architecture"))
    network = build(obs_shape, architecture=architecture, seed=seed, **arguments)
    if init == "data":
        check_lengths_are_free(layers_to_initialize(network), "init data")
    else:
        initialize(network, init, generator=torch.Generator().manual_seed(seed))
    return network


def make_learner(
    run: RunSettings, settings: LearnerSettings, description: Mapping[str, Any], outputs: Forward, *, begin: int = 0
) -> Learner:
    """A learner of a new network, on the run's device.

    Args:
        run: settings of the run.
        settings: of the optimizer and the initialization.
        description: of the network.
        outputs: from a copy of the network and observations to the outputs whose minibatch noise is shown.
        begin: the step at which learning starts.

    Raises:
        ValueError: the device is not there, a name is unknown, or there is no compiler.
    """
    device = resolve_device(run.device)
    network = make_network(description, seed=run.seed, init=settings.init).to(device)
    if run.compile:
        check_compiler(device)
        network.compile()
    return Learner(
        network,
        settings,
        learning_rate=learning_rate_schedule(run, settings, begin),
        outputs=outputs,
        dtype=resolve_dtype(run.precision, device, images=len(description["obs_shape"]) == 3),
    )


def learning_rate_schedule(run: RunSettings, settings: LearnerSettings, begin: int = 0) -> Linear:
    """Step size by step: constant, or falling from step `begin` to 0 at the end of the run.

    Projected weights keep their norms, so that nothing lowers the effective step size by itself: for them it falls
    unless the settings say otherwise (Lyle et al. 2024, normalize-and-project).
    """
    auto = "linear" if run.norm == "projected" else "constant"
    schedule = auto if settings.learning_rate_schedule == "auto" else settings.learning_rate_schedule
    start = settings.learning_rate
    return Linear(start, 0.0 if schedule == "linear" else start, max(run.steps - begin, 0), begin=begin)


def obs_dtype(environment: Environment) -> torch.dtype:
    """The type of its observations."""
    return torch.from_numpy(np.zeros(0, environment.obs_dtype)).dtype


def check_discrete(environment: Environment, agent: str) -> None:
    """Refuse continuous actions for an agent that values or weighs each action."""
    if not environment.num_actions:
        raise ValueError(f"{agent} takes discrete actions, here they are continuous: use train_ppo.py or train_a2c.py")
