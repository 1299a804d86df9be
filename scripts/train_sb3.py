"""Train stable-baselines3's algorithms, normalized: python scripts/train_sb3.py --game Pong --algo dqn"""

from __future__ import annotations

from wnrl.distribution import checked_packages

with checked_packages():
    from agents.runtime.signals import leaving_at_once

with leaving_at_once():
    from agents.commands.sb3.command import main

if __name__ == "__main__":
    raise SystemExit(main(__doc__ or ""))
