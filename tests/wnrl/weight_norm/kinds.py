"""Every kind of layer that can be normalized, with inputs by the names of the forward pass's arguments."""

import torch
from torch import nn


def _random(**shapes):
    return {name: torch.randn(shape) for name, shape in shapes.items()}


def _bags():
    return {"input": torch.tensor([3, 1, 0, 4, 1]), "offsets": torch.tensor([0, 2])}


DENSE = {
    "Linear": (lambda: nn.Linear(5, 4), lambda: _random(input=(6, 5))),
    "Bilinear": (lambda: nn.Bilinear(3, 5, 4), lambda: _random(input1=(6, 3), input2=(6, 5))),
    "Conv1d": (lambda: nn.Conv1d(4, 6, 3, groups=2), lambda: _random(input=(3, 4, 5))),
    "Conv2d": (lambda: nn.Conv2d(4, 6, 3, groups=2), lambda: _random(input=(3, 4, 5, 5))),
    "Conv3d": (lambda: nn.Conv3d(4, 6, 2, groups=2), lambda: _random(input=(3, 4, 3, 3, 3))),
    "ConvTranspose1d": (lambda: nn.ConvTranspose1d(4, 6, 3, groups=2), lambda: _random(input=(3, 4, 5))),
    "ConvTranspose2d": (lambda: nn.ConvTranspose2d(4, 6, 3, groups=2), lambda: _random(input=(3, 4, 3, 3))),
    "ConvTranspose3d": (lambda: nn.ConvTranspose3d(4, 6, 2, groups=2), lambda: _random(input=(3, 4, 2, 2, 2))),
}
RECURRENT = {
    "LSTM": (lambda: nn.LSTM(3, 4, num_layers=2), lambda: _random(input=(5, 2, 3))),
    "GRU": (lambda: nn.GRU(3, 4, bidirectional=True), lambda: _random(input=(5, 2, 3), hx=(2, 2, 4))),
    "RNN": (lambda: nn.RNN(3, 4), lambda: _random(input=(5, 2, 3))),
    "LSTMCell": (lambda: nn.LSTMCell(3, 4), lambda: _random(input=(2, 3))),
    "GRUCell": (lambda: nn.GRUCell(3, 4), lambda: _random(input=(2, 3), hx=(2, 4))),
    "RNNCell": (lambda: nn.RNNCell(3, 4), lambda: _random(input=(2, 3))),
}
ATTENTION = {
    "MultiheadAttention": (
        lambda: nn.MultiheadAttention(8, 2),
        lambda: _random(query=(5, 2, 8), key=(4, 2, 8), value=(4, 2, 8)),
    ),
    "MultiheadAttention of other sizes": (
        lambda: nn.MultiheadAttention(8, 2, kdim=3, vdim=5),
        lambda: _random(query=(5, 2, 8), key=(4, 2, 3), value=(4, 2, 5)),
    ),
}
EMBEDDINGS = {
    "Embedding": (lambda: nn.Embedding(7, 4), lambda: {"input": torch.tensor([[3, 1], [0, 3]])}),
    "EmbeddingBag": (lambda: nn.EmbeddingBag(7, 4), _bags),
}
KINDS = DENSE | RECURRENT | ATTENTION | EMBEDDINGS


def tensors(result):
    """The tensors of what a layer returns, nested tuples."""
    if isinstance(result, torch.Tensor):
        return [result]
    return [tensor for part in result if part is not None for tensor in tensors(part)]


def loss(result):
    return sum(tensor.square().sum() for tensor in tensors(result))
