"""agents.learner.rmsprop: each step against a twin that goes number by number."""

import copy
import math

import pytest
import torch
from torch import nn

from agents.learner.rmsprop import RMSprop

KINDS = [
    pytest.param({"centered": True}, id="Mnih et al. 2015"),
    pytest.param({"initial": 1.0}, id="TensorFlow"),
    pytest.param({"centered": True, "initial": 0.5}, id="both"),
]


def draw(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def parameters():
    return [nn.Parameter(draw(3, 2, seed=1)), nn.Parameter(draw(4, seed=2))]


def give_gradients(parameters, seed):
    for index, parameter in enumerate(parameters):
        parameter.grad = draw(*parameter.shape, seed=10 * seed + index)


def naive(place, gradients, lr, alpha, eps, centered=False, initial=0.0):
    """Where one number goes."""
    square, mean = initial, 0.0
    for grad in gradients:
        if centered:
            square = alpha * (square + (1 - alpha) * (grad - mean) ** 2)
            mean += (1 - alpha) * (grad - mean)
        else:
            square = alpha * square + (1 - alpha) * grad**2
        place -= lr * grad / math.sqrt(square + eps)
    return place


@pytest.mark.parametrize("kind", KINDS)
def test_each_number_goes_as_the_formula_says(kind):
    ours, numbers = parameters(), {"lr": 0.1, "alpha": 0.9, "eps": 0.01, **kind}
    starts, gradients = [p.detach().clone() for p in ours], []
    optimizer = RMSprop(ours, **numbers)
    for seed in range(4):
        give_gradients(ours, seed)
        gradients.append([p.grad.clone() for p in ours])
        optimizer.step()
    for index, (parameter, start) in enumerate(zip(ours, starts, strict=True)):
        seen = zip(*(rows[index].flatten().tolist() for rows in gradients), strict=True)
        expected = [naive(place, own, **numbers) for place, own in zip(start.flatten().tolist(), seen, strict=True)]
        assert parameter.flatten().tolist() == pytest.approx(expected, rel=1e-4)


def test_epsilon_stands_under_the_root():
    """torch's would move by lr · 0.1 / (0.1 · √0.01 + 0.04)."""
    parameter = nn.Parameter(torch.zeros(1))
    parameter.grad = torch.tensor([0.1])
    RMSprop([parameter], lr=1.0, alpha=0.99, eps=0.04).step()
    assert parameter.item() == pytest.approx(-0.1 / math.sqrt(0.01 * 0.1**2 + 0.04), rel=1e-5)


def test_what_has_no_gradient_stays_and_gets_no_average():
    ours = parameters()
    optimizer, before = RMSprop(ours, lr=0.1, alpha=0.9, eps=0.01), ours[1].detach().clone()
    optimizer.step()  # none has
    ours[0].grad = torch.ones(3, 2)
    optimizer.step()
    assert torch.equal(ours[1], before)
    assert set(optimizer.state) == {ours[0]}


def test_groups_have_numbers_of_their_own_and_a_rate_that_is_a_tensor_is_read_at_each_step():
    ours = [nn.Parameter(torch.zeros(1)) for _ in range(2)]
    rate = torch.tensor(0.0)
    optimizer = RMSprop([{"params": ours[:1]}, {"params": ours[1:], "lr": rate}], lr=0.1, alpha=0.5, eps=0.0)
    for parameter in ours:
        parameter.grad = torch.ones(1)
    optimizer.step()
    assert (ours[0].item() < 0, ours[1].item()) == (True, 0.0)
    rate.fill_(0.2)
    optimizer.step()
    assert ours[1].item() == pytest.approx(-0.2 / math.sqrt(0.75))


def test_a_closure_computes_the_gradients_that_the_step_takes():
    parameter = nn.Parameter(torch.tensor([2.0]))
    optimizer = RMSprop([parameter], lr=0.1, alpha=0.0, eps=0.0)

    def closure():
        loss = parameter.square().sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 4
    assert parameter.item() == pytest.approx(1.9)


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_state_goes_on(kind):
    whole, numbers = parameters(), {"lr": 0.1, "alpha": 0.9, "eps": 0.01, **kind}
    optimizer = RMSprop(whole, **numbers)
    give_gradients(whole, 1)
    optimizer.step()
    state, rest, fresh = copy.deepcopy(optimizer.state_dict()), copy.deepcopy(whole), copy.deepcopy(whole)
    resumed, other = RMSprop(rest, **numbers), RMSprop(fresh, **numbers)
    resumed.load_state_dict(state)
    for side, own in ((whole, optimizer), (rest, resumed), (fresh, other)):
        give_gradients(side, 2)
        own.step()
    assert all(torch.equal(*pair) for pair in zip(whole, rest, strict=True))
    assert not any(torch.equal(*pair) for pair in zip(whole, fresh, strict=True))
