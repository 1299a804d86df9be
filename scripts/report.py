"""Compare runs: curves, statistics and figures in one page: python scripts/report.py runs --out report"""

from __future__ import annotations

from wnrl.distribution import checked_packages

with checked_packages():
    from agents.runtime.signals import leaving_at_once

with leaving_at_once():
    from agents.commands.report import main

if __name__ == "__main__":
    raise SystemExit(main(__doc__ or ""))
