"""agents.sac.temperature: one that keeps a policy's entropy at a target, and one that stays."""

import math

import pytest
import torch

from agents.sac.temperature import FixedTemperature, LearnedTemperature

POLICY = torch.tensor([[0.5, 0.5], [0.9, 0.1], [0.2, 0.8]]).log()
ENTROPY = torch.tensor([math.log(2), 0.3250830, 0.5004024])


def test_what_is_learned_is_the_temperature_times_what_the_entropy_is_too_high():
    temperature = LearnedTemperature(0.5, target_entropy=0.4)
    assert temperature() == pytest.approx(0.5)
    loss = temperature.loss(POLICY)
    torch.testing.assert_close(loss, 0.5 * (ENTROPY - 0.4))
    loss.sum().backward()
    torch.testing.assert_close(temperature.log.grad, 0.5 * (ENTROPY - 0.4).sum())


@pytest.mark.parametrize(("target", "rises"), [(0.6, True), (0.4, False)])
def test_it_rises_while_the_entropy_is_under_the_target_and_falls_above_it(target, rises):
    temperature = LearnedTemperature(1.0, target)
    optimizer = torch.optim.Adam(temperature.parameters(), lr=0.01)
    temperature.loss(POLICY).mean().backward()
    optimizer.step()
    assert (temperature() > 1) == rises


def test_no_gradient_enters_the_policy_or_leaves_with_the_temperature():
    policy, temperature = POLICY.clone().requires_grad_(), LearnedTemperature(1.0, 0.4)
    temperature.loss(policy).sum().backward()
    assert policy.grad is None
    assert not temperature().requires_grad


def test_a_fixed_temperature_stays_and_learns_nothing():
    temperature = FixedTemperature(0.2)
    assert list(temperature.parameters()) == []
    assert temperature() == pytest.approx(0.2)
    assert temperature.loss(POLICY).tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(("kind", "options"), [(LearnedTemperature, {"target_entropy": 0.4}), (FixedTemperature, {})])
def test_the_temperature_is_saved(kind, options):
    first, other = kind(0.3, **options), kind(0.7, **options)
    other.load_state_dict(first.state_dict())
    assert other() == first()
