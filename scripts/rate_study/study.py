"""The range of learning rates at which a network trains, and how fast, with each normalizer and all else equal."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

import torch
import tyro
from rate_study.digits import TASKS, Examples, Task
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from wnrl.initialization.initialize import data_init
from wnrl.normalizers.normalize import normalize
from wnrl.weight_norm.units import Units

BATCH = 100  # examples in a minibatch, as in the paper's section 5.1
INIT_BATCH = 500  # for the data-dependent initialization, as in the authors' code
OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamax": torch.optim.Adamax,
    "rmsprop": torch.optim.RMSprop,
    "sgd": torch.optim.SGD,
}
"""By name, with torch's defaults; the learning rate is constant."""
LARGEST_RATE = 1e37
"""Adam's first step multiplies the rate by 10, and torch raises an error where that is more than float32 holds."""


@dataclass(frozen=True)
class StudyRun:
    """One training run: everything that its outcome depends on."""

    task: str
    norm: str
    rate: float
    seed: int
    epochs: int
    optimizer: str
    init: str
    units: Units


class Outcome(NamedTuple):
    """Outcome of a run; losses are cross-entropies in nats, infinite for a diverged run."""

    run: StudyRun
    curve: tuple[float, ...]
    """Mean loss of each epoch's minibatches in training mode: the objective, without the lag of running means."""
    full_loss: float
    """Of the whole training set after the last epoch, in evaluation mode."""
    test_loss: float
    """Of the held-out fifth, in evaluation mode."""
    test_error: float
    """Share of the held-out fifth's targets that are misclassified."""
    seconds: float
    """Wall time, on a machine that may have been busy."""

    @property
    def diverged(self) -> bool:
        """Whether a loss was infinite or NaN."""
        return not (math.isfinite(sum(self.curve)) and math.isfinite(self.full_loss))

    @property
    def loss(self) -> float:
        """The training loss: the last epoch's in the curve."""
        return math.inf if self.diverged else self.curve[-1]


@dataclass(frozen=True)
class Study:
    """The compared runs: every norm at every rate with every seed."""

    task: Annotated[Literal["digits", "sequence"], tyro.conf.Positional]
    """digits: a convolutional network classifies scikit-learn's digits; sequence: an LSTM predicts their pixels."""
    norms: tuple[str, ...] = ()
    """Normalizers; by default none weight mean-batch batch (digits) or none weight (sequence)."""
    rates: tuple[float, ...] = (3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0)
    """Learning rates, constant in a run."""
    seeds: int = 5
    """Number of seeds (0, 1, …) of the initial weights and of the minibatches' order, the same for all norms."""
    epochs: int = 0
    """Epochs of 14 minibatches of 100 each; 0 is the task's own number, 10."""
    optimizer: Literal["adam", "adamax", "rmsprop", "sgd"] = "adam"
    """Optimizer, with torch's defaults; SGD without momentum."""
    init: Literal["data", "preserve"] | None = None
    """Initialization for all norms: preserve (torch's own; for sequence) or data (except in an LSTM; for digits)."""
    units: Units = "sqrt"
    """Weight norm: a row's length is √n g for n inputs (sqrt), g (paper) or exp(g) (log)."""

    def __post_init__(self) -> None:
        task = TASKS[self.task]()
        if unknown := [norm for norm in self.norms if norm not in task.norms]:
            raise ValueError(f"norm {unknown[0]!r} is not compared in {self.task}: choose from {', '.join(task.norms)}")
        if not self.rates or not all(0 < rate < math.inf for rate in self.rates):
            raise ValueError(f"rates must be positive, got {' '.join(f'{rate:g}' for rate in self.rates) or 'none'}")
        if max(self.rates) > LARGEST_RATE:
            raise ValueError(f"rates must be at most {LARGEST_RATE:g}, got {max(self.rates):g}")
        if self.seeds < 1 or self.epochs < 0:
            raise ValueError(f"there must be a seed and no negative epochs, got {self.seeds} and {self.epochs}")

    def runs(self) -> list[StudyRun]:
        """Each run once, seed by seed."""
        task = TASKS[self.task]()
        grid = itertools.product(range(self.seeds), self.norms or task.norms, sorted(self.rates))
        rest = (self.epochs or task.epochs, self.optimizer, self.init or task.init, self.units)
        return list(dict.fromkeys(StudyRun(self.task, norm, rate, seed, *rest) for seed, norm, rate in grid))


def build_network(run: StudyRun, task: Task) -> nn.Module:
    """The network of a run; before normalization it depends on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.seed)
        network = task.make_network()
    normalize(network, run.norm, units=run.units)
    if run.init == "data":
        batch = task.training.inputs[:INIT_BATCH]
        data_init(network, batch, generator=torch.Generator().manual_seed(run.seed))
    return network


def train_once(run: StudyRun) -> Outcome:
    """Train a network until the last epoch, or the first one whose loss is not finite."""
    start = time.perf_counter()
    task = TASKS[run.task]()
    network = build_network(run, task)
    optimizer = OPTIMIZERS[run.optimizer](network.parameters(), lr=run.rate)
    generator = torch.Generator().manual_seed(run.seed)  # of the order
    curve: list[float] = []
    while len(curve) < run.epochs and math.isfinite(sum(curve)):
        order = torch.randperm(len(task.training.targets), generator=generator)
        curve.append(train_epoch(network, optimizer, task.training, order))
    full_loss, _ = loss_and_error(network, task.training)
    return Outcome(run, tuple(curve), full_loss, *loss_and_error(network, task.held_out), time.perf_counter() - start)


def train_epoch(network: nn.Module, optimizer: Optimizer, examples: Examples, order: Tensor) -> float:
    """Make one update per minibatch of `BATCH` examples, drop an incomplete last one, and return the mean loss."""
    losses = []
    for batch in order[: len(order) // BATCH * BATCH].split(BATCH):
        loss = F.cross_entropy(network(examples.inputs[batch]), examples.targets[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return float(torch.stack(losses).mean())


@torch.no_grad()
def loss_and_error(network: nn.Module, examples: Examples) -> tuple[float, float]:
    """Cross-entropy and error rate in evaluation mode; the network is left in training mode."""
    logits = network.eval()(examples.inputs)  # [B, classes, ...]
    network.train()
    loss = F.cross_entropy(logits, examples.targets)
    return float(loss), float((logits.argmax(1) != examples.targets).float().mean())
