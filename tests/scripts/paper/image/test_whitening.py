"""scripts/paper/image/whitening.py"""

import torch
from paper.image.whitening import Whitening


def mixed(count, seed):
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(12, 12, generator=torch.Generator().manual_seed(9))
    return (torch.randn(count, 12, generator=generator) @ mixing + 3).view(count, 3, 2, 2)


def test_means_are_zero_and_covariances_one():
    images = mixed(500, 0)
    white = Whitening(images, 1e-6)(images).flatten(1)
    torch.testing.assert_close(white.mean(0), torch.zeros(12), atol=1e-3, rtol=0)
    torch.testing.assert_close(white.T @ white / 500, torch.eye(12), atol=1e-2, rtol=0)


def test_white_images_stay_as_they_are():
    # ZCA is the whitening that changes images least: another rotation would not give them back
    images = mixed(500, 0)
    white = Whitening(images, 1e-6)(images)
    torch.testing.assert_close(Whitening(white, 0.0)(white), white, atol=1e-2, rtol=0)


def test_test_images_take_the_training_images_numbers():
    images, test = mixed(500, 0), mixed(50, 1)
    alone = torch.stack([Whitening(images, 0.1)(image[None])[0] for image in test])
    torch.testing.assert_close(Whitening(images, 0.1)(test), alone)


def test_pixels_that_never_change_stay_finite():
    images = mixed(100, 0)
    images[:, 0] = 5.0
    assert Whitening(images, 1e-5)(images).isfinite().all()
