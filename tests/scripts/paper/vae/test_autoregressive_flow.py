import pytest
import torch
from paper.vae.autoregressive_flow import FlowStep
from torch.autograd.functional import jacobian

import wnrl

SHAPE = (3, 2, 3)  # channels, height and width


def step_and_inputs(norm="weight"):
    torch.manual_seed(0)
    step = wnrl.normalize(FlowStep(3, 8), norm).double()
    for parameter in step.parameters():  # larger than at the start, so that the step is far from the identity
        torch.nn.init.normal_(parameter, std=1.0) if parameter.ndim < 4 else parameter.data.mul_(3)
    return step, torch.randn(1, *SHAPE).double(), torch.randn(1, 8, 2, 3).double()


@pytest.mark.parametrize("norm", ["none", "weight"])
def test_the_density_gain_is_minus_the_log_determinant_of_the_jacobian(norm):
    step, z, context = step_and_inputs(norm)
    matrix = jacobian(lambda z: step(z, context).z, z).view(18, 18)
    gain = step(z, context).log_density_gain.sum()
    assert gain.abs() > 0.1
    torch.testing.assert_close(gain, -torch.linalg.slogdet(matrix).logabsdet)


def test_an_element_depends_on_itself_and_on_those_before_it_alone():
    """Positions in reading order, channels within each; and, through the hidden layers, on all of those."""
    step, z, context = step_and_inputs()
    matrix = jacobian(lambda z: step(z, context).z, z).view(3, 6, 3, 6)  # channel and position, twice
    ordered = matrix.permute(1, 0, 3, 2).reshape(18, 18)
    assert torch.equal(ordered, ordered.tril())
    scales = torch.exp(-step(z, context).log_density_gain)[0]
    torch.testing.assert_close(ordered.diagonal(), scales.flatten(1).T.flatten())
    assert (ordered[3:6, :3].tril(-1)[1:, :2] != 0).any()
    assert (ordered[-1, [0, 1, 2, 3, 15, 16]] != 0).all()  # the last knows the first, and those at its own position


def test_the_flow_of_a_gaussian_is_a_density():
    """The mean of 1/q over samples from q, within a box, is the box's volume."""
    torch.manual_seed(0)
    step = FlowStep(2, 4).double()
    step.log_scale.bias.data.fill_(4.0)
    z = torch.randn(400_000, 2, 1, 1).double()
    with torch.no_grad():
        flowed, gain = step(z, torch.ones(1, 4, 1, 1).double())
    log_q = (torch.distributions.Normal(0, 1).log_prob(z) + gain).flatten(1).sum(1)
    inside = ((flowed.flatten(1) - flowed.flatten(1).median(0).values).abs() < 0.3).all(1)
    assert (torch.exp(-log_q) * inside).mean().item() == pytest.approx(0.36, rel=0.03)


def test_the_context_reaches_every_shift_and_scale():
    step, z, context = step_and_inputs()
    reached = jacobian(lambda context: step(z, context).log_density_gain, context).abs().amax((0, 4, 5, 6, 7))
    assert (reached[1:] > 0).all()  # channels after the first see hidden features of their own position


def test_a_step_starts_near_the_identity():
    torch.manual_seed(0)
    step, z = FlowStep(4, 16), torch.randn(8, 4, 4, 4)
    flowed, gain = step(z, torch.randn(8, 16, 4, 4))
    assert (flowed - z).abs().mean() < 0.1
    assert gain.abs().mean() < 0.1
