"""Policy classes for stable-baselines3 and sb3-contrib with weight-normalized networks.

`wnrl.sb3.ALGORITHM` has the host's class names: `from wnrl.sb3.dqn import CnnPolicy` for
`from stable_baselines3.dqn import CnnPolicy`. There are also callbacks (`DataDependentInit`,
`NormDiagnostics`), a replay buffer (`FrameReplayBuffer`) and `export`.
"""

from wnrl.sb3.callbacks import DataDependentInit, NormDiagnostics
from wnrl.sb3.export import Exported, export
from wnrl.sb3.frame_replay_buffer import FrameReplayBuffer

__all__ = ["DataDependentInit", "Exported", "FrameReplayBuffer", "NormDiagnostics", "export"]
