"""On-policy agents, put together from their settings."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from agents.learner.build import build_learner, obs_dtype
from agents.learner.learner import Learner
from agents.learner.network import network_description
from agents.on_policy.episodes import EpisodeStorage
from agents.on_policy.reward_scaling import RewardClipping, RewardScaling
from agents.on_policy.rollout import RolloutStorage
from agents.policy_gradient.a2c import A2C
from agents.policy_gradient.actors import Actor, FeedforwardActor, RecurrentActor
from agents.policy_gradient.ppo import PPO
from agents.policy_gradient.reinforce import REINFORCE
from agents.settings.policy_gradient import A2CSettings, PPOSettings, REINFORCESettings
from agents.settings.run import RunSettings
from envs import Environment
from wnrl.networks.actor_critic import RecurrentActorCritic
from wnrl.normalizers.folding import fold
from wnrl.schedules import Linear


def describe_actor_critic(run: RunSettings, settings: Any, environment: Environment) -> dict[str, Any]:
    """The description of its network."""
    return network_description(
        "actor-critic",
        run.network,
        environment,
        action_size=environment.action_size,
        separate=settings.policy_gradient.separate,
        lstm=getattr(settings, "lstm", 0),
        orthogonal=settings.policy_gradient.orthogonal,
        normalize_obs=settings.policy_gradient.normalize_obs,
    )


def build_a2c(run: RunSettings, settings: A2CSettings, environment: Environment) -> A2C:
    """An A2C agent for the environment, on the run's device.

    Raises:
        ValueError: the device is not there, a name is unknown, or the settings do not fit the environment.
    """
    return A2C(**_parts(run, settings, environment, _rollouts))


def build_ppo(run: RunSettings, settings: PPOSettings, environment: Environment) -> PPO:
    """A PPO agent for the environment, on the run's device.

    Raises:
        ValueError: the device is not there, a name is unknown, or the settings do not fit the environment.
    """
    most = environment.num_envs if settings.lstm else environment.num_envs * settings.rollout.rollout_length
    if settings.minibatches > most:
        kind = "sequences" if settings.lstm else "steps"
        raise ValueError(f"minibatches must be at most {most}, the {kind} of a rollout, got {settings.minibatches}")
    start = settings.clip_range
    clip_range = Linear(start, 0.0 if settings.clip_range_schedule == "linear" else start, run.steps)
    return PPO(**_parts(run, settings, environment, _rollouts), clip_range=clip_range)


def build_reinforce(run: RunSettings, settings: REINFORCESettings, environment: Environment) -> REINFORCE:
    """A REINFORCE agent for the environment, on the run's device.

    Raises:
        ValueError: the device is not there, a name is unknown, or the settings do not fit the environment.
    """
    return REINFORCE(**_parts(run, settings, environment, _episodes))


def _parts(run: RunSettings, settings: Any, environment: Environment, make_storage: Any) -> dict[str, Any]:
    """Everything that every on-policy agent is made of, as its constructor takes it."""
    learner = build_learner(run, settings.learner, describe_actor_critic(run, settings, environment), _policy_outputs)
    acting: Any = fold(learner.network, learner.dtype).eval()
    number = environment.num_envs
    actor: Actor = RecurrentActor(acting, number) if _recurrent(acting) else FeedforwardActor(acting)
    if settings.policy_gradient.normalize_return:
        rewards: RewardClipping | RewardScaling = RewardScaling(number, settings.learner.gamma)
    else:
        rewards = RewardClipping(settings.learner.reward_clip)
    return {
        "learner": learner,
        "actor": actor,
        "acting": acting,
        "storage": make_storage(settings, environment, learner),
        "rewards": rewards,
        "settings": settings,
        "rng": np.random.default_rng([run.seed, 1]),
    }


def _rollouts(settings: PPOSettings | A2CSettings, environment: Environment, learner: Learner) -> RolloutStorage:
    return RolloutStorage(
        settings.rollout.rollout_length,
        environment.num_envs,
        environment.obs_shape,
        obs_dtype(environment),
        action_size=environment.action_size,
        device=learner.device,
    )


def _episodes(settings: REINFORCESettings, environment: Environment, learner: Learner) -> EpisodeStorage:
    return EpisodeStorage(settings.episodes_per_update, environment.num_envs, learner.device)


def _recurrent(network: nn.Module) -> bool:
    return isinstance(network, RecurrentActorCritic)


def _policy_outputs(network: Any, obs: Tensor) -> Tensor:
    """Logits or means `[B, ...]`, each observation taken as an episode's first by a recurrent network."""
    if not _recurrent(network):
        return network(obs).policy[0]
    first = torch.ones(len(obs), dtype=torch.bool, device=obs.device)
    return network.step(obs, network.initial_state(len(obs)), first)[0].policy[0]
