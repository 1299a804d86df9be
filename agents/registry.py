"""The agents by name: their settings, where the defaults come from, and what builds them.

Nothing here imports torch: a command line is parsed, and answered where it is wrong, before an agent is built.
"""

from __future__ import annotations

from agents.settings.dqn import DQNSettings
from agents.settings.policy_gradient import A2CSettings, PPOSettings, REINFORCESettings
from agents.settings.pqn import PQNSettings
from agents.settings.presets.dqn.preset import dqn_preset
from agents.settings.presets.policy_gradient import a2c_preset, ppo_preset, reinforce_preset
from agents.settings.presets.pqn import pqn_preset
from agents.settings.presets.sac import sac_preset
from agents.settings.sac import SACSettings
from agents.training.agent_spec import AgentSpec

_SPECS = (
    AgentSpec("dqn", DQNSettings, dqn_preset, "agents.dqn.build:build_dqn", supports_torchrun=True),
    AgentSpec("ppo", PPOSettings, ppo_preset, "agents.policy_gradient.build:build_ppo", supports_torchrun=True),
    AgentSpec("a2c", A2CSettings, a2c_preset, "agents.policy_gradient.build:build_a2c", supports_torchrun=True),
    AgentSpec(
        "reinforce",
        REINFORCESettings,
        reinforce_preset,
        "agents.policy_gradient.build:build_reinforce",
        learns_from_games=True,
    ),
    AgentSpec("pqn", PQNSettings, pqn_preset, "agents.pqn.build:build_pqn", supports_torchrun=True),
    AgentSpec("sac", SACSettings, sac_preset, "agents.sac.build:build_sac", supports_torchrun=True),
)
AGENTS = {spec.name: spec for spec in _SPECS}
"""By name."""
