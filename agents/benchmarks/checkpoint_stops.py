"""How long a run stands still for a checkpoint of a full replay buffer, and how long it takes to write."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from agents.benchmarks.replay_costs import EPISODE, OBS_SHAPE, RandomGames
from agents.benchmarks.timing import wait
from agents.runtime.background import Background
from wnrl.checkpoints.tensor_files import write_checkpoint
from wnrl.replay.layout import ReplayLayout
from wnrl.replay.uniform import Replay

STEP = 0.005
"""Seconds between two steps of the run."""


def checkpoint_stops(
    *, num_envs: int, capacity: int, rounds: int, device: torch.device, folder: Path | None
) -> list[dict[str, float]]:
    """Write a full replay buffer of Atari observations again and again while steps are stored in it.

    Args:
        num_envs: steps that are stored together, every 5 ms.
        capacity: steps in the buffer.
        rounds: checkpoints.
        device: of the buffer.
        folder: where they are written; None: that of temporary files.

    Returns:
        Of each: `bytes` of the file, seconds of the `stop` until the run goes on, of the `longest` stop for a step
        meanwhile, and until it is `written`; then those of a run that waits, `waiting`.
    """
    replay = Replay(ReplayLayout(capacity, num_envs, OBS_SHAPE, torch.uint8, stack=4), device=device)
    games, done = RandomGames(num_envs), torch.ones(num_envs)

    def add() -> None:
        row = games.step()
        replay.add(row.obs, row.action, row.reward, done, row.first)

    for _ in range(capacity // num_envs + 2 * EPISODE):
        add()
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        path = Path(temporary) / "replay.safetensors"
        return [_measured(replay, add, path, device) for _ in range(rounds)]


def _measured(replay: Replay, add: Callable[[], None], path: Path, device: torch.device) -> dict[str, float]:
    background, longest = Background(device), 0.0
    wait(device)
    began = time.perf_counter()
    background.begin(partial(write_checkpoint, path, replay.snapshot()))
    stop = time.perf_counter() - began
    while background.works:
        time.sleep(STEP)
        longest = max(longest, _seconds(add))
    background.end()
    written, size = time.perf_counter() - began, path.stat().st_size
    waiting = _seconds(lambda: write_checkpoint(path, replay.get_state()))
    return {"bytes": size, "stop": stop, "longest": longest, "written": written, "waiting": waiting}


def _seconds(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def stop_table(rows: list[dict[str, float]]) -> str:
    """A line for each checkpoint, in GB and seconds."""
    head = ("GB", "stop", "longest step", "written", "a run that waits")
    lines = ["".join(f"{name:>18}" for name in head)]
    for row in rows:
        gigabytes, *seconds = row.values()
        lines.append(f"{gigabytes / 1e9:18.2f}" + "".join(f"{value:18.3f}" for value in seconds))
    return "\n".join(lines)
