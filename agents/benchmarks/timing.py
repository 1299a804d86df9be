"""Honest timings: the sides of a comparison take turns in one run, and their medians and ratios are quoted."""

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
Side = Callable[[], float]  # does its work once and returns the figure that is compared


def in_turn(sides: Mapping[str, Callable[[], Figure]], rounds: int) -> dict[str, list[Figure]]:
    """Figures of each side, one per round; within a round every side is measured once."""
    figures: dict[str, list[Figure]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, measure in sides.items():
            figures[name].append(measure())
    return figures


def summary(figures: Mapping[str, list[float]]) -> dict[str, dict[str, float]]:
    """Median of each side, and the median of its ratios to the first side in the same round.

    A machine that is slower for a while is so for all sides of a round.
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
    """A side that is asked for `steps` steps at a time; its figure is the steps that it makes per second."""

    def measure() -> float:
        start = time.perf_counter()
        return advance(steps) / (time.perf_counter() - start)

    return measure


def seconds(work: Callable[[], Any], times: int, device: torch.device) -> float:
    """Seconds for one call of `work`, the mean over `times` calls, the device's own work included."""
    wait(device)
    start = time.perf_counter()
    for _ in range(times):
        work()
    wait(device)
    return (time.perf_counter() - start) / times


def timed(
    work: Mapping[str, Callable[[], Any]], rounds: int, times: int, device: torch.device, warmup: int = 0
) -> dict[str, dict[str, float]]:
    """`summary` of the seconds for one call of each side's work.

    Args:
        work: by side; the sides take turns.
        rounds: timings per side.
        times: calls per timing.
        device: whose work is included.
        warmup: calls of each before the first timing.
    """
    return timed_anew(lambda: work, 1, rounds, times, device, warmup)


def timed_anew(
    build: Callable[[], Mapping[str, Callable[[], Any]]],
    builds: int,
    rounds: int,
    times: int,
    device: torch.device,
    warmup: int = 0,
) -> dict[str, dict[str, float]]:
    """`timed` over sides that are built several times: where their tensors come to lie makes them faster or slower.

    Args:
        build: makes the work of all sides.
        builds: how often.
        rounds: timings per side and build.
        times: calls per timing.
        device: whose work is included.
        warmup: calls of each, in each build, before the first timing.
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
    return summary(figures)


def wait(device: torch.device) -> None:
    """Wait until the device has done all that it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def machine(device: torch.device) -> dict[str, Any]:
    """Device, cores, threads and versions, JSON-able."""
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "versions": {
            "torch": torch.__version__,  # with the build, which its metadata may leave out
            **{name: metadata.version(name) for name in ("ale-py", "stable-baselines3")},
        },
    }


def processor() -> str:
    """The CPU's name as the system knows it."""
    try:
        with open("/proc/cpuinfo") as file:
            names = [line.split(":")[1].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def describe(about: Mapping[str, Any], precision: str) -> str:
    """One line about the machine."""
    versions = about["versions"]["torch"]
    return f"{about['device']}, {about['cores']} cores, {about['threads']} threads, torch {versions}, {precision}"
