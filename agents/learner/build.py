"""A learner, from the settings of its run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from agents.learner.learner import Learner
from agents.learner.network import make_network, store_channels_last
from agents.learner.saved_network import check_resumed, check_untrusted
from agents.learner.trained_network import take_over
from agents.runtime.compiling import Compiler
from agents.runtime.devices import check_compiler, resolve_device, resolve_dtype
from agents.runtime.seeds import Purpose, integer
from agents.settings.learner import LearnerSettings
from agents.settings.run import RunSettings
from envs import Environment, Interface
from wnrl.diagnostics.norms import Forward
from wnrl.initialization.initialize import FROM_DATA
from wnrl.normalizers.batch_statistics import batch_norms
from wnrl.schedules import LinearSchedule


def build_learner(
    run: RunSettings,
    settings: LearnerSettings,
    description: Mapping[str, Any],
    outputs: Forward,
    *,
    begin: int = 0,
    interval: int = 0,
) -> Learner:
    """A learner of a new network, on the run's device.

    Args:
        run: settings of the run.
        settings: of the optimizer and the initialization.
        description: of the network.
        outputs: from a copy of the network and observations to the outputs that the diagnostics look at.
        begin: the step at which learning starts.
        interval: steps from there to the first update.

    Raises:
        ValueError: the device is not available, a name is unknown, there is no compiler, or the network to begin with
            is another one.
    """
    device = resolve_device(run.device)
    seed, own_torso = integer(run.seed, Purpose.NETWORK), run.network.own_torso
    if run.resume is not None and run.resumes:
        check_resumed(run.resume, description, own_torso)
    elif run.config is not None and not run.trust:
        check_untrusted(run.config, description, own_torso)
    network = make_network(description, seed=seed, init=settings.init, own_torso=own_torso)
    if run.init_from is not None and not run.resumes:
        if settings.init != "preserve":
            raise ValueError(
                f"init {settings.init} would have no effect with init_from, a trained network: leave it out"
            )
        take_over(network, description, run.init_from, own_torso)
    network.to(device)
    if run.compile:
        check_compiler(device)
    compiler = Compiler(device, enabled=run.compile)
    if compiler.enabled and device.type == "cuda":  # uncompiled, weight norm's backward pass takes contiguous v sooner
        store_channels_last(network)
    return Learner(
        network,
        settings,
        learning_rate=learning_rate_schedule(run, settings, begin, interval),
        outputs=outputs,
        dtype=resolve_dtype(run.precision, device, images=len(description["obs_shape"]) == 3),
        description=description,
        compiler=compiler,
    )


def learning_rate_schedule(
    run: RunSettings, settings: LearnerSettings, begin: int = 0, interval: int = 0
) -> LinearSchedule:
    """The learning rate: constant, or annealed from step `begin` on; it would be 0 at the end of the schedules.

    Update k of K, which comes `interval` steps after what it stands for, has the share 1 - (k - 1) / K.

    Projected weights keep their norms, so that nothing lowers the effective learning rate by itself: for them it is
    annealed unless the settings say otherwise (Lyle et al. 2024, normalize-and-project).
    """
    auto = "linear" if run.network.norm.endswith("projected") else "constant"
    schedule = auto if settings.learning_rate_schedule == "auto" else settings.learning_rate_schedule
    start = settings.learning_rate
    end = 0.0 if schedule == "linear" else start
    return LinearSchedule(start, end, max(run.schedule_end - begin, 0), begin + interval)


def check_examples(learner: Learner, settings: LearnerSettings, *, minibatch: int, initial: int) -> None:
    """Raise ValueError where a statistic would be one of a single example.

    Args:
        learner: of the network.
        settings: of its initialization.
        minibatch: examples of the smallest gradient step.
        initial: examples of the data-dependent initialization.
    """
    if minibatch < 2 and batch_norms(learner.network):
        raise ValueError("norms with batch statistics need 2 examples or more in each minibatch, here it is 1")
    if initial < 2 and settings.init in FROM_DATA:
        raise ValueError(f"init {settings.init} needs 2 observations or more for its statistics, here it is 1")


def obs_dtype(environment: Environment) -> torch.dtype:
    """The dtype of its observations."""
    return torch.from_numpy(np.zeros(0, environment.obs_dtype)).dtype


def check_discrete(environment: Environment | Interface, agent: str) -> None:
    """Raise ValueError where actions are continuous, for an agent that needs a value or probability of each action."""
    if not environment.num_actions:
        raise ValueError(f"{agent} takes discrete actions, here they are continuous: use PPO or A2C")
