import pytest
import torch
from paper.gaussian import Gaussian, divergence
from paper.vae.stochastic_block import PARAMETER_SCALE, StochasticBlock, flowed


def make(*, flow_steps=0, halving=False):
    torch.manual_seed(0)
    return StochasticBlock(features=6, latents=2, flow_steps=flow_steps, halving=halving)


def test_shapes_upwards_and_downwards():
    block, features = make(halving=True), torch.randn(3, 6, 8, 8)
    above, evidence = block.up(features)
    assert above.shape == (3, 6, 4, 4)
    assert evidence.gaussian.mean.shape == (3, 2, 4, 4)
    below, cost = block.down(above, evidence, None)
    assert below.shape == (3, 6, 8, 8)
    assert cost.shape == (3, 2)


def test_the_divergence_without_flow_has_the_mean_of_the_closed_form():
    block = make()
    _, evidence = block.up(3 * torch.randn(1, 6, 2, 2))
    evidence = evidence._replace(gaussian=Gaussian(10 * evidence.gaussian.mean, 10 * evidence.gaussian.log_std))
    features = torch.randn(1, 6, 2, 2)
    with torch.no_grad():
        numbers = block.down_split(torch.nn.functional.elu(features)).split(block._down_sizes, 1)[:4]
        mean, log_std, shift, log_change = (PARAMETER_SCALE * number for number in numbers)
        posterior = Gaussian(shift + evidence.gaussian.mean, log_change + evidence.gaussian.log_std)
        expected = divergence(posterior, Gaussian(mean, log_std)).sum((2, 3))[0]
        many = torch.utils._pytree.tree_map(lambda part: part.expand(20_000, -1, -1, -1), evidence)
        _, cost = block.down(features.expand(20_000, -1, -1, -1), many, torch.Generator().manual_seed(0))
    assert ((cost.mean(0) - expected).abs() < 4 * cost.std(0) / 20_000**0.5).all()
    assert (expected > 0.01).all()


def test_without_evidence_latents_come_from_the_prior_at_no_cost():
    block, features = make(flow_steps=1), torch.randn(4, 6, 2, 2)
    below, cost = block.down(features, None, torch.Generator().manual_seed(0))
    assert torch.equal(cost, torch.zeros(4, 2))
    again, _ = block.down(features, None, torch.Generator().manual_seed(1))
    assert not torch.equal(below, again)


def test_flow_steps_add_their_gains():
    steps = [lambda z, context: (z + context, 2 * context), lambda z, context: (3 * z, context)]
    z, log_q = flowed(steps, torch.ones(1), torch.zeros(1), torch.ones(1))
    assert (z.item(), log_q.item()) == (6, 3)


@pytest.mark.parametrize("flow_steps", [0, 2])
def test_every_parameter_has_a_gradient(flow_steps):
    block = make(flow_steps=flow_steps)
    above, evidence = block.up(torch.randn(2, 6, 4, 4))
    below, cost = block.down(above, evidence, None)
    (below.square().sum() + cost.sum()).backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in block.parameters())
