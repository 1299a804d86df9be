"""The Arcade Learning Environment alone: frames without screens, in this process or in several.

`python -m agents.benchmarks.raw_ale ROM` is one of these processes: for each number of steps on a line of its input it
makes so many and prints them.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import cast

FRAME_SKIP = 4


def frames(rom: str) -> Callable[[int], None]:
    """A function that makes the step of a number: `FRAME_SKIP` frames of a game with the same action.

    Args:
        rom: id of the game's ROM.
    """
    import ale_py
    from ale_py.roms import get_rom_path

    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)  # before there is one, which greets
    emulator = ale_py.ALEInterface()
    emulator.setInt("random_seed", 0)
    emulator.loadROM(cast(Path, get_rom_path(rom)))
    actions = emulator.getMinimalActionSet()

    def step(number: int) -> None:
        for _ in range(FRAME_SKIP):
            emulator.act(actions[number % len(actions)])
        if emulator.game_over():
            emulator.reset_game()

    return step


class RawALE:
    """Emulators of one game, each in a process of its own.

    Args:
        rom: id of the game's ROM.
        processes: how many.
    """

    def __init__(self, rom: str, processes: int) -> None:
        command, pipe = [sys.executable, "-m", "agents.benchmarks.raw_ale", rom], subprocess.PIPE
        self._processes = [
            subprocess.Popen(command, text=True, bufsize=1, stdin=pipe, stdout=pipe) for _ in range(processes)
        ]

    def __call__(self, steps: int) -> int:
        """Make at least this many steps in all, and return how many were made."""
        each = -(-steps // len(self._processes))
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(f"{each}\n")
        made = 0
        for process in self._processes:
            assert process.stdout is not None
            made += int(process.stdout.readline())
        return made

    def close(self) -> None:
        """End the processes."""
        for process in self._processes:
            process.communicate()


def main(rom: str) -> None:
    """One of the processes."""
    step, number = frames(rom), 0
    for line in sys.stdin:
        for _ in range(int(line)):
            step(number)
            number += 1
        print(int(line), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
