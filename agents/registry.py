"""The agents by name: what each is told, where its defaults come from, and what builds it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from agents.dqn.build import describe_dqn, make_dqn
from agents.dqn.dqn import DQNSettings
from agents.policy_gradient.a2c import A2CSettings
from agents.policy_gradient.build import describe_actor_critic, make_a2c, make_ppo, make_reinforce
from agents.policy_gradient.policy_gradient import PolicyGradientSettings
from agents.policy_gradient.ppo import PPOSettings
from agents.policy_gradient.reinforce import REINFORCESettings
from agents.pqn.build import describe_pqn, make_pqn
from agents.pqn.pqn import PQNSettings
from agents.sac.build import describe_sac, make_sac
from agents.sac.sac import SACSettings
from agents.settings.presets.dqn import dqn_preset
from agents.settings.presets.policy_gradient import a2c_preset, ppo_preset, reinforce_preset
from agents.settings.presets.pqn import pqn_preset
from agents.settings.presets.sac import sac_preset
from agents.settings.run import ExplorationSettings, RunSettings
from agents.training.trainer import Agent
from envs import Environment


@dataclass(frozen=True)
class TrainDQN(DQNSettings, RunSettings):
    """Everything that a run of the DQN family is told."""


@dataclass(frozen=True)
class TrainPPO(PPOSettings, RunSettings):
    """Everything that a run of PPO is told."""


@dataclass(frozen=True)
class TrainA2C(A2CSettings, RunSettings):
    """Everything that a run of A2C is told."""


@dataclass(frozen=True)
class TrainREINFORCE(REINFORCESettings, RunSettings):
    """Everything that a run of REINFORCE is told."""


@dataclass(frozen=True)
class TrainPQN(PQNSettings, RunSettings):
    """Everything that a run of PQN is told."""


@dataclass(frozen=True)
class TrainSAC(SACSettings, RunSettings):
    """Everything that a run of discrete SAC is told."""


@dataclass(frozen=True)
class AgentKind:
    """An agent that can be asked for by name."""

    name: str
    """In run directories and models."""
    settings: type[Any]
    """A dataclass of everything that a run with it is told: its fields are the command line's flags."""
    preset: Callable[..., dict[str, Any]]
    """Defaults of these fields: takes a preset's name, `images`, `norm` and the `flags` that are given."""
    describe: Callable[[Any, Any, Environment], dict[str, Any]]
    """The description of its network, from the run's settings, its own and the environment."""
    make: Callable[[Any, Any, Environment], Agent]
    """The agent, from the same."""
    play: Callable[[Any], dict[str, Any]]
    """How its model plays in evaluation, from its settings: arguments of `make_policy`."""
    shared: bool = False
    """Whether several processes can share a run of it, see `agents.runtime.distributed`."""


def _greedy(settings: ExplorationSettings) -> dict[str, Any]:
    return {"epsilon": settings.eval_epsilon}


def _drawn(settings: PolicyGradientSettings | SACSettings) -> dict[str, Any]:
    return {"sample": settings.eval_sample}


DQN = AgentKind("dqn", TrainDQN, dqn_preset, describe_dqn, make_dqn, _greedy, shared=True)
PPO = AgentKind("ppo", TrainPPO, ppo_preset, describe_actor_critic, make_ppo, _drawn)
A2C = AgentKind("a2c", TrainA2C, a2c_preset, describe_actor_critic, make_a2c, _drawn)
REINFORCE = AgentKind("reinforce", TrainREINFORCE, reinforce_preset, describe_actor_critic, make_reinforce, _drawn)
PQN = AgentKind("pqn", TrainPQN, pqn_preset, describe_pqn, make_pqn, _greedy)
SAC = AgentKind("sac", TrainSAC, sac_preset, describe_sac, make_sac, _drawn)
AGENTS = {kind.name: kind for kind in (DQN, PPO, A2C, REINFORCE, PQN, SAC)}
"""By name."""
