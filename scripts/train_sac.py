"""Train a discrete soft actor-critic: python scripts/train_sac.py --game Pong"""

from __future__ import annotations

from agents.registry import SAC
from agents.training.run import train

if __name__ == "__main__":
    raise SystemExit(train(SAC, __doc__ or ""))
