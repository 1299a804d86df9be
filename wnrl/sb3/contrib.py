"""The algorithms of sb3-contrib, or an error that says how to install it."""

try:
    from sb3_contrib import crossq, ppo_mask, ppo_recurrent, qrdqn, tqc, trpo
except ImportError as error:
    raise ImportError('this policy is of an algorithm of sb3-contrib: pip install "wnrl[contrib]"') from error

__all__ = ["crossq", "ppo_mask", "ppo_recurrent", "qrdqn", "tqc", "trpo"]
