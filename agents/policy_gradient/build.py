"""PPO, A2C and REINFORCE agents, built from their settings."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from agents.learner.build import build_learner, check_examples
from agents.learner.learner import Learner
from agents.learner.network import network_description
from agents.on_policy.build import build_rollout_storage, check_minibatches
from agents.on_policy.episodes import EpisodeStorage
from agents.on_policy.reward_scaling import RewardClipping, RewardScaling
from agents.on_policy.rollout import RolloutStorage
from agents.policy_gradient.a2c import A2CAgent
from agents.policy_gradient.actors import Actor, FeedforwardActor, RecurrentActor, outputs_of
from agents.policy_gradient.ppo import PPOAgent
from agents.policy_gradient.reinforce import REINFORCEAgent
from agents.runtime.seeds import Purpose, generator
from agents.settings.checks import check_used
from agents.settings.policy_gradient import A2CSettings, PPOSettings, REINFORCESettings, RolloutSettings
from agents.settings.run import RunSettings
from envs import Environment
from wnrl.networks.actor_critic import RecurrentActorCritic
from wnrl.normalizers.batch_statistics import batch_norms
from wnrl.normalizers.folding import fold
from wnrl.schedules import LinearSchedule


def describe_actor_critic(run: RunSettings, settings: Any, environment: Environment) -> dict[str, Any]:
    """The description of its network."""
    return network_description(
        "actor-critic",
        run.network,
        environment,
        optimizer=settings.learner.optimizer,
        action_size=environment.action_size,
        separate=settings.policy_gradient.separate,
        lstm=getattr(settings, "lstm", 0),
        orthogonal=settings.policy_gradient.orthogonal,
        normalize_obs=settings.policy_gradient.normalize_obs,
    )


def build_a2c(run: RunSettings, settings: A2CSettings, environment: Environment) -> A2CAgent:
    """An A2C agent for the environment, on the run's device.

    Raises:
        ValueError: the device is not available, a name is unknown, or the settings do not fit.
    """
    length = settings.rollout.rollout_length
    steps = length * environment.num_envs
    parts = _parts(run, settings, environment, partial(build_rollout_storage, length, environment))
    _check_statistics(parts["learner"], settings, steps=steps, smallest=steps)
    _check_advantages(parts["learner"], settings, smallest=steps)
    return A2CAgent(**parts)


def build_ppo(run: RunSettings, settings: PPOSettings, environment: Environment) -> PPOAgent:
    """A PPO agent for the environment, on the run's device.

    Raises:
        ValueError: as `build_a2c`, or a rollout has fewer steps, or sequences with an LSTM, than minibatches.
    """
    length, envs, minibatches = settings.rollout.rollout_length, environment.num_envs, settings.minibatches
    check_minibatches(minibatches, *((envs, "sequences") if settings.lstm else (envs * length, "steps")))
    start = settings.clip_range
    end = 0.0 if settings.clip_range_schedule == "linear" else start
    parts = _parts(run, settings, environment, partial(build_rollout_storage, length, environment))
    smallest = envs // minibatches * length if settings.lstm else envs * length // minibatches
    _check_statistics(parts["learner"], settings, steps=envs * length, smallest=smallest)
    _check_advantages(parts["learner"], settings, smallest=smallest)
    return PPOAgent(clip_range=LinearSchedule(start, end, run.schedule_end), **parts)


def build_reinforce(run: RunSettings, settings: REINFORCESettings, environment: Environment) -> REINFORCEAgent:
    """A REINFORCE agent for the environment, on the run's device.

    Raises:
        ValueError: as `build_a2c`.
    """
    episodes = partial(EpisodeStorage, settings.episodes_per_update, environment.num_envs)
    return REINFORCEAgent(**_parts(run, settings, environment, episodes))


def _parts(
    run: RunSettings,
    settings: Any,
    environment: Environment,
    make_storage: Callable[[torch.device], RolloutStorage | EpisodeStorage],
) -> dict[str, Any]:
    """The constructor arguments of every policy gradient."""
    learner = build_learner(run, settings.learner, describe_actor_critic(run, settings, environment), _policy_outputs)
    acting: Any = fold(learner.network, learner.dtype).eval()
    recurrent = isinstance(acting, RecurrentActorCritic)
    actor: Actor = RecurrentActor(acting, environment.num_envs) if recurrent else FeedforwardActor(acting)
    if settings.policy_gradient.normalize_return:
        rewards: RewardClipping | RewardScaling = RewardScaling(environment.num_envs, settings.learner.gamma)
    else:
        rewards = RewardClipping(settings.learner.reward_clip)
    rollout: RolloutSettings | None = getattr(settings, "rollout", None)
    return {
        "learner": learner,
        "actor": actor,
        "storage": make_storage(learner.device),
        "rewards": rewards,
        "settings": settings,
        "rng": generator(run.seed, Purpose.AGENT),
        "overlaps_rollouts": rollout is not None and rollout.overlap_rollouts,
    }


def _check_statistics(learner: Learner, settings: PPOSettings | A2CSettings, *, steps: int, smallest: int) -> None:
    """Raise ValueError where `batch_statistics` has no effect, or a statistic would be one of a single example.

    Args:
        learner: of the network.
        settings: of the agent.
        steps: of a rollout.
        smallest: steps of its smallest minibatch.
    """
    rollout, norms = settings.rollout, bool(batch_norms(learner.network))
    check_used(rollout, norms, "norm batch, mean-batch or batch+projected", "batch_statistics")
    minibatch = smallest if rollout.batch_statistics == "minibatch" else steps
    check_examples(learner, settings.learner, minibatch=minibatch, initial=steps)


def _check_advantages(learner: Learner, settings: PPOSettings | A2CSettings, *, smallest: int) -> None:
    """Raise ValueError where each advantage would be normalized alone: all would be 0, and no policy would be learned.

    Args:
        learner: of the network.
        settings: of the agent.
        smallest: steps of the smallest minibatch.
    """
    if settings.policy_gradient.normalize_advantage and smallest * learner.ranks.world_size < 2:
        raise ValueError(
            "normalize_advantage needs 2 steps or more in each minibatch, here it is 1: take more of num_envs or "
            "rollout_length, fewer minibatches, or --no-normalize-advantage"
        )


def _policy_outputs(network: Any, obs: Tensor) -> Tensor:
    """Logits or means `[B, ...]`."""
    return outputs_of(network, obs).policy[0]
