import numpy as np
import pytest
from PIL import Image

from agents.watching.gif import COLOURS, GIFWriter
from tests.videos import gif_frames


def written(path, pictures, fps=10):
    writer = GIFWriter(path, fps)
    for picture in pictures:
        writer.append_data(picture)
    writer.close()
    return gif_frames(path)


def test_few_colours_are_kept_exactly(tmp_path):
    pictures = np.random.default_rng(0).integers(0, 4, (5, 8, 10, 3)).astype(np.uint8) * 85  # 64 colours
    frames, durations = written(tmp_path / "a.gif", pictures)
    assert (frames == pictures).all()
    assert durations == [100] * 5


def test_many_colours_are_approximated_and_frequent_ones_kept(tmp_path):
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[:, :, 0], picture[:, :, 1] = np.arange(64) * 4, np.arange(64)[:, None] * 4
    picture[:8] = (9, 200, 77)
    (frame,), _ = written(tmp_path / "a.gif", [picture])
    assert (frame[:8] == (9, 200, 77)).all()
    assert np.abs(frame.astype(int) - picture).mean() < 12
    assert len(np.unique(frame.reshape(-1, 3), axis=0)) <= COLOURS


def test_what_does_not_change_takes_no_room(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (100, 100, 3)).astype(np.uint8)
    moving = np.stack([noise] * 20)
    moving[range(20), range(20)] = 255
    written(tmp_path / "one.gif", moving[:1])
    written(tmp_path / "all.gif", moving)
    assert (tmp_path / "all.gif").stat().st_size < 2 * (tmp_path / "one.gif").stat().st_size


@pytest.mark.parametrize(
    ("fps", "durations"),
    [
        (10, [100] * 4),
        (12.5, [80] * 4),
        (15, [70, 60, 70, 70]),
        (30, [30, 40, 30, 30]),
        (50, [20] * 4),
        (1_000, [20] * 4),  # shorter ones are shown for longer
    ],
)
def test_it_repeats_at_its_pace(tmp_path, fps, durations):
    pictures = [np.full((4, 4, 3), shade, np.uint8) for shade in (0, 255, 0, 255)]
    assert written(tmp_path / "a.gif", pictures, fps)[1] == durations
    with Image.open(tmp_path / "a.gif") as file:
        assert file.info["loop"] == 0


@pytest.mark.parametrize("fps", [7, 15, 24, 30, 48])
def test_it_takes_as_long_as_the_game(tmp_path, fps):
    pictures = [np.full((4, 4, 3), 60 * (index % 5), np.uint8) for index in range(2 * fps)]
    durations = written(tmp_path / "a.gif", pictures, fps)[1]
    assert sum(durations) == 2_000
    assert np.cumsum(durations) == pytest.approx(1_000 * np.arange(1, 2 * fps + 1) / fps, abs=5)


def test_pictures_that_are_the_same_keep_their_time(tmp_path):
    still = np.zeros((4, 4, 3), np.uint8)
    assert written(tmp_path / "a.gif", [still] * 15, 15)[1] == [1_000]
    assert written(tmp_path / "b.gif", [still] * 15 + [still + 255] * 15, 15)[1] == [1_000, 1_000]
