"""Train agents over tasks and seeds: python scripts/sweep.py --agents dqn --envs CartPole-v1 --steps 50000"""

from __future__ import annotations

from wnrl.distribution import checked_packages

with checked_packages():
    from agents.runtime.signals import leaving_at_once

with leaving_at_once():
    from agents.commands.sweep.command import main

if __name__ == "__main__":
    raise SystemExit(main(__doc__ or ""))
