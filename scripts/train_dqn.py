"""Train an agent of the DQN family: python scripts/train_dqn.py --game Breakout"""

from __future__ import annotations

from wnrl.distribution import checked_packages

with checked_packages():
    from agents.runtime.signals import leaving_at_once

with leaving_at_once():
    from agents.commands.train import train

if __name__ == "__main__":
    raise SystemExit(train("dqn", __doc__ or ""))
