"""Train A2C: python scripts/train_a2c.py --env CartPole-v1"""

from __future__ import annotations

from agents.registry import A2C
from agents.training.run import train

if __name__ == "__main__":
    raise SystemExit(train(A2C, __doc__ or ""))
