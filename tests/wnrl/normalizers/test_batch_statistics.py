"""wnrl.normalizers.batch_statistics: which statistics are taken in training."""

import copy

import pytest
import torch
from torch import nn

import wnrl
from wnrl.normalizers.batch_norm import BatchNorm, MeanOnlyBatchNorm
from wnrl.normalizers.batch_statistics import batch_norms, counting, hold_statistics, update_statistics

NORMS = ["mean-batch", "batch", "batch+projected"]
X = torch.randn(64, 3, generator=torch.Generator().manual_seed(0)) * 2 + 1


def network(norm):
    torch.manual_seed(0)
    return wnrl.normalize(nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 2)), norm)


def held(norm):
    net = network(norm)
    hold_statistics(net)
    return net


def statistics(net):
    return {name: buffer.clone() for name, buffer in net.named_buffers() if "running" in name}


def test_the_norms_are_found():
    assert [len(batch_norms(network(norm))) for norm in NORMS] == [2, 2, 2]
    assert batch_norms(network("weight")) == batch_norms(network("layer")) == []


@pytest.mark.parametrize("norm", NORMS)
def test_held_statistics_are_used_in_training_and_stay(norm):
    net, before = held(norm), statistics(held(norm))
    torch.testing.assert_close(net(X), copy.deepcopy(net).eval()(X))
    assert not torch.allclose(net(X), network(norm)(X), atol=1e-2)
    after = statistics(net)
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    net(X[:1])  # one example will do


@pytest.mark.parametrize("norm", NORMS)
def test_gradients_are_those_of_constants(norm):
    """Each example's gradient is its own."""
    net = held(norm)
    x = X[:6].clone().requires_grad_()
    net(x)[0].sum().backward()
    assert x.grad[0].abs().min() > 0
    assert not x.grad[1:].any()
    torch.testing.assert_close(torch.autograd.grad(net.eval()(x)[0].sum(), x)[0], x.grad)


def test_statistics_move_by_their_share_of_the_minibatchs():
    layer = wnrl.normalize(nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1)), "batch")
    with torch.no_grad():
        layer[0].weight.fill_(1.0)
    hold_statistics(layer)
    x = torch.tensor([[1.0], [2.0], [6.0]])  # mean 3, variance 7 (unbiased)
    for share, mean, variance in ((0.5, 1.5, 4.0), (0.1, 1.65, 4.3), (1.0, 3.0, 7.0)):
        update_statistics(layer, lambda: layer(x), share=share)
        assert layer[0].norm.running_mean.item() == pytest.approx(mean, rel=1e-4)
        assert layer[0].norm.running_var.item() == pytest.approx(variance, rel=1e-4)


@pytest.mark.parametrize("norm", NORMS)
def test_moving_them_is_a_pass_in_training(norm):
    net, plain = held(norm), network(norm)
    update_statistics(net, lambda: net(X), share=0.1)  # the layers' own momentum
    plain(X)
    for name, value in statistics(plain).items():
        torch.testing.assert_close(statistics(net)[name], value)
    assert not any(parameter.grad is not None for parameter in net.parameters())


@pytest.mark.parametrize("norm", NORMS)
def test_they_are_held_again_after_an_error_and_in_copies(norm):
    net = held(norm)
    with pytest.raises(ValueError, match="more than one value"):
        update_statistics(net, lambda: net(X[:1]), share=0.5)
    for one in (net, copy.deepcopy(net).eval().train()):
        assert [(layer.held, layer.momentum) for layer in batch_norms(one)] == [(True, 0.1)] * 2
    assert not any(layer.held for layer in batch_norms(network(norm)))


KINDS = {
    "mean": lambda: MeanOnlyBatchNorm(3),
    "mean of images": lambda: MeanOnlyBatchNorm(3, channel_dim=-3),
    "dense": lambda: BatchNorm(3),
    "images": lambda: BatchNorm(3, channel_dim=-3),
    "sequences": lambda: BatchNorm(3, channel_dim=-1),
    "since reset": lambda: BatchNorm(3, momentum=None),
}
SHAPES = {"mean of images": (8, 3, 4, 4), "images": (8, 3, 4, 4), "sequences": (8, 5, 3)}


@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_count_are_normalized_as_if_they_were_alone(kind):
    torch.manual_seed(0)
    x, rows = torch.randn(SHAPES.get(kind, (8, 3))) * 3 + 1, torch.tensor([1, 0, 1, 1, 0, 0, 1, 1]).bool()
    norms, results = (KINDS[kind](), KINDS[kind]()), []
    for norm, inputs in zip(norms, (x, x[rows]), strict=True):
        leaf = inputs.clone().requires_grad_()
        for _ in range(2):
            with counting(norm, rows):
                outputs = norm(leaf)
        counted = outputs[rows] if len(outputs) == 8 else outputs
        counted.pow(3).sum().backward()
        grads = {name: parameter.grad for name, parameter in norm.named_parameters()}
        grad = leaf.grad[rows] if len(leaf) == 8 else leaf.grad
        results.append((counted, grad, grads, dict(norm.named_buffers())))
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-4)
    assert norms[0](x).shape == x.shape
    assert norms[0].counted is None


@pytest.mark.parametrize("norm", NORMS)
def test_the_other_rows_are_normalized_by_them(norm):
    net, rows = network(norm), torch.arange(64) < 60
    with counting(net, rows):
        outputs = net(X)
    other = X.clone()
    other[62] = 9.0
    with counting(net, rows):
        torch.testing.assert_close(net(other)[:62], outputs[:62])
    with pytest.raises(ValueError, match="more than one value"), counting(net, torch.arange(64) < 1):
        net(X)
