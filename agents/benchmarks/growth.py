"""What a run costs as it grows: with the fill of its replay buffer, its environments, the length of its rollouts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from agents.benchmarks.races import RACES, Advance, RaceTask, our_side, our_trainer
from agents.benchmarks.replay_costs import EPISODE, Store, our_replay
from agents.benchmarks.timing import in_turn, medians, rate, timed
from wnrl.replay.prioritized import PrioritizedReplay
from wnrl.replay.uniform import Replay

Rows = dict[str, dict[str, float]]  # by size: `median`, `ratio` to the first
METHODS = {Replay: "sample", PrioritizedReplay: "sample_by_priority"}
MINIBATCH = 256


def fill_growth(
    fills: Sequence[int], *, num_envs: int, batch_size: int, rounds: int, times: int, device: torch.device
) -> dict[str, Rows]:
    """Seconds to store a step of each environment and to sample a batch, by the transitions that a buffer holds.

    Args:
        fills: transitions; a buffer of each size, filled to the end, takes its turn.
        num_envs: N; a step is stored for each at once.
        batch_size: transitions per sample.
        rounds: timings per size.
        times: calls per timing.
        device: where batches are sampled.

    Raises:
        ValueError: the buffers, 7 KB a transition, do not fit into memory.
    """
    figures = {}
    for kind, method in METHODS.items():  # one after the other: the largest takes 7 GB
        stores = {f"{fill:,}": _full(kind, method, fill, num_envs, batch_size, device) for fill in fills}
        for what in ("add", "sample"):
            work = {size: getattr(store, what) for size, store in stores.items()}
            figures[f"{kind.__name__}.{what if what == 'add' else method}"] = timed(work, rounds, times, device, times)
        del stores, work
    return figures


def _full(kind: type[Replay], method: str, fill: int, num_envs: int, batch_size: int, device: torch.device) -> Store:
    store = our_replay(kind, method)(num_envs, batch_size, fill, device)
    for _ in range(-(-fill // num_envs) + 2 * EPISODE):
        store.add()
    return store


def environment_growth(task: RaceTask, counts: Sequence[int], *, norm: str, steps: int, rounds: int) -> Rows:
    """Steps per second of the DQN of the races, by the number of its environments; an update is for 4 steps.

    Args:
        task: of the agent.
        counts: numbers of environments; a run with each takes its turn.
        norm: normalizer.
        steps: per timing.
        rounds: timings per number.
    """
    race = RACES["dqn"]
    sides = {f"{count:,}": our_side(our_trainer(race, task, norm, num_envs=count)) for count in counts}
    return _rates(sides, dict.fromkeys(sides, steps), rounds)


def rollout_growth(task: RaceTask, lengths: Sequence[int], *, norm: str, steps: int, rounds: int) -> Rows:
    """Steps per second of the PPO of the races, by the length of its rollouts; minibatches have up to 256 steps.

    Args:
        task: of the agent.
        lengths: rows of a rollout; a run with each takes its turn.
        norm: normalizer.
        steps: least per timing, which is of whole rollouts.
        rounds: timings per length.
    """
    race, sides, whole = RACES["ppo"], {}, {}
    for length in lengths:
        size, name = length * race.num_envs, f"{length:,}"
        changes = {"rollout_length": length, "minibatches": max(1, size // MINIBATCH)}
        sides[name] = our_side(our_trainer(race, task, norm, **changes))
        whole[name] = -(-steps // size) * size
    return _rates(sides, whole, rounds)


def _rates(sides: Mapping[str, Advance], steps: Mapping[str, int], rounds: int) -> Rows:
    """Steps per second, after a timing's steps that do not count."""
    for name, advance in sides.items():
        advance(steps[name])
    return medians(in_turn({name: rate(advance, steps[name]) for name, advance in sides.items()}, rounds))


def growth_table(figures: Mapping[str, Rows]) -> str:
    """Microseconds of a call, or steps per second and microseconds of a step, and ratios to the first size."""
    lines = []
    for title, rows in figures.items():
        call = "." in title
        lines += ["", f"{title:36}{'' if call else 'steps/s':>10}{'µs':>10}{'ratio':>8}"]
        for size, row in rows.items():
            seconds = row["median"] if call else 1 / row["median"]
            steps_per_second = "" if call else f"{row['median']:.0f}"
            lines.append(f"{size:>36}{steps_per_second:>10}{seconds * 1e6:10.1f}{row['ratio']:8.2f}")
    return "\n".join(lines[1:])
