"""Evaluate a trained model over whole games: python scripts/evaluate.py RUN_DIR --episodes 30 --video"""

from __future__ import annotations

from wnrl.distribution import checked_packages

with checked_packages():
    from agents.runtime.signals import leaving_at_once

with leaving_at_once():
    from agents.commands.evaluate import main

if __name__ == "__main__":
    raise SystemExit(main(__doc__ or ""))
