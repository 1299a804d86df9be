"""scripts/paper/data/loaders.py, digit_images.py and frames.py"""

import pytest
import torch
from paper.data.loaders import load


def test_digits_are_split_without_loss(tmp_path):
    digits = load("digits", tmp_path)
    assert (digits.shape, digits.levels, digits.classes) == ((1, 8, 8), 17, 10)
    assert (len(digits.images), len(digits.test_images)) == (1437, 360)
    assert sorted(digits.labels.unique().tolist()) == sorted(digits.test_labels.unique().tolist()) == [*range(10)]
    assert int(digits.images.max()) == 16


def test_frames_are_the_same_each_time_and_other_ones_for_tests(tmp_path):
    first, again = load("frames", tmp_path, 40), load("frames", tmp_path, 40)
    assert (first.name, first.shape, first.classes) == ("frames of Breakout", (4, 84, 84), 4)
    assert (len(first.images), len(first.test_images)) == (40, 8)
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.labels, again.labels)
    assert len(first.labels.unique()) == 4
    assert not torch.equal(first.test_images, first.images[:8])


def test_sizes_are_asked_for(tmp_path):
    assert load("digits", tmp_path, examples=5, size=16).images.shape == (5, 1, 16, 16)


def test_an_unknown_game_or_data_set_is_named(tmp_path):
    with pytest.raises(ValueError, match="Brekout"):
        load("frames", tmp_path, 40, game="Brekout")
    with pytest.raises(ValueError, match="unknown data set 'imagenet': choose from digits, mnist, cifar10, frames"):
        load("imagenet", tmp_path)
