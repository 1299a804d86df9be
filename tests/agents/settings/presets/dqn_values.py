"""Every value of a run of the DQN family with a preset."""

from agents.settings.dqn import DQNSettings
from agents.settings.flat import flat_defaults
from agents.settings.presets.dqn.preset import dqn_preset
from agents.settings.run import TrainSettings


def dqn_values(name, **options):
    """The preset's values, or else the dataclasses' own defaults."""
    return {
        **flat_defaults(TrainSettings[DQNSettings]),
        **dqn_preset(name, **{"images": True, "norm": "weight", **options}),
    }
