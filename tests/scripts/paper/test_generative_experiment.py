import math

import pytest
import torch
from paper.bound import Bound
from paper.data.digit_images import read_digit_images
from paper.generative_experiment import GenerativeExperiment, grid

DEVICE = torch.device("cpu")


class Constant(torch.nn.Module):
    """A likelihood of −10 nats for each white pixel, two groups of latents at 1 nat."""

    def forward(self, images):
        self.seen = images
        return Bound(-10 * images.flatten(1).sum(1), torch.ones(len(images), 2))


@pytest.fixture(scope="module")
def digits():
    return read_digit_images()


def test_images_are_binarized_again_for_each_minibatch_and_once_for_tests(digits):
    experiment, rows = GenerativeExperiment(digits, DEVICE, binary=True), torch.arange(50)
    one, two = experiment.minibatch(rows), experiment.minibatch(rows)
    assert set(one.unique().tolist()) == {0, 1}
    assert not torch.equal(one, two)
    assert set(experiment.test.unique().tolist()) == {0, 1}
    assert torch.equal(experiment.test, GenerativeExperiment(digits, DEVICE, binary=True).test)
    assert experiment.test.mean().item() == pytest.approx(digits.test_images.float().mean().item() / 16, abs=0.01)


def test_other_pixels_are_intensities(digits):
    experiment = GenerativeExperiment(digits, DEVICE, binary=False)
    assert torch.equal(experiment.minibatch(torch.arange(3)), digits.images[:3].float() / 16)
    assert experiment.examples == 1437


def test_the_bound_is_measured_over_all_test_images(digits):
    experiment = GenerativeExperiment(digits, DEVICE, binary=False)
    measured = experiment.evaluate(Constant())
    nats = -10 * digits.test_images.float().div(16).flatten(1).sum(1).mean().item() - 2
    assert measured["test/bound"] == pytest.approx(nats, rel=1e-5)
    assert measured["test/bits_per_dimension"] == pytest.approx(-nats / 64 / math.log(2), rel=1e-5)
    assert measured["test/divergence"] == 2


def test_free_nats_change_the_loss_but_not_the_bound(digits):
    experiment = GenerativeExperiment(digits, DEVICE, binary=False, free_nats=3.0)
    metrics = experiment.loss(Constant(), torch.arange(4))
    assert metrics["loss"].item() == pytest.approx(-metrics["bound"].item() + 4)


def test_a_grid_has_its_images_in_reading_order():
    images = torch.arange(6).float().view(6, 1, 1, 1).expand(6, 1, 40, 40) / 10
    picture = grid(images, 3)
    assert picture.shape == (1, 82, 123)
    assert (picture[0, ::41, ::41] * 10).round().tolist() == [[0, 1, 2], [3, 4, 5]]
    assert grid(images[None].expand(7, -1, -1, -1, -1), 3).shape == (7, 1, 82, 123)
    stacks = torch.rand(2, 4, 40, 40)  # of 4 frames
    assert torch.equal(grid(stacks, 2), grid(stacks[:, 3:], 2))
    colours = torch.rand(2, 3, 40, 40)
    assert torch.equal(grid(colours, 2)[:, :40, :40], colours[0])
    assert grid(torch.rand(2, 1, 8, 8), 2).shape == (1, 33, 66)  # 8 pixels, each shown as 4 × 4
