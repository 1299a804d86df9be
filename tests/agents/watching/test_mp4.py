import numpy as np
import pytest

from agents.watching.mp4 import MP4Writer
from tests.videos import frames_of, full_disk, needs_ffmpeg


def add_noise(writer, number):
    for seed in range(number):
        writer.append_data(np.random.default_rng(seed).integers(0, 256, (64, 64, 3)).astype(np.uint8))


@needs_ffmpeg
@pytest.mark.parametrize("fps", [0.5, 7.77, 29.97, 240])
def test_a_file_has_the_pictures_that_it_was_given(tmp_path, fps):
    writer = MP4Writer(tmp_path / "a.mp4", fps)
    for shade in (0, 100, 200):
        writer.append_data(np.full((20, 30, 3), shade, np.uint8))
    writer.close()
    frames, rate = frames_of(tmp_path / "a.mp4")
    assert frames.shape == (3, 20, 30, 3)
    assert rate == pytest.approx(fps)


@needs_ffmpeg
def test_a_file_that_lacks_pictures_is_an_error(tmp_path):
    with full_disk(1_000):
        writer = MP4Writer(tmp_path / "a.mp4", 10)
        add_noise(writer, 1)
    with pytest.raises(OSError, match=r"^ffmpeg wrote 0 of 1 pictures; is the disk full\?$"):
        writer.close()


@needs_ffmpeg
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # imageio-ffmpeg leaves the pipe open
def test_the_end_of_ffmpeg_is_an_error_of_the_next_picture(tmp_path):
    with full_disk(1_000):
        writer = MP4Writer(tmp_path / "a.mp4", 10)
        with pytest.raises(OSError, match=r"^ffmpeg ended after \d+ pictures; is the disk full\?$"):
            add_noise(writer, 1_000)
