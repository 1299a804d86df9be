"""Measure speed, memory and calls: python scripts/benchmark.py dqn --game Breakout, or ppo, replay, env, calls, …"""

from __future__ import annotations

from wnrl.distribution import checked_packages

with checked_packages():
    from agents.runtime.signals import leaving_at_once

with leaving_at_once():
    from agents.commands.benchmark import main

if __name__ == "__main__":
    raise SystemExit(main(__doc__ or ""))
