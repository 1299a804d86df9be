"""Train PQN: python scripts/train_pqn.py --env CartPole-v1"""

from __future__ import annotations

from wnrl.distribution import checked_packages

with checked_packages():
    from agents.runtime.signals import leaving_at_once

with leaving_at_once():
    from agents.commands.train import train

if __name__ == "__main__":
    raise SystemExit(train("pqn", __doc__ or ""))
