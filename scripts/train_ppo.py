"""Train PPO: python scripts/train_ppo.py --env CartPole-v1"""

from __future__ import annotations

from agents.registry import PPO
from agents.training.run import train

if __name__ == "__main__":
    raise SystemExit(train(PPO, __doc__ or ""))
