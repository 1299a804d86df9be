"""A small convolutional network, its inputs and a step of learning, shared by the tests of normalizers."""

import torch
from torch import nn


def make_network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(36, 8), nn.ReLU(), nn.Linear(8, 2)
    )


def images(batch=4):
    return torch.randn(batch, 3, 5, 5)


def step(network):
    optimizer = torch.optim.Adam(network.parameters(), lr=0.1)
    network(images()).square().sum().backward()
    optimizer.step()


def kinds(network):
    """By what the convolution, the hidden and the output layer are normalized, as their classes' names have it."""
    plain = {0: "Conv2d", 4: "Linear", 6: "Linear"}
    assert all(isinstance(network[i], getattr(nn, name)) for i, name in plain.items())
    assert all(type(network[i]).__name__.endswith(name) for i, name in plain.items())
    return [type(network[i]).__name__.removesuffix(name) for i, name in plain.items()]
