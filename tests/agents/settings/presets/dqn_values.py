"""Every value of a run of the DQN family with a preset, and what several papers take from the first."""

from agents.settings.dqn import DQNSettings
from agents.settings.flat import flat_defaults
from agents.settings.presets.dqn.preset import dqn_preset
from agents.settings.run import TrainSettings

# Extended data table 1 and methods.
MNIH_2015 = {
    "norm": "none",
    "hidden": (512,),
    "torso": "auto",  # the network of Mnih et al. 2015 for images
    "steps": 50_000_000,  # 200 million frames
    "batch_size": 32,
    "replay_size": 1_000_000,
    "train_interval": 4,
    "gamma": 0.99,
    "n_step": 1,
    "tau": 1.0,
    "reward_clip": 1.0,
    "epsilon_start": 1.0,
    "max_frames": 108_000,  # not theirs: dqn_zoo and Dopamine
    "learning_starts": 50_000,
    "epsilon_steps": 1_000_000,
    "life_loss": True,
    "noop_max": 30,
    "sticky_actions": 0.0,
    "num_envs": 1,
}


def dqn_values(name, **options):
    """The preset's values, or else the dataclasses' own defaults."""
    return {
        **flat_defaults(TrainSettings[DQNSettings]),
        **dqn_preset(name, **{"images": True, "norm": "weight", **options}),
    }
