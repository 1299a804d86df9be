"""Layers of torch, their inputs, and both of torch's weight norms, for the tests of state dicts and take-overs."""

import warnings

import torch
from torch import nn
from torch.nn.utils import parametrizations

X, IMAGES = torch.randn(2, 3), torch.randn(2, 4, 6, 6)
KINDS = {  # a layer, its inputs, its weights
    "linear": (lambda: nn.Linear(3, 4), (X,), ("weight",)),
    "bilinear": (lambda: nn.Bilinear(3, 3, 4), (X, X), ("weight",)),
    "conv1d": (lambda: nn.Conv1d(4, 6, 3, groups=2), (torch.randn(2, 4, 5),), ("weight",)),
    "conv2d": (lambda: nn.Conv2d(4, 6, 3, bias=False), (IMAGES,), ("weight",)),
    "conv3d": (lambda: nn.Conv3d(2, 3, 2), (torch.randn(1, 2, 3, 3, 3),), ("weight",)),
    "transposed1d": (lambda: nn.ConvTranspose1d(4, 3, 2), (torch.randn(2, 4, 5),), ("weight",)),
    "transposed2d": (lambda: nn.ConvTranspose2d(4, 4, 3, stride=2), (IMAGES,), ("weight",)),
    "transposed3d": (lambda: nn.ConvTranspose3d(2, 3, 2), (torch.randn(1, 2, 3, 3, 3),), ("weight",)),
    "embedding": (lambda: nn.Embedding(5, 3), (torch.tensor([[0, 4], [1, 1]]),), ("weight",)),
    "bag": (lambda: nn.EmbeddingBag(5, 3), (torch.tensor([[0, 4], [1, 1]]),), ("weight",)),
    "lstm": (lambda: nn.LSTM(3, 4), (torch.randn(5, 2, 3),), ("weight_ih_l0", "weight_hh_l0")),
    "gru": (
        lambda: nn.GRU(3, 4, bidirectional=True),
        (torch.randn(5, 2, 3),),
        ("weight_hh_l0", "weight_hh_l0_reverse"),
    ),
    "rnn": (lambda: nn.RNN(3, 4, num_layers=2), (torch.randn(5, 2, 3),), ("weight_hh_l1",)),
    "lstm cell": (lambda: nn.LSTMCell(3, 4), (X,), ("weight_ih", "weight_hh")),
    "gru cell": (lambda: nn.GRUCell(3, 4), (X,), ("weight_ih",)),
    "rnn cell": (lambda: nn.RNNCell(3, 4), (X,), ("weight_ih", "weight_hh")),
    "attention": (lambda: nn.MultiheadAttention(4, 2), (torch.randn(5, 2, 4),) * 3, ("in_proj_weight",)),
    "attention of sizes": (
        lambda: nn.MultiheadAttention(4, 2, kdim=3, vdim=5),
        (torch.randn(5, 2, 4), torch.randn(5, 2, 3), torch.randn(5, 2, 5)),
        ("q_proj_weight", "k_proj_weight", "v_proj_weight"),
    ),
}
ALL_WEIGHTS = {  # where torch's weight norm was left off some above
    "gru": ("weight_ih_l0", "weight_hh_l0", "weight_ih_l0_reverse", "weight_hh_l0_reverse"),
    "rnn": ("weight_ih_l0", "weight_hh_l0", "weight_ih_l1", "weight_hh_l1"),
    "gru cell": ("weight_ih", "weight_hh"),
}


def hook(layer, name="weight", dim=0):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return nn.utils.weight_norm(layer, name, dim)


WRAPS = {"hook": hook, "parametrizations": parametrizations.weight_norm}


def row_dim(layer):
    return 1 if "Transpose" in type(layer).__name__ else 0


def wrapped(kind, style, dim=None, names=None):
    """A layer with torch's weight norm, and drawn parameters, some lengths of them negative."""
    make, inputs, weights = KINDS[kind]
    layer = nn.Sequential(make())[0].eval()
    for name in names or weights:
        WRAPS[style](layer, name, row_dim(layer) if dim is None else dim)
    if kind.startswith("attention"):
        WRAPS[style](layer.out_proj, "weight")
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    return layer, inputs


def pairs(layer, name="weight"):
    """torch's v and g of a wrapped layer."""
    if hasattr(layer, f"{name}_v"):
        return getattr(layer, f"{name}_v"), getattr(layer, f"{name}_g")
    own = layer.parametrizations[name]
    return own.original1, own.original0


@torch.no_grad()
def output(layer, inputs):
    for part in layer.modules():  # attention never calls its output projection, whose hook would not be run
        for one in part._forward_pre_hooks.values():
            one(part, ())
    y = layer(*inputs)
    while isinstance(y, tuple):
        y = y[0]
    return y
