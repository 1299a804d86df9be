"""Train an algorithm of stable-baselines3 with normalized networks: python scripts/train_sb3.py --algo ppo"""

from __future__ import annotations

from agents.commands.sb3 import main

if __name__ == "__main__":
    raise SystemExit(main(__doc__ or ""))
