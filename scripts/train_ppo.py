"""Train PPO: python scripts/train_ppo.py --env CartPole-v1"""

from __future__ import annotations

from agents.kinds import PPO
from agents.run import train

if __name__ == "__main__":
    raise SystemExit(train(PPO, __doc__ or ""))
