"""Small networks for every normalizer and every kind of layer, shared by the tests of what torch does with networks."""

import copy
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

import wnrl


class Attention(nn.Module):
    """Of a sequence to itself."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x):
        return self.attention(x, x, x, need_weights=False)[0]


def images():
    layers = nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten()
    return nn.Sequential(*layers, nn.Linear(36, 8), nn.ReLU(), nn.Linear(8, 2)), (torch.randn(4, 3, 5, 5),)


def indices():
    return (torch.tensor([[0, 1, 2], [4, 1, 3], [0, 0, 1], [2, 3, 4]]),)


PLAIN = {
    "bilinear": lambda: (nn.Bilinear(5, 4, 3), (torch.randn(4, 5), torch.randn(4, 4))),
    "conv1d": lambda: (nn.Conv1d(3, 4, 3), (torch.randn(4, 3, 7),)),
    "conv3d": lambda: (nn.Conv3d(2, 3, 2), (torch.randn(4, 2, 3, 3, 3),)),
    "transposed": lambda: (nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2), (torch.randn(4, 4, 5, 5),)),
    "lstm": lambda: (nn.LSTM(5, 4, num_layers=2, batch_first=True), (torch.randn(4, 3, 5),)),
    "gru": lambda: (nn.GRU(5, 4, bidirectional=True, batch_first=True), (torch.randn(4, 3, 5),)),
    "lstm cell": lambda: (nn.LSTMCell(5, 4), (torch.randn(4, 5),)),
    "gru cell": lambda: (nn.GRUCell(5, 4), (torch.randn(4, 5),)),
    "attention": lambda: (Attention(), (torch.randn(4, 3, 8),)),
    "transformer": lambda: (
        nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True),
        (torch.randn(4, 3, 8),),
    ),
    "embedding": lambda: (nn.Sequential(nn.Embedding(5, 6), nn.Linear(6, 3)), indices()),
    "embedding bag": lambda: (nn.EmbeddingBag(5, 6), indices()),
}
NORMS = [norm for norm in wnrl.NORMALIZERS if norm != "none"]
ROWS = NORMS + [f"weight, {kind}" for kind in PLAIN]
"""Normalizers of a network for images, and weight normalization of other kinds of layers."""


@dataclass
class Case:
    """A normalized network, the plain one that it was made of, and inputs."""

    row: str
    network: Any
    plain: Any
    inputs: tuple[Tensor, ...]


def make(row: str, units: str = "paper") -> Case:
    torch.manual_seed(0)
    norm, _, kind = row.partition(", ")
    plain, inputs = PLAIN[kind]() if kind else images()
    layers = (lambda name, layer: True) if kind else None
    network = wnrl.normalize(copy.deepcopy(plain), norm, layers=layers, units=units)
    return Case(row, network, plain, inputs)


def tensors(output: Any) -> list[Tensor]:
    return [leaf for leaf in tree_flatten(output)[0] if isinstance(leaf, Tensor)]


def loss(output: Any) -> Tensor:
    return sum((y.float() - 0.5).square().mean() for y in tensors(output))


def gradients(network: nn.Module, inputs: tuple[Tensor, ...]) -> list[Tensor]:
    network.zero_grad()
    loss(network(*inputs)).backward()
    return [p.grad for p in network.parameters()]


def state(network: nn.Module) -> dict[str, Tensor]:
    return {**dict(network.named_parameters()), **dict(network.named_buffers())}


def where_torch_can(check: Any, case: Case) -> None:
    """Call `check` with the normalized network; skip if it fails with an error of the same kind with the plain one."""
    try:
        check(case.network)
    except Exception as ours:
        try:
            check(case.plain)
        except Exception as error:
            if type(error) is type(ours):
                line = (str(error).strip() or repr(error)).splitlines()[0]
                pytest.skip(f"torch's own fails too: {type(error).__name__}: {line}")
        raise
