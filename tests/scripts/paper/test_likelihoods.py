import pytest
import torch
from paper.likelihoods import BernoulliPixels, LogisticPixels, binarize
from torch import distributions

LEVELS = 17


def random_outputs(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_bernoulli_is_torchs_and_sums_over_an_image():
    outputs = random_outputs(3, 1, 2, 2)
    images = (random_outputs(3, 1, 2, 2) > 0).double().flip(0)
    expected = distributions.Bernoulli(logits=outputs).log_prob(images).flatten(1).sum(1)
    torch.testing.assert_close(BernoulliPixels().log_likelihood(outputs, images), expected)
    torch.testing.assert_close(BernoulliPixels().mean(outputs), distributions.Bernoulli(logits=outputs).mean)


@pytest.mark.parametrize("log_scale", [-5.0, -1.0, 1.0])
def test_the_shares_of_all_values_add_up_to_1(log_scale):
    pixels = LogisticPixels(LEVELS).double()
    torch.nn.init.constant_(pixels.log_scale, log_scale)
    outputs = 0.3 * random_outputs(50, 1)
    shares = pixels.log_shares(outputs, torch.arange(LEVELS).double()).exp()
    torch.testing.assert_close(shares.sum(1), torch.ones(50).double())


def test_a_share_is_the_difference_of_the_logistic_function_at_the_ends():
    """A naive twin; the interval of value k of n is from k/n to (k + 1)/n, and the outermost are open."""
    pixels, outputs = LogisticPixels(LEVELS).double(), 0.2 * random_outputs(4)
    scale = pixels.log_scale.exp()
    for value in (0, 1, 8, 16):
        lower = ((value / LEVELS - 0.5 - outputs) / scale).sigmoid() if value else torch.zeros(4)
        upper = (((value + 1) / LEVELS - 0.5 - outputs) / scale).sigmoid() if value < 16 else torch.ones(4)
        torch.testing.assert_close(pixels.log_shares(outputs, torch.tensor(value)).exp(), upper - lower)


def test_pixels_far_from_the_mean_have_finite_likelihoods_and_gradients():
    """Where a difference of two float32 sigmoids is 0 and its logarithm −∞."""
    pixels = LogisticPixels(256)
    torch.nn.init.constant_(pixels.log_scale, -6.0)
    outputs = torch.full((1, 1, 2, 2), -0.5, requires_grad=True)
    images = torch.tensor([[[[1.0, 0.9], [0.5, 0.0]]]])
    log_likelihood = pixels.log_likelihood(outputs, images)
    log_likelihood.backward()
    assert log_likelihood.isfinite()
    assert outputs.grad.isfinite().all()
    assert pixels.log_scale.grad.isfinite()
    assert (outputs.grad.flatten()[:3] > 0).all()  # towards brighter pixels


def test_bytes_are_the_values_of_their_intensities():
    pixels = LogisticPixels(256).double()
    values = torch.tensor([0, 1, 127, 254, 255])
    images = (values / 255).view(5, 1, 1, 1)
    expected = pixels.log_shares(torch.zeros(5).double(), values)
    torch.testing.assert_close(pixels.log_likelihood(torch.zeros(5, 1, 1, 1).double(), images), expected)


def test_mean_pixels_are_intensities():
    assert LogisticPixels().mean(torch.tensor([-0.7, -0.5, 0.0, 0.25, 0.6])).tolist() == [0, 0, 0.5, 0.75, 1]


def test_binarized_pixels_have_the_intensities_as_means():
    images = torch.tensor([0.0, 0.25, 1.0]).repeat(40_000, 1)
    binary = binarize(images, torch.Generator().manual_seed(0))
    assert set(binary.unique().tolist()) == {0, 1}
    assert binary.mean(0)[[0, 2]].tolist() == [0, 1]
    assert binary.mean(0)[1].item() == pytest.approx(0.25, abs=0.01)
