"""agents.learner.small_steps: the steps of small networks are those of torch's own functions."""

import copy
import math

import pytest
import torch
from torch import nn

from agents.learner.optimizers import load_optimizer, make_optimizer
from agents.learner.small_steps import SmallSteps, backward

KINDS = ("adam", "rmsprop", "rmsprop-a2c")


def make(name="adam", dtype=torch.float32, width=6, rate=0.05):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(4, width), nn.Tanh(), nn.Linear(width, 2)).to(dtype)
    optimizer = make_optimizer(name, network.parameters(), learning_rate=rate, beta1=0.9, eps=1e-5)
    return network, optimizer, SmallSteps(optimizer, list(network.parameters()))


def gradients(network, seed, scale=1.0):
    x = torch.randn(7, 4, generator=torch.Generator().manual_seed(seed))
    network.zero_grad()
    backward(scale * network(x).square().mean())


def ordinary(network, optimizer, limit):
    norm = nn.utils.clip_grad_norm_(network.parameters(), limit or math.inf)
    optimizer.step()
    return norm


@pytest.mark.parametrize("limit", [0.0, 0.3, 1e9])
@pytest.mark.parametrize("name", KINDS)
def test_steps_are_the_optimizers(name, limit):
    (network, _, steps), (twin, optimizer, _) = make(name), make(name)
    for seed in range(6):
        gradients(network, seed)
        gradients(twin, seed)
        norm = steps(limit)
        if not seed:  # the optimizer has no averages yet
            assert norm is None
            norm = ordinary(network, steps._optimizer, limit)
        assert norm.item() == pytest.approx(ordinary(twin, optimizer, limit).item(), rel=1e-5)
        torch.testing.assert_close(list(network.parameters()), list(twin.parameters()))
    for own, other in zip(steps._optimizer.state.values(), optimizer.state.values(), strict=True):
        torch.testing.assert_close(dict(own), dict(other))


@pytest.mark.parametrize("name", KINDS)
def test_both_ways_take_turns_and_go_on_from_a_state(name):
    (network, own, steps), (twin, optimizer, _) = make(name), make(name)
    for seed in range(9):
        if seed == 5:  # as a checkpoint has it
            state = copy.deepcopy(own.state_dict())
            network, own, steps = make(name)
            network.load_state_dict(twin.state_dict())
            load_optimizer(own, state)
        gradients(network, seed)
        gradients(twin, seed)
        if seed % 3 == 0 or steps(1.0) is None:
            assert seed % 3 == 0
            ordinary(network, own, 1.0)
        ordinary(twin, optimizer, 1.0)
        torch.testing.assert_close(list(network.parameters()), list(twin.parameters()))


def test_a_step_follows_the_learning_rate():
    network, optimizer, steps = make()
    for rate in (0.05, 0.05, 0.0):
        before = copy.deepcopy(network.state_dict())
        optimizer.param_groups[0]["lr"] = rate
        gradients(network, 0)
        if steps(0.0) is None:
            ordinary(network, optimizer, 0.0)
        moved = any(not torch.equal(before[name], value) for name, value in network.state_dict().items())
        assert moved == (rate > 0)


@pytest.mark.parametrize("name", KINDS)
def test_no_step_without_all_gradients_or_with_one_that_is_not_finite(name):
    network, optimizer, steps = make(name)
    gradients(network, 0)
    ordinary(network, optimizer, 0.0)
    before, state = copy.deepcopy(network.state_dict()), copy.deepcopy(optimizer.state_dict())
    network[0].bias.grad = None
    assert steps(1.0) is None
    for wrong in (math.nan, math.inf):
        gradients(network, 1)
        network[0].bias.grad[0] = wrong
        assert steps(1.0) is None
    torch.testing.assert_close(network.state_dict(), before)
    torch.testing.assert_close(optimizer.state_dict(), state)


def test_which_networks_and_optimizers_it_takes():
    assert all(make(name)[2].possible for name in KINDS)
    assert not any(make(name)[2].possible for name in ("sgd", "adamax", "radam"))
    assert not make(dtype=torch.float64)[2].possible
    assert not make(width=20_000)[2].possible
    network, optimizer, steps = make()
    gradients(network, 0)
    optimizer.step()
    optimizer.add_param_group({"params": [nn.Parameter(torch.zeros(1))]})
    gradients(network, 0)
    assert steps(0.0) is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_backward_is_that_of_the_loss(dtype):
    network, twin = (make(dtype=dtype)[0] for _ in range(2))
    x = torch.randn(7, 4, dtype=dtype)
    for _ in range(2):  # gradients add up
        backward(network(x).square().mean())
        twin(x).square().mean().backward()
    for own, other in zip(network.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(own.grad, other.grad)
    leaf = nn.Parameter(torch.zeros(()))
    backward(leaf)
    leaf.grad.add_(1)
    backward(leaf)
    assert leaf.grad == 3  # no gradient is the constant from which passes begin
