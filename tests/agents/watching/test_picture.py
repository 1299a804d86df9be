from types import SimpleNamespace

import numpy as np
import pytest

from agents.watching.picture import Size, fitted, picture_of
from tests.agents.environments import Clockwork

SQUARES = np.arange(2 * 4 * 3, dtype=np.uint8).reshape(2, 4, 3) * 10


@pytest.mark.parametrize(
    ("size", "shape"),
    [
        (Size(), (2, 4)),
        (Size(2), (2, 4)),
        (Size(3), (4, 8)),
        (Size(9), (10, 20)),
        (Size(9, 12), (6, 12)),
        (Size(1, 2), (1, 2)),
        (Size(1, 3), (1, 2)),
        (Size(100, 3), (1, 2)),
    ],
)
def test_sizes_are_whole_factors(size, shape):
    assert fitted(SQUARES, size).shape == (*shape, 3)


def test_pixels_are_repeated_or_averaged():
    larger, smaller = fitted(SQUARES, Size(4)), fitted(SQUARES, Size(1, 2))
    assert (larger[::2, ::2] == SQUARES).all()
    assert (larger[1::2, 1::2] == SQUARES).all()
    assert smaller[0, 1].tolist() == SQUARES[:, 2:].mean((0, 1)).round().tolist()
    assert smaller.dtype == np.uint8


def test_a_picture_that_does_not_divide_loses_its_rest():
    assert fitted(np.zeros((5, 7, 3), np.uint8), Size(1, 3)).shape == (1, 2, 3)


def test_what_has_no_picture_is_refused():
    with pytest.raises(ValueError, match=r"nothing to show: Clockwork has no picture"):
        picture_of(Clockwork(7))


@pytest.mark.parametrize(
    ("picture", "said"),
    [(None, "none"), (np.array(None), "none"), (np.zeros((4, 5)), r"an array \(4, 5\)"), ("text", "none")],
)
def test_a_render_that_gives_no_picture_is_refused(picture, said):
    with pytest.raises(ValueError, match=rf"nothing to show: the environment's render\(\) must .* it gave {said}$"):
        picture_of(SimpleNamespace(render=lambda: picture))
