import pytest
import torch
from paper.likelihoods import BernoulliPixels, LogisticPixels
from paper.vae.image_vae import ImageVAE, VAESizes, initialize
from paper.vae.masked_convolution import MaskedConv2d

import wnrl

SIZES = VAESizes(features=8, latents=2, levels=2, blocks=1, flow_steps=1)
IMAGES = torch.rand(30, 1, 8, 8, generator=torch.Generator().manual_seed(0)).round()


def make(norm="none", likelihood=None):
    torch.manual_seed(0)
    return wnrl.normalize(ImageVAE(1, (8, 8), SIZES, likelihood or BernoulliPixels()), norm)


def noise(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("channels", "size", "likelihood"), [(1, (28, 28), "bernoulli"), (3, (32, 16), "logistic")])
def test_shapes(channels, size, likelihood):
    network = ImageVAE(channels, size, SIZES, BernoulliPixels() if likelihood == "bernoulli" else LogisticPixels())
    images = torch.rand(3, channels, *size).round()
    bound = network(images)
    assert (bound.log_likelihood.shape, bound.divergence.shape) == ((3,), (3, 4))  # 2 channels in each of 2 blocks
    assert network.reconstruct(images).shape == images.shape
    samples = network.sample(5)
    assert samples.shape == (5, channels, *size)
    assert 0 <= samples.min() <= samples.max() <= 1


def test_sizes_that_cannot_be_halved_are_refused():
    with pytest.raises(ValueError, match="images of 28 × 6 cannot be halved 2 times"):
        ImageVAE(1, (28, 6), SIZES, BernoulliPixels())


def test_both_norms_start_as_the_same_function_from_the_data_dependent_initialization():
    bounds = []
    for norm in ("none", "weight"):
        network = make(norm)
        before = network(IMAGES, noise()).nats
        initialize(network, IMAGES, noise())
        bounds.append(network(IMAGES, noise()).nats)
        assert not torch.allclose(before, bounds[-1], atol=0.1)
    torch.testing.assert_close(*bounds, atol=1e-3, rtol=1e-4)


def test_the_first_layer_is_standardized():
    network = make("weight")
    initialize(network, IMAGES, noise())
    first = network.enter(IMAGES - 0.5)
    torch.testing.assert_close(first.mean((0, 2, 3)), torch.zeros(8), atol=1e-5, rtol=0)
    torch.testing.assert_close(first.std((0, 2, 3), correction=0), torch.ones(8), atol=1e-4, rtol=0)
    assert all((m.v[m.mask == 0] == 0).all() for m in network.modules() if isinstance(m, MaskedConv2d))


def test_weight_norm_takes_every_layer():
    network = make("weight")
    plain = {name for name, p in network.named_parameters() if p.ndim > 1 and not name.endswith(".v")}
    assert plain == {"top"}


def test_the_bound_is_below_the_likelihood_that_many_samples_estimate():
    """log p(x) ≥ E[bound], and the estimate from k samples, log mean exp(bound), lies between (Burda et al. 2015)."""
    network = make()
    with torch.no_grad():
        bounds = torch.stack([network(IMAGES[:4], noise(seed)).nats for seed in range(200)])
    assert (torch.logsumexp(bounds, 0) - torch.tensor(200.0).log() > bounds.mean(0)).all()


@pytest.mark.parametrize("norm", ["none", "weight"])
def test_training_raises_the_bound(norm):
    network = make(norm)
    images = (torch.arange(8) % 2).float().expand(16, 1, 8, 8).clone()  # stripes, in half of them the other way
    images[8:] = 1 - images[8:]
    initialize(network, images + 0.1 * torch.randn(images.shape, generator=noise()), noise())
    optimizer, generator = torch.optim.Adamax(network.parameters(), lr=0.02), noise()
    losses = []
    for _ in range(80):
        loss = network(images, generator).loss()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
