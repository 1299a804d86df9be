"""A small experiment for the tests of the loop: a line is fitted, with dropout."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from paper.experiment import Curve, PaperSettings
from torch import nn

import wnrl


class Toy:
    examples, remark = 40, ""

    def __init__(self, rate):
        self.inputs = torch.randn(40, 3, generator=torch.Generator().manual_seed(1))
        self.rate = rate

    def build(self, norm, generator):
        network = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.Linear(8, 1))
        wnrl.normalize(network, norm)
        wnrl.data_init(network, self.inputs, generator=generator)
        return network

    def optimizer(self, network, norm):
        return torch.optim.Adam(network.parameters(), lr=self.rate)

    def adjust(self, optimizer, norm, epoch):
        optimizer.param_groups[0]["lr"] = self.rate / (1 + epoch)

    def loss(self, network, rows):
        inputs = self.inputs[rows]
        error = network(inputs + 0.1 * torch.randn_like(inputs)) - inputs.sum(1, keepdim=True)
        return {"loss": error.square().mean(), "bias": error.mean()}

    def evaluate(self, network):
        error = network(self.inputs) - self.inputs.sum(1, keepdim=True)
        return {"test/error": float(error.abs().mean()), "test/drawn": float(torch.rand(()))}

    def pictures(self, network):
        return {"film": torch.rand(3, 1, 4, 4)}


@dataclass(frozen=True)
class ToySettings(PaperSettings):
    """A line is fitted."""

    name: ClassVar[str] = "toy"
    curves: ClassVar[tuple[Curve, ...]] = (Curve("test/error", "test error"), Curve("train/loss", "loss", log=True))
    published: ClassVar[dict[str, str]] = {"weight": "8.46"}

    rate: float = 0.01
    """Learning rate of the first epoch."""
    out: Path = Path("runs/toy")

    def experiment(self):
        return Toy(self.rate)


def stop_after(monkeypatch, updates):
    """Let a signal seem to arrive once so many updates were made, of all runs; returns the list of them."""
    made, loss = [], Toy.loss

    def counted(self, network, rows):
        made.append(rows)
        return loss(self, network, rows)

    monkeypatch.setattr(Toy, "loss", counted)
    monkeypatch.setattr("paper.loop.StopSignal.__call__", lambda self: len(made) == updates)
    monkeypatch.setattr("paper.loop.StopSignal.exit_code", 143)
    return made
