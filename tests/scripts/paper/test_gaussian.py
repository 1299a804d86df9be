import pytest
import torch
from paper.gaussian import Gaussian, divergence, standard_normal
from torch import distributions


def drawn(seed, *shape):
    generator = torch.Generator().manual_seed(seed)
    return Gaussian(*(torch.randn(*shape, generator=generator, dtype=torch.float64) for _ in range(2)))


def as_torch(gaussian):
    return distributions.Normal(gaussian.mean, gaussian.log_std.exp())


def test_density_and_divergence_are_torchs():
    q, p, z = drawn(0, 5, 3), drawn(1, 5, 3), drawn(2, 5, 3).mean
    torch.testing.assert_close(q.log_density(z), as_torch(q).log_prob(z))
    torch.testing.assert_close(divergence(q, p), distributions.kl_divergence(as_torch(q), as_torch(p)))


def test_the_divergence_is_the_mean_of_log_q_minus_log_p():
    q, p = (Gaussian(*(part.expand(200_000, 2) for part in drawn(seed, 2))) for seed in (0, 1))
    z = q.draw(torch.Generator().manual_seed(2))
    estimates = q.log_density(z) - p.log_density(z)
    error = estimates.std(0) / len(estimates) ** 0.5
    assert ((estimates.mean(0) - divergence(q, p)[0]).abs() < 4 * error).all()
    assert (divergence(q, p)[0] > 10 * error).all()


def test_a_known_divergence():
    """Of N(1, 1) from N(0, 1): a half; none of a distribution from itself."""
    ones = torch.ones(2)
    assert torch.equal(divergence(Gaussian(ones, 0 * ones), standard_normal(ones)), 0.5 * ones)
    assert torch.equal(divergence(standard_normal(ones), standard_normal(ones)), 0 * ones)


def test_samples_have_the_moments_and_the_gradient_of_the_reparameterization():
    mean, log_std = torch.tensor(2.0, requires_grad=True), torch.tensor(-1.0, requires_grad=True)
    z = Gaussian(mean.expand(100_000), log_std.expand(100_000)).draw(torch.Generator().manual_seed(0))
    assert z.mean().item() == pytest.approx(2, abs=0.01)
    assert z.std().item() == pytest.approx(torch.tensor(-1.0).exp().item(), abs=0.01)
    by_mean, by_log_std = torch.autograd.grad((z**2).mean(), [mean, log_std])  # E[z²] = μ² + σ²
    assert by_mean.item() == pytest.approx(4, abs=0.03)
    assert by_log_std.item() == pytest.approx(2 * torch.tensor(-2.0).exp().item(), abs=0.03)


def test_draws_come_from_the_generator_alone():
    gaussian, state = drawn(0, 4), torch.get_rng_state()
    one, two = (gaussian.draw(torch.Generator().manual_seed(seed)) for seed in (3, 3))
    assert torch.equal(one, two)
    assert not torch.equal(one, gaussian.draw(torch.Generator().manual_seed(4)))
    assert torch.equal(torch.get_rng_state(), state)
