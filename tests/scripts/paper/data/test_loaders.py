import pytest
from paper.data.loaders import load


def test_sizes_are_asked_for(tmp_path):
    assert load("digits", tmp_path, examples=5, size=16).images.shape == (5, 1, 16, 16)


def test_an_unknown_game_or_data_set_is_named(tmp_path):
    with pytest.raises(ValueError, match="Brekout"):
        load("frames", tmp_path, 40, game="Brekout")
    with pytest.raises(ValueError, match="unknown data set 'imagenet': choose from digits, mnist, cifar10, frames"):
        load("imagenet", tmp_path)
