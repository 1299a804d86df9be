"""Train REINFORCE with a baseline: python scripts/train_reinforce.py --env CartPole-v1"""

from __future__ import annotations

from agents.registry import REINFORCE
from agents.training.run import train

if __name__ == "__main__":
    raise SystemExit(train(REINFORCE, __doc__ or ""))
