"""Watch a trained model play in a window: python scripts/watch.py RUN_DIR --values"""

from __future__ import annotations

from wnrl.distribution import checked_packages

with checked_packages():
    from agents.runtime.signals import leaving_at_once

with leaving_at_once():
    from agents.commands.watch import main

if __name__ == "__main__":
    raise SystemExit(main(__doc__ or ""))
