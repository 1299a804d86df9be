"""Train an agent of the DQN family: python scripts/train_dqn.py --game Breakout"""

from __future__ import annotations

from agents.registry import DQN
from agents.training.run import train

if __name__ == "__main__":
    raise SystemExit(train(DQN, __doc__ or ""))
