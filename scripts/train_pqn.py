"""Train PQN: python scripts/train_pqn.py --env CartPole-v1"""

from __future__ import annotations

from agents.commands.train import train

if __name__ == "__main__":
    raise SystemExit(train("pqn", __doc__ or ""))
