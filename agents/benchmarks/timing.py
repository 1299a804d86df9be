"""Timings of several sides that take turns in one process: medians, and ratios within a round."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial
from importlib import metadata
from typing import Any, TypeVar

import torch

Figure = TypeVar("Figure")
Side = Callable[[], float]  # does its work once and returns the compared figure


def in_turn(sides: Mapping[str, Callable[[], Figure]], rounds: int) -> dict[str, list[Figure]]:
    """Figures of each side, one per round; within a round every side is measured once."""
    figures: dict[str, list[Figure]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, measure in sides.items():
            figures[name].append(measure())
    return figures


def medians(figures: Mapping[str, list[float]]) -> dict[str, dict[str, float]]:
    """Median of each side, and the median of its ratios to the first side in the same round.

    A machine that is slow for a while is so for all sides of a round.
    """
    base = next(iter(figures.values()))
    return {
        name: {
            "median": statistics.median(values),
            "ratio": statistics.median(own / first for own, first in zip(values, base, strict=True)),
        }
        for name, values in figures.items()
    }


def rate(advance: Callable[[int], int], steps: int) -> Side:
    """A side whose figure is the steps per second over at least `steps` steps."""

    def steps_per_second() -> float:
        start = time.perf_counter()
        return advance(steps) / (time.perf_counter() - start)

    return steps_per_second


def seconds(work: Callable[[], Any], times: int, device: torch.device) -> float:
    """Seconds per call of `work`, the mean over `times` calls; waits for the device before and after."""
    wait(device)
    start = time.perf_counter()
    for _ in range(times):
        work()
    wait(device)
    return (time.perf_counter() - start) / times


def timed(
    work: Mapping[str, Callable[[], Any]], rounds: int, times: int, device: torch.device, warmup: int = 0
) -> dict[str, dict[str, float]]:
    """`medians` of the seconds per call of each side's work.

    Args:
        work: by side; the sides take turns.
        rounds: timings per side.
        times: calls per timing.
        device: waited for.
        warmup: calls of each side before the first timing.
    """
    return timed_over_builds(lambda: work, 1, rounds, times, device, warmup)


def timed_over_builds(
    build: Callable[[], Mapping[str, Callable[[], Any]]],
    builds: int,
    rounds: int,
    times: int,
    device: torch.device,
    warmup: int = 0,
) -> dict[str, dict[str, float]]:
    """`timed` over sides that are built several times, since the addresses of their tensors change their speed.

    Args:
        build: makes the work of all sides.
        builds: number of builds.
        rounds: timings per side and build.
        times: calls per timing.
        device: waited for.
        warmup: calls of each side, in each build, before the first timing.
    """
    figures: dict[str, list[float]] = {}
    for _ in range(builds):
        work = build()
        if warmup:
            for call in work.values():
                seconds(call, warmup, device)
        sides = {name: partial(seconds, call, times, device) for name, call in work.items()}
        for name, values in in_turn(sides, rounds).items():
            figures.setdefault(name, []).extend(values)
    return medians(figures)


def wait(device: torch.device) -> None:
    """Wait until the device has done all queued work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def machine(device: torch.device) -> dict[str, Any]:
    """Device, cores, threads and versions, as JSON holds them."""
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "versions": {
            "torch": torch.__version__,  # names the build too, unlike its metadata
            **{name: metadata.version(name) for name in ("ale-py", "stable-baselines3")},
        },
    }


def processor() -> str:
    """The name of the CPU."""
    try:
        with open("/proc/cpuinfo") as file:
            names = [line.split(":")[1].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def machine_line(about: Mapping[str, Any], precision: str) -> str:
    """One line about the machine."""
    versions = about["versions"]["torch"]
    return f"{about['device']}, {about['cores']} cores, {about['threads']} threads, torch {versions}, {precision}"
