"""The agents by name: their settings, where the defaults come from, and what builds them.

Nothing here imports torch: a command line is parsed, and answered where it is wrong, before an agent is built.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agents.settings.dqn import DQNSettings
from agents.settings.policy_gradient import A2CSettings, PPOSettings, REINFORCESettings
from agents.settings.pqn import PQNSettings
from agents.settings.presets.base import Preset
from agents.settings.presets.dqn import dqn_preset
from agents.settings.presets.policy_gradient import a2c_preset, ppo_preset, reinforce_preset
from agents.settings.presets.pqn import pqn_preset
from agents.settings.presets.sac import sac_preset
from agents.settings.run import RunSettings
from agents.settings.sac import SACSettings

if TYPE_CHECKING:
    from agents.training.protocols import Agent
    from envs import Environment


@dataclass(frozen=True)
class AgentSpec:
    """An agent that can be asked for by name."""

    name: str
    """In run directories and models."""
    settings: type[Any]
    """The dataclass of its own settings."""
    preset: Preset
    """Defaults of a run's settings and of its own."""
    builder: str
    """`module:function` of what builds it; imported when it is called, since it brings torch."""
    supports_torchrun: bool = False
    """Whether several processes can share a run of it, see `agents.runtime.distributed`."""

    def build(self, run: RunSettings, settings: Any, environment: Environment) -> Agent:
        """The agent for an environment, on the run's device.

        Raises:
            ValueError: the settings do not fit the environment or the machine.
        """
        module, function = self.builder.split(":")
        return getattr(importlib.import_module(module), function)(run, settings, environment)


DQN = AgentSpec("dqn", DQNSettings, dqn_preset, "agents.dqn.build:build_dqn", supports_torchrun=True)
PPO = AgentSpec("ppo", PPOSettings, ppo_preset, "agents.policy_gradient.build:build_ppo")
A2C = AgentSpec("a2c", A2CSettings, a2c_preset, "agents.policy_gradient.build:build_a2c")
REINFORCE = AgentSpec("reinforce", REINFORCESettings, reinforce_preset, "agents.policy_gradient.build:build_reinforce")
PQN = AgentSpec("pqn", PQNSettings, pqn_preset, "agents.pqn.build:build_pqn")
SAC = AgentSpec("sac", SACSettings, sac_preset, "agents.sac.build:build_sac")
AGENTS = {spec.name: spec for spec in (DQN, PPO, A2C, REINFORCE, PQN, SAC)}
"""By name."""
