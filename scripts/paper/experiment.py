"""How an experiment of the paper plugs into the training loop: settings that make it, and what it builds and measures.

An experiment is a frozen dataclass of settings, derived from `PaperSettings`, whose fields become flags, and a class
with the methods of `Experiment`, which its `experiment()` returns. `paper.command.run` does the rest: it trains each
norm with each seed, writes each run's folder (TensorBoard, progress.csv, checkpoints), summary.csv, table.md and
curves.png, and goes on after a stop. A script is then ``raise SystemExit(run(ImageSettings, __doc__ or ""))``.

Randomness: the loop seeds torch's generators (those of the CPU and of the GPU) before `build`, `loss`, `evaluate` and
`pictures`, from streams of the run's seed that are independent of each other, and stores what `loss` has reached in
checkpoints; so an experiment draws from torch's global generators, and dropout may too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple, Protocol

import torch
from paper.data.image_set import ImageSet
from paper.data.loaders import check_name, load
from torch import Tensor, nn
from torch.optim import Optimizer

from agents.runtime.devices import resolve_device


class Curve(NamedTuple):
    """A metric that tables and figures show, by epoch."""

    tag: str
    label: str
    percent: bool = False
    """Whether the metric is a share that is shown in per cent."""
    log: bool = False
    """Whether the figure's axis is logarithmic, where there are values above 0."""
    higher_is_better: bool = False
    """What a diverged run counts as: infinity, or minus infinity."""


class Experiment(Protocol):
    """What the loop trains and measures; it holds the data, and is made once for all runs of a process."""

    examples: int
    """Training examples; an epoch visits each once, in minibatches of `PaperSettings.batch_size`."""
    remark: str
    """What is printed about the data before the training; may be empty."""

    def build(self, norm: str, generator: torch.Generator) -> nn.Module:
        """The initialized network with this normalizer, on its device.

        Args:
            norm: one of `PaperSettings.known_norms`.
            generator: on the CPU, for an initialization that takes one; the same numbers for every norm.
        """

    def optimizer(self, network: nn.Module, norm: str) -> Optimizer:
        """A new optimizer of its parameters."""

    def adjust(self, optimizer: Optimizer, norm: str, epoch: int) -> None:
        """Set what changes by epoch, such as the learning rate; called before each epoch, the first is 0."""

    def loss(self, network: nn.Module, rows: Tensor) -> Mapping[str, Tensor]:
        """Metrics of a minibatch, 0-dim tensors by name, in training mode; `loss` is minimized, all are averaged.

        Args:
            network: that of `build`.
            rows: indices of the examples, int64 `[B]`, on the CPU.
        """

    def evaluate(self, network: nn.Module) -> Mapping[str, float]:
        """Metrics by tag, such as `test/error`, after each epoch; without gradients, in evaluation mode."""

    def pictures(self, network: nn.Module) -> Mapping[str, Tensor]:
        """Pictures for TensorBoard by tag, in [0, 1]: `[C, H, W]`, or `[T, C, H, W]` for a film; may be empty.

        Without gradients, in evaluation mode, after the last epoch and after each tenth of all.
        """


@dataclass(frozen=True)
class PaperSettings:
    """The flags that all experiments have."""

    name: ClassVar[str] = ""
    known_norms: ClassVar[tuple[str, ...]] = ("none", "weight")
    curves: ClassVar[tuple[Curve, ...]] = ()
    """The metrics of tables and figures, first the one that the paper reports."""
    published: ClassVar[Mapping[str, str]] = {}
    """The paper's result by norm, shown next to ours."""
    small_epochs: ClassVar[int] = 10
    paper_epochs: ClassVar[int] = 100

    data: str = "digits"
    """Data set: digits (scikit-learn's), mnist or cifar10 (from files in --data-dir), or frames (of --game)."""
    data_dir: Path = Path("data")
    """Folder of the files of mnist or cifar10, which are not downloaded."""
    game: str = "Breakout"
    """Atari game of --data frames."""
    examples: int = 0
    """Training images, the first ones; 0: all there are, of frames 50,000."""
    image_size: int = 0
    """Height and width to which images are resized; 0: what the experiment takes by itself."""
    norms: tuple[str, ...] = ()
    """Normalizers; by default all that the experiment compares."""
    seeds: int = 3
    """Number of seeds (0, 1, …) of weights, minibatches and noise, the same for all norms."""
    scale: Literal["small", "paper"] = "small"
    """small: a small network, in minutes; paper: the paper's sizes."""
    epochs: int = 0
    """Passes through the training images; 0: as the scale has them."""
    batch_size: int = 100
    """Images in a minibatch; an incomplete last one is left out."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where networks are trained; auto: on the GPU if there is one."""
    jobs: int = 1
    """Parallel runs, each in a process with one thread."""
    out: Path = Path("runs/paper")
    """Folder of a folder per run, summary.csv, table.md and curves.png; runs that have ended are not repeated."""

    def __post_init__(self) -> None:
        check_name(self.data)
        if unknown := [norm for norm in self.norms if norm not in self.known_norms]:
            known = ", ".join(self.known_norms)
            raise ValueError(f"norm {unknown[0]!r} is not compared here: choose from {known}")
        for field in ("seeds", "batch_size", "jobs"):
            if getattr(self, field) < 1:
                raise ValueError(f"{field} must be at least 1, got {getattr(self, field)}")
        for field in ("epochs", "examples", "image_size"):
            if getattr(self, field) < 0:
                raise ValueError(f"{field} must not be negative, got {getattr(self, field)}")
        if self.device == "cuda" and not torch.cuda.is_available():
            raise ValueError("device cuda: torch finds no GPU here; leave --device out")

    def experiment(self) -> Experiment:
        """The experiment, with its data."""
        raise NotImplementedError

    @property
    def compared(self) -> tuple[str, ...]:
        """The norms, each once."""
        return tuple(dict.fromkeys(self.norms or self.known_norms))

    @property
    def all_epochs(self) -> int:
        """The epochs of a run."""
        return self.epochs or (self.small_epochs if self.scale == "small" else self.paper_epochs)

    @property
    def torch_device(self) -> torch.device:
        """The device to train on."""
        return resolve_device(self.device)

    def images(self, size: int) -> ImageSet:
        """The data set; `size` is taken where no image size is asked for, 0: the images' own."""
        return load(self.data, self.data_dir, self.examples, self.image_size or size, self.game)
