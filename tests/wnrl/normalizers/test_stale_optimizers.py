"""wnrl.normalizers.stale_optimizers: an optimizer from before the conversion is refused, not ignored."""

import pytest
import torch
from torch import nn

from wnrl.normalizers.normalize import NORMALIZERS, normalize
from wnrl.normalizers.stale_optimizers import check_optimizer


def make_network():
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2))


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
