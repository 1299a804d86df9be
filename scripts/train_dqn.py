"""Train a deep Q network: python scripts/train_dqn.py --game Breakout"""

from __future__ import annotations

from dataclasses import dataclass

from agents.building import make_dqn
from agents.command_line import fail, parse
from agents.dqn import DQNSettings
from agents.presets import dqn_preset
from agents.run import prepare
from agents.settings import RunSettings


@dataclass(frozen=True)
class TrainDQN(DQNSettings, RunSettings):
    """Everything that a DQN run is told."""

    def __post_init__(self) -> None:
        RunSettings.__post_init__(self)
        DQNSettings.__post_init__(self)


def main() -> int:
    """Parse the command line and train; the exit code."""
    try:
        settings = parse(TrainDQN, dqn_preset, __doc__ or "")
        run = prepare(settings, "dqn", lambda environment: make_dqn(settings, settings, environment))
    except ValueError as error:
        fail(error)
    except KeyboardInterrupt:
        return 130
    return run.go()


if __name__ == "__main__":
    raise SystemExit(main())
