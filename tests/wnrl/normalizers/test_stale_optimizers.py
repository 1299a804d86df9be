"""wnrl.normalizers.stale_optimizers: an optimizer from before the conversion is refused, not ignored."""

import gc

import pytest
import torch
from torch import nn
from torch.optim.optimizer import _global_optimizer_pre_hooks

from wnrl.normalizers import stale_optimizers
from wnrl.normalizers.normalize import NORMALIZERS, normalize
from wnrl.normalizers.stale_optimizers import check_optimizer


def make_network():
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2))


@pytest.fixture(autouse=True)
def no_replaced_parameter_of_another_test(monkeypatch):
    monkeypatch.setattr(stale_optimizers, "_REPLACED", stale_optimizers._Replaced())


def step_hooks():
    hooks = _global_optimizer_pre_hooks.values()
    return [hook for hook in hooks if getattr(hook, "__self__", None) is stale_optimizers._REPLACED]


def learn(network, optimizer):
    network(torch.randn(5, 3)).square().sum().backward()
    optimizer.step()


@pytest.mark.parametrize("norm", [norm for norm in NORMALIZERS if norm != "none"])
def test_a_step_of_an_optimizer_from_before_is_an_error(norm):
    network = make_network()
    early = torch.optim.Adam(network.parameters(), lr=0.1)
    normalize(network, norm)
    with pytest.raises(ValueError, match=r"before normalize\(\): build it from network.parameters\(\) after"):
        learn(network, early)
    with pytest.raises(ValueError, match="build it"):
        check_optimizer(early, network)


def refused():
    return pytest.raises(ValueError, match=r"before normalize\(\): build it from network.parameters\(\) after")


def test_an_optimizer_that_has_stepped_before_the_conversion_is_refused_after_it():
    network, other = make_network(), normalize(make_network(), "weight")
    held = list(make_network().parameters())
    stale_optimizers.refuse_in_optimizers(held)  # so that steps are checked before this network's conversion too
    early = torch.optim.Adam(network.parameters(), lr=0.1)
    learn(network, early)
    normalize(network, "weight")
    with refused():
        learn(network, early)
    learn(other, torch.optim.Adam(other.parameters(), lr=0.1))


def test_a_stale_optimizer_that_steps_only_later_is_refused():
    network = make_network()
    early = torch.optim.Adam(network.parameters(), lr=0.1)
    normalize(network, "weight")
    late = torch.optim.Adam(network.parameters(), lr=0.1)
    for _ in range(3):
        learn(network, late)
        normalize(make_network(), "weight")
    for _ in range(2):
        with refused():
            learn(network, early)


def test_an_optimizer_built_afterwards_of_old_parameters_is_refused():
    network = make_network()
    parameters = list(network.parameters())
    normalize(network, "weight")
    with refused():
        learn(network, torch.optim.SGD(parameters, lr=0.1))


def test_replaced_parameters_that_come_with_a_group_after_the_first_step_are_refused():
    network = make_network()
    parameters = list(network.parameters())
    normalize(network, "weight")
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    learn(network, optimizer)
    optimizer.add_param_group({"params": parameters})
    with refused():
        learn(network, optimizer)


def test_replaced_parameters_that_come_into_a_group_after_the_first_step_are_refused():
    network = nn.Sequential(nn.Linear(3, 2))
    old = list(network.parameters())
    normalize(network, "weight")
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    optimizer.step()
    optimizer.param_groups[0]["params"].append(old[0])
    with pytest.raises(ValueError, match="from before normalize"):
        optimizer.step()


def test_an_optimizer_is_looked_through_once(monkeypatch):
    network = make_network()
    parameters = list(network.parameters())
    normalize(network, "weight")
    looked, check = [], stale_optimizers._REPLACED.check
    monkeypatch.setattr(
        stale_optimizers._REPLACED, "check", lambda optimizer: (looked.append(optimizer), check(optimizer))
    )
    optimizer = torch.optim.SGD(network[0].parameters(), lr=0.1)
    for _ in range(3):
        learn(network, optimizer)
    assert looked == [optimizer]
    optimizer.add_param_group({"params": network[2].parameters()})
    for _ in range(3):
        learn(network, optimizer)
    assert looked == [optimizer] * 2
    assert parameters


@pytest.mark.parametrize("norm", [norm for norm in NORMALIZERS if norm != "none"])
def test_nothing_stays_registered_once_the_old_parameters_are_gone(norm):
    network = normalize(make_network(), norm)
    assert not step_hooks()
    plain = make_network()
    early = torch.optim.Adam(plain.parameters(), lr=0.1)
    learn(plain, early)  # with gradients and a state
    normalize(plain, norm)
    assert len(step_hooks()) == 1
    late = torch.optim.Adam(plain.parameters(), lr=0.1)
    learn(plain, late)
    del early
    gc.collect()
    assert not step_hooks()
    assert not stale_optimizers._REPLACED._ids
    learn(network, torch.optim.Adam(network.parameters(), lr=0.1))
    first = make_network()
    held = torch.optim.SGD(first.parameters(), lr=0.1)
    normalize(first, norm)  # registered again
    with refused():
        learn(first, held)


@pytest.mark.parametrize("norm", NORMALIZERS)
def test_an_optimizer_from_after_is_fine_and_trains_everything(norm):
    network = normalize(make_network(), norm)
    before = [p.detach().clone() for p in network.parameters()]
    optimizer = torch.optim.Adam(network.parameters(), lr=0.1)
    check_optimizer(optimizer, network)
    learn(network, optimizer)
    assert sum(not torch.equal(old, new) for old, new in zip(before, network.parameters(), strict=True)) == len(before)


def test_other_networks_are_left_alone():
    network = make_network()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    normalize(make_network(), "weight")
    learn(network, optimizer)


def test_missing_parameters_are_named():
    network = normalize(make_network(), "weight")
    optimizer = torch.optim.SGD([network[0].v, *network[2:].parameters()], lr=0.1)
    with pytest.raises(ValueError, match=r"does not hold 0\.g, 0\.bias, which would never learn"):
        check_optimizer(optimizer, network)
    network[0].requires_grad_(False)
    check_optimizer(optimizer, network)
