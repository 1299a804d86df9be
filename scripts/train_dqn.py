"""Train an agent of the DQN family: python scripts/train_dqn.py --game Breakout"""

from __future__ import annotations

from agents.kinds import DQN
from agents.run import train

if __name__ == "__main__":
    raise SystemExit(train(DQN, __doc__ or ""))
