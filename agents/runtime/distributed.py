"""Distributed training: one run in several processes, as `torchrun` starts them.

Environments, replay buffer or rollouts, and batches are split among the processes; each makes the same updates of the
same network, on the mean of all gradients. A run's settings are totals over the processes.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor

from agents.runtime.peers import Peers
from agents.runtime.process_count import process_count
from agents.runtime.rendezvous import meet
from agents.runtime.seeds import process_seed
from agents.settings.flat import replace, to_flat
from agents.settings.run import TrainSettings

SPLIT = ("num_envs", "batch_size", "replay_size", "init_batch")
"""Settings that are split equally among the processes, of those that an agent has; a rollout is of its environments."""
TIMEOUT = timedelta(hours=6)  # the other processes wait while the first one evaluates

_GONE = ("closed by peer", "reset by peer", "Broken pipe", "remote process exited", "Timed out", "Connection refused")
"""What gloo and NCCL say of another process that is gone."""


class Ranks(Protocol):
    """The processes of a run, seen from one of them."""

    rank: int
    world_size: int

    def sum(self, value: int) -> int:
        """The sum of all processes' values."""

    def min(self, value: int) -> int:
        """The minimum of all processes' values."""

    def broadcast(self, value: Any) -> Any:
        """The first process's value."""

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Replace these tensors, in place, by their mean over the processes."""

    def gather(self, tensor: Tensor) -> Tensor:
        """The tensors `[...]` of all processes `[W, ...]`, in their order."""

    def broadcast_tensors(self, tensors: Iterable[Tensor]) -> None:
        """Replace these tensors, in place, by the first process's."""

    def check(self) -> None:
        """Raise ProcessGoneError in the first process where another has ended, while they wait for it."""

    def apart(self) -> Ranks:
        """The same processes, for operations of another thread, in any order to those of this one."""


class OneProcess:
    """A run of a single process."""

    rank, world_size = 0, 1

    def sum(self, value: int) -> int:
        """The value."""
        return value

    def min(self, value: int) -> int:
        """The value."""
        return value

    def broadcast(self, value: Any) -> Any:
        """The value."""
        return value

    def average(self, tensors: Iterable[Tensor]) -> None:
        """They are the mean."""

    def gather(self, tensor: Tensor) -> Tensor:
        """The tensor `[1, ...]`."""
        return tensor.unsqueeze(0)

    def broadcast_tensors(self, tensors: Iterable[Tensor]) -> None:
        """They are the first process's."""

    def check(self) -> None:
        """There is no other."""

    def apart(self) -> Ranks:
        """Itself."""
        return self


class ProcessGoneError(RuntimeError):
    """Another process of the run has ended, so that this one cannot go on."""


@contextmanager
def together() -> Iterator[None]:
    """A context of operations that all processes make together.

    Raises:
        ProcessGoneError: one of them has ended.
    """
    try:
        yield
    except RuntimeError as error:
        text = " ".join(str(error).split())
        if not isinstance(error, dist.DistError) and not any(words in text for words in _GONE):
            raise
        reason = re.sub(r"^\[[^]]*\]\s*", "", text).split(". ")[0]  # without the line of torch's source
        raise ProcessGoneError(f"another process of the run has ended: {reason[:200]}") from error


class Processes:
    """All processes of torch's default process group, which is initialized.

    Args:
        peers: the connections by which the first process notices the end of another while no operation is under way.
        group: of all of them, for the operations; None: the default one.
    """

    def __init__(self, peers: Peers | None = None, group: dist.ProcessGroup | None = None) -> None:
        self.rank, self.world_size = dist.get_rank(), dist.get_world_size()
        self._peers, self._group = peers, group

    def sum(self, value: int) -> int:
        """The sum of all processes' values."""
        return self._reduced(value, dist.ReduceOp.SUM)

    def min(self, value: int) -> int:
        """The minimum of all processes' values."""
        return self._reduced(value, dist.ReduceOp.MIN)

    @together()
    def _reduced(self, value: int, operation: Any) -> int:
        tensor = torch.tensor(value)  # on the CPU, so that nothing waits for the device
        dist.all_reduce(tensor, operation, group=self._group)
        return int(tensor)

    @together()
    def broadcast(self, value: Any) -> Any:
        """The first process's value, which can be pickled."""
        values = [value]
        dist.broadcast_object_list(values, group=self._group)
        return values[0]

    @together()
    def average(self, tensors: Iterable[Tensor]) -> None:
        """Replace these tensors, in place, by their mean over the processes; never waits for the device."""
        tensors = list(tensors)
        joined = torch.cat([tensor.flatten() for tensor in tensors])
        dist.all_reduce(joined, group=self._group)
        parts = joined.div_(self.world_size).split([tensor.numel() for tensor in tensors])
        torch._foreach_copy_(tensors, [part.view_as(tensor) for part, tensor in zip(parts, tensors, strict=True)])

    @together()
    def gather(self, tensor: Tensor) -> Tensor:
        """The tensors `[...]` of all processes `[W, ...]`; never waits for the device."""
        parts = [torch.empty_like(tensor) for _ in range(self.world_size)]
        dist.all_gather(parts, tensor, group=self._group)
        return torch.stack(parts)

    @together()
    def broadcast_tensors(self, tensors: Iterable[Tensor]) -> None:
        """Replace these tensors, in place, by the first process's."""
        for tensor in tensors:
            dist.broadcast(tensor, src=0, group=self._group)

    def check(self) -> None:
        """Raise ProcessGoneError in the first process where another has ended, while they wait for it."""
        if self._peers is not None and self._peers.one_is_gone():
            raise ProcessGoneError("another process of the run has ended: its connection is closed")

    @together()
    def apart(self) -> Ranks:
        """The same processes in a group of their own; all of them call it together."""
        return Processes(self._peers, dist.new_group(timeout=TIMEOUT))


def join() -> Ranks:
    """The processes that `torchrun` started, or this one alone.

    Raises:
        ValueError: the environment does not say where several processes meet.
    """
    if process_count() == 1:
        return OneProcess()
    if not dist.is_initialized():
        meet(TIMEOUT)
    return Processes(_peers())


@functools.cache
def _peers() -> Peers:
    """Those of this process, for all its runs."""
    ranks = Processes()
    return Peers(ranks.rank, ranks.world_size, os.environ["MASTER_ADDR"], ranks.broadcast)


def share(settings: TrainSettings[Any], ranks: Ranks) -> TrainSettings[Any]:
    """One process's share of a run's settings, with its own seed and, on CUDA, its own device.

    Raises:
        ValueError: a number cannot be split among the processes, learning starts before each of them has a transition,
            or the normalizer has statistics of whole batches.
    """
    if ranks.world_size == 1:
        return settings
    norm = settings.run.network.norm
    if norm in ("batch", "mean-batch"):
        raise ValueError(
            f"norm {norm} takes statistics of a batch, which several processes do not share: use one process"
        )
    if replay := getattr(settings.agent, "replay", None):
        replay.check_start(settings.run.num_envs)
    if settings.agent.learner.graphs:
        raise ValueError("graphs are of one process: leave --graphs out, or torchrun")
    flat = to_flat(settings)
    shares: dict[str, Any] = {name: _share(name, flat[name], ranks.world_size) for name in SPLIT if name in flat}
    shares["graphs"] = False  # processes synchronize within an update
    if settings.run.device in ("auto", "cuda") and torch.cuda.is_available():
        shares["device"] = f"cuda:{os.environ['LOCAL_RANK']}"
    return replace(settings, seed=process_seed(settings.run.seed, ranks.rank), **shares)


def _share(name: str, value: int, number: int) -> int:
    if value % number:
        raise ValueError(f"{name} {value} cannot be split among {number} processes: take a multiple of {number}")
    return value // number


def joint_weight(valid: Tensor, ranks: Ranks) -> Tensor:
    """By what a mean over this process's valid entries counts, 0-dim: the mean over processes is then that over all."""
    count = valid.sum().float()
    return count / ranks.gather(count).mean().clamp(min=1 / ranks.world_size)
