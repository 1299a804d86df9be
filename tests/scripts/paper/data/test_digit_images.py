import sys

import pytest
import torch
from paper.data.digit_images import read_digit_images
from sklearn.datasets import load_digits


def test_every_fifth_image_is_for_tests_and_none_is_lost():
    digits, source = read_digit_images(), load_digits()
    assert (digits.name, digits.shape, digits.levels, digits.classes) == ("digits", (1, 8, 8), 17, 10)
    assert (digits.images.dtype, digits.labels.dtype) == (torch.uint8, torch.int64)
    assert (len(digits.images), len(digits.test_images)) == (1437, 360)
    images, labels = torch.as_tensor(source.images).to(torch.uint8)[:, None], torch.as_tensor(source.target)
    assert torch.equal(digits.test_images, images[::5])
    assert torch.equal(digits.test_labels, labels[::5])
    assert torch.equal(digits.images[:4], images[1:5])
    assert digits.labels[:8].tolist() == labels[[1, 2, 3, 4, 6, 7, 8, 9]].tolist()
    assert int(digits.images.max()) == 16


def test_all_classes_are_in_both_parts():
    digits = read_digit_images()
    assert digits.labels.unique().tolist() == digits.test_labels.unique().tolist() == [*range(10)]


def test_without_scikit_learn_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ValueError, match="the digits come with scikit-learn: pip install"):
        read_digit_images()
