"""scripts/paper/data/image_set.py"""

import pytest
import torch
from paper.data.image_set import ImageSet, check_set, scaled


def made(images=None, labels=(0, 1, 2), tests=None, levels=256):
    images = torch.arange(3 * 16).view(3, 1, 4, 4).to(torch.uint8) if images is None else images
    tests = images[:1] if tests is None else tests
    return ImageSet("made", images, torch.tensor(labels), tests, torch.zeros(len(tests), dtype=torch.int64), 3, levels)


def test_pixels_are_scaled_as_in_the_papers_code():
    pixels = torch.tensor([0, 127, 255], dtype=torch.uint8)
    assert scaled(pixels, 256).tolist() == [-127.5 / 128, -0.5 / 128, 127.5 / 128]
    assert scaled(torch.tensor([0, 8, 16]), 17).tolist() == pytest.approx([-16 / 17, 0, 16 / 17])


def test_halving_averages_areas():
    halved = made().resized(2)
    assert halved.images[0, 0].tolist() == [[2, 4], [10, 12]]  # means 2.5, 4.5, 10.5, 12.5, rounded to even
    assert halved.test_images.shape == (1, 1, 2, 2)


def test_enlarged_images_have_256_levels():
    larger = made(torch.full((3, 1, 4, 4), 16, dtype=torch.uint8), levels=17).resized(8)
    assert (larger.levels, larger.shape) == (256, (1, 8, 8))
    assert (larger.images == 255).all()


@pytest.mark.parametrize("size", [0, 4])
def test_their_own_size_changes_nothing(size):
    images = made(levels=17)
    assert images.resized(size) is images


def test_the_first_ones_are_taken():
    assert made().first(2).labels.tolist() == [0, 1]
    assert len(made().first(0).images) == 3
    with pytest.raises(ValueError, match="made has 3 training images, 4 were asked for"):
        made().first(4)


def test_test_images_that_are_training_images_too_are_left_out():
    images = torch.arange(3 * 16).view(3, 1, 4, 4).to(torch.uint8)
    tests = torch.stack([images[2], images[0] + 1, images[0], images[1] + 1, images[2]])
    given = made(images, tests=tests)._replace(test_labels=torch.tensor([0, 1, 2, 0, 1]))
    cleaned = given.without_repeats()
    assert torch.equal(cleaned.test_images, tests[[1, 3]])
    assert cleaned.test_labels.tolist() == [1, 0]
    assert cleaned.remark == "made: 3 of 5 test images are training images too, and are left out"
    assert torch.equal(cleaned.images, images)
    again = cleaned.without_repeats()
    assert torch.equal(again.test_images, tests[[1, 3]])
    assert again.remark.startswith("made: 0 of 2")


def test_a_set_that_only_repeats_is_refused():
    with pytest.raises(ValueError, match="all test images of made are among its training images: take more --examples"):
        made().without_repeats()


@pytest.mark.parametrize(
    ("images", "saying"),
    [
        (made(labels=(0, 1)), "3 images and 2 labels"),
        (made(labels=(0, 1, 3)), "a label over 2"),
        (made(torch.zeros(0, 1, 4, 4, dtype=torch.uint8), labels=()), "made has no images"),
        (made(tests=torch.zeros(1, 1, 5, 4, dtype=torch.uint8)), "images of two sizes"),
    ],
)
def test_what_does_not_fit_is_refused(images, saying):
    with pytest.raises(ValueError, match=saying):
        check_set(images)
