"""Policy classes for stable-baselines3 and sb3-contrib with weight-normalized networks.

`wnrl.sb3.ALGORITHM` has the host's class names: `from wnrl.sb3.dqn import CnnPolicy` for
`from stable_baselines3.dqn import CnnPolicy`.
"""
