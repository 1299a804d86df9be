"""Watch the memory, open handles and threads of a long DQN run on a game: python scripts/soak.py --minutes 60"""

from __future__ import annotations

from wnrl.distribution import checked_packages

with checked_packages():
    from agents.runtime.signals import leaving_at_once

with leaving_at_once():
    from agents.commands.soak import main

if __name__ == "__main__":
    raise SystemExit(main(__doc__ or ""))
