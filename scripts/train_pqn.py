"""Train PQN: python scripts/train_pqn.py --env CartPole-v1"""

from __future__ import annotations

from agents.registry import PQN
from agents.training.run import train

if __name__ == "__main__":
    raise SystemExit(train(PQN, __doc__ or ""))
