"""Policy classes for stable-baselines3 and sb3-contrib with weight-normalized networks.

`wnrl.sb3.ALGORITHM` has the host's class names: `from wnrl.sb3.dqn import CnnPolicy` for
`from stable_baselines3.dqn import CnnPolicy`. There are also callbacks (`DataDependentInit`,
`NormDiagnostics`), Atari games (`AtariVecEnv`), a replay buffer (`FrameReplayBuffer`), and files of trained policies
(`save_policy`, `load_policy`, `export`).
"""

# ruff: noqa: E402

from wnrl.distribution import check_packages

check_packages("envs")  # before AtariVecEnv imports it

from wnrl.sb3.atari_vec_env import AtariVecEnv
from wnrl.sb3.callbacks import DataDependentInit, NormDiagnostics
from wnrl.sb3.export import Exported, export
from wnrl.sb3.frame_replay_buffer import FrameReplayBuffer
from wnrl.sb3.policy_files import load_policy, save_policy

__all__ = [
    "AtariVecEnv",
    "DataDependentInit",
    "Exported",
    "FrameReplayBuffer",
    "NormDiagnostics",
    "export",
    "load_policy",
    "save_policy",
]
