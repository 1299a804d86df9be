import pytest
import torch
from paper.draw.drawing_network import DrawingNetwork, DrawSizes
from paper.gaussian import Gaussian, divergence, standard_normal

import wnrl

SIZE = (5, 6)
ATTENTION = {"on": DrawSizes(steps=3, units=7, latents=2, read=2, write=3)}
ATTENTION["off"] = DrawSizes(steps=3, units=7, latents=2, read=0, write=0)
IMAGES = torch.rand(4, 1, *SIZE, generator=torch.Generator().manual_seed(0)).round()


def make(attention="on", norm="none"):
    torch.manual_seed(0)
    return wnrl.normalize(DrawingNetwork(SIZE, ATTENTION[attention]), norm, normalize_output=True)


def noise(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("attention", ATTENTION)
def test_shapes(attention):
    network = make(attention)
    bound = network(IMAGES, noise())
    assert (bound.log_likelihood.shape, bound.divergence.shape) == ((4,), (4, 3))
    for film in (network.reconstruct(IMAGES, noise()), network.sample(4, noise())):
        assert film.shape == (3, 4, 1, *SIZE)
        assert 0 <= film.min() <= film.max() <= 1


@pytest.mark.parametrize("attention", ATTENTION)
def test_the_bound_is_that_of_the_equations_written_out(attention):
    """Equations 3 to 8 of Gregor et al. 2015 with the network's parts, and torch's own densities."""
    network, generator = make(attention), noise()
    x, canvas, total = IMAGES[:, 0], torch.zeros(4, *SIZE), torch.zeros(4)
    h_enc = c_enc = h_dec = c_dec = torch.zeros(4, 7)
    for _ in range(3):
        r = network.reader(x, x - torch.sigmoid(canvas), h_dec)
        h_enc, c_enc = network.encoder(torch.cat([r, h_dec], 1), (h_enc, c_enc))
        mean, log_std = network.posterior(h_enc).split(2, 1)
        z = mean + log_std.exp() * torch.randn(4, 2, generator=generator)
        h_dec, c_dec = network.decoder(z, (h_dec, c_dec))
        canvas = canvas + network.writer(h_dec)
        total += divergence(Gaussian(mean, log_std), standard_normal(mean)).sum(1)
    likelihood = torch.distributions.Bernoulli(logits=canvas).log_prob(x).sum((1, 2))
    torch.testing.assert_close(network(IMAGES, noise()).nats, likelihood - total)


@pytest.mark.parametrize("attention", ATTENTION)
def test_weight_norm_is_the_same_function_and_takes_every_weight(attention):
    plain, normalized = make(attention), make(attention, "weight")
    torch.testing.assert_close(normalized(IMAGES, noise()).nats, plain(IMAGES, noise()).nats)
    names = {name for name, parameter in normalized.named_parameters() if parameter.ndim > 1}
    assert names == {name for name in names if name.split(".")[-1].startswith("v")}
    assert {"encoder.v_hh", "decoder.v_ih", "posterior.v"} <= names


@pytest.mark.parametrize("norm", ["none", "weight"])
def test_every_parameter_has_a_gradient(norm):
    network = make("on", norm)
    network(IMAGES, noise()).loss().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in network.parameters())


def test_the_canvas_grows_step_by_step_from_nothing():
    network = make("off")
    with torch.no_grad():
        network.writer.image.weight.zero_()
        network.writer.image.bias.fill_(1.0)
        film = network.sample(2, noise())
    for step in range(3):
        torch.testing.assert_close(film[step], torch.sigmoid(torch.tensor(step + 1.0)).expand(2, 1, *SIZE))


@pytest.mark.parametrize(("attention", "norm"), [("on", "weight"), ("off", "none")])
def test_training_raises_the_bound(attention, norm):
    network, generator = make(attention, norm), noise()
    images = (torch.arange(6) % 2).float().expand(8, 1, *SIZE)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    losses = []
    for _ in range(40):
        loss = network(images, generator).loss()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.75 * losses[0]
