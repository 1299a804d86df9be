import copy
import math

import pytest
import torch
from noise_study.companies import SPREAD, Deviation, measure, td_target
from torch import nn

from wnrl.networks.heads import QValues
from wnrl.networks.q_network import q_network
from wnrl.normalizers.conversions import NORMALIZERS
from wnrl.normalizers.folding import fold
from wnrl.replay.uniform import Transition

SIZES = [8, 32, 128, 512]


def random_transitions(seed=0):
    """Draws of transitions between normal states, rewards and discounts."""
    generator = torch.Generator().manual_seed(seed)

    def draw(number):
        obs, next_obs = torch.randn(2, number, 4, generator=generator)
        action = torch.randint(3, (number,), generator=generator)
        return Transition(obs, action, *torch.rand(2, number, generator=generator), next_obs)

    return draw


def network_of(norm):
    return q_network((4,), 3, hidden=(32, 32), norm=norm)


def noise_of(norm, batch_size, *, states=6, companies=24):
    return measure(network_of(norm), random_transitions(), batch_size, states=states, companies=companies)


@pytest.mark.parametrize("norm", sorted(set(NORMALIZERS) - {"batch", "mean-batch", "batch+projected"}))
def test_without_batch_statistics_there_is_none(norm):
    for batch_size in (8, 128):
        noise = noise_of(norm, batch_size, companies=4)
        assert (noise.q.noise, noise.target.noise) == (0, 0)
        assert noise.q.over_companies <= 1e-6 * noise.q.over_states
        assert noise.q.over_states > 0


@pytest.mark.parametrize("norm", ["batch", "mean-batch"])
def test_with_batch_statistics_it_falls_as_one_over_the_root_of_the_batch_size(norm):
    noises = [noise_of(norm, size, states=12, companies=32) for size in SIZES]
    for values in ([noise.q.noise for noise in noises], [noise.target.noise for noise in noises]):
        assert 0 < values[-1] < values[0] < 1
        for size, value in zip(SIZES[2:], values[2:], strict=True):  # statistics of 8 are too rough for it
            assert value / values[1] == pytest.approx(math.sqrt(SIZES[1] / size), rel=0.2)


class Centred(nn.Module):
    """Linear values of observations minus the minibatch's mean."""

    weight = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 3.0], [0.0, 0.0]])  # [4, 2]: w·s has variances 5 and 9

    def forward(self, obs):
        return QValues((obs - obs.mean(0)) @ self.weight)


@pytest.mark.parametrize("batch_size", [4, 16])
def test_it_is_that_of_one_state_in_many_companies(batch_size):
    """The share 1/B of the mean that is the state's own does not vary."""
    noise = measure(Centred(), random_transitions(), batch_size, states=40, companies=200)
    assert noise.q.over_companies == pytest.approx(math.sqrt(7 * (batch_size - 1)) / batch_size, rel=0.03)
    assert noise.q.over_states == pytest.approx(math.sqrt(7), rel=0.05)


def test_a_target_is_reward_and_discounted_greatest_value():
    q_next = torch.tensor([[1.0, 5.0], [2.0, -1.0]])
    assert td_target(torch.tensor([1.0, 2.0]), torch.tensor([0.5, 0.0]), q_next).tolist() == [3.5, 2.0]


def test_targets_of_ends_have_no_noise():
    draw = random_transitions()

    def ends(number):
        return draw(number)._replace(discount=torch.zeros(number))

    noise = measure(network_of("batch"), ends, 8, states=3, companies=4)
    assert noise.target.noise == 0 < noise.q.noise


def test_the_network_stays_and_nothing_else_is_drawn():
    network = network_of("batch").eval()
    before, generator = copy.deepcopy(network.state_dict()), torch.get_rng_state()
    measure(network, random_transitions(), 8, states=2, companies=2)
    torch.testing.assert_close(before, network.state_dict(), rtol=0, atol=0)
    assert torch.equal(generator, torch.get_rng_state())
    assert not any(module.training for module in network.modules())


def test_the_same_draws_are_the_same_noise():
    first, second = (noise_of("batch", 8, companies=3) for _ in range(2))
    assert first == second


def test_the_targets_of_our_agents_have_none():
    """Their target network is a folded copy."""
    target = fold(network_of("batch")).eval()
    draw = random_transitions()
    state = draw(1).obs
    outputs = torch.stack([target(torch.cat([state, draw(7).obs])).q_values[0] for _ in range(5)])
    assert torch.equal(outputs, outputs[:1].expand_as(outputs))


def test_a_share_of_nothing_is_no_number():
    assert Deviation(0.5, 2.0).noise == 0.25
    assert Deviation(1e-7, 2.0).noise == 0
    assert math.isnan(Deviation(0.0, 0.0).noise)
    assert SPREAD >= 1_000
