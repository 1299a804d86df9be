"""DRAW with and without weight normalization: python scripts/paper_draw.py --data digits"""

from __future__ import annotations

from wnrl.distribution import checked_packages

with checked_packages():
    from paper.command import run
    from paper.draw.draw_experiment import DrawSettings

if __name__ == "__main__":
    raise SystemExit(run(DrawSettings, __doc__ or ""))
