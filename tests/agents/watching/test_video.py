import os
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from agents.watching.picture import Size
from agents.watching.video import Video, draw_off_screen, size_for
from tests.videos import frames_of, full_disk, gif_frames, needs_ffmpeg


def picture(number):
    return np.full((210, 160, 3), 10 * number, np.uint8)


def film(path, number, rate=15.0, **options):
    """The file of a video of so many pictures, which grow brighter."""
    video = Video(path, rate, **options)
    for index in range(number):
        video.show(lambda index=index: picture(index))
    return video.close()


def shades(frames):
    return np.mean(frames, axis=(1, 2, 3))


@needs_ffmpeg
@pytest.mark.parametrize("rate", [15.0, 12.5, 50.0])
def test_an_mp4_has_every_picture_at_the_pace_of_the_game(tmp_path, rate):
    path = tmp_path / "videos" / "a.mp4"
    assert film(path, 8, rate) == path
    frames, fps = frames_of(path)
    assert frames.shape == (8, 210, 160, 3)
    assert fps == rate
    assert shades(frames) == pytest.approx(10 * np.arange(8), abs=6)


def test_a_gif_has_every_picture_of_a_slow_game(tmp_path):
    frames, durations = gif_frames(film(tmp_path / "a.GIF", 8, 10.0))
    assert (frames == [picture(index) for index in range(8)]).all()
    assert durations == [100] * 8


@pytest.mark.parametrize(
    ("rate", "options", "shown", "duration"),
    [
        (50.0, {}, [0, 4, 8, 12, 16], 400),  # 12.5 a second
        (30.0, {}, [0, 2, 4, 6, 8, 10, 12, 14, 16, 18], 670),
        (30.0, {"fps": 10.0}, [0, 3, 6, 9, 12, 15, 18], 700),
        (60.0, {"fps": 60.0}, [0, 2, 4, 6, 8, 10, 12, 14, 16, 18], 330),  # browsers slow down 60 a second
        (10.0, {"fps": 100.0, "seconds": 0.5}, [0, 1, 2, 3, 4], 500),
        (20.0, {"fps": 10.0, "seconds": 0.5}, [0, 2, 4, 6, 8], 500),
        (15.0, {"seconds": 0.5}, [0, 1, 2, 3, 4, 5, 6], 470),  # 8 would be too long
        (50.0, {"seconds": 0.3}, [0, 4, 8], 240),
        (15.0, {"seconds": 0.01}, [0], 70),
    ],
)
def test_a_gif_leaves_out_pictures_and_is_as_fast_as_the_game(tmp_path, rate, options, shown, duration):
    frames, durations = gif_frames(film(tmp_path / "a.gif", 20, rate, **options))
    assert shades(frames).tolist() == [10 * index for index in shown]
    assert sum(durations) == duration


@needs_ffmpeg
def test_an_mp4_leaves_out_pictures_only_where_it_is_asked_to(tmp_path):
    frames, fps = frames_of(film(tmp_path / "a.mp4", 20, 30.0, fps=10.0, seconds=0.5))
    assert shades(frames) == pytest.approx([0, 30, 60, 90, 120], abs=6)
    assert fps == 10


def test_a_gif_ends_after_30_seconds(tmp_path):
    video = Video(tmp_path / "a.gif", 1.0)
    for index in range(31):
        assert video.full == (index == 30)
        video.show((lambda: picture(0)) if index < 30 else pytest.fail)
    assert video.describe() == f"video of the first game (its first 30 seconds): {video.close()}"
    assert Video(tmp_path / "a.gif", 1.0, seconds=40).describe() == f"video of the first game: {tmp_path / 'a.gif'}"


def test_a_picture_that_is_left_out_is_not_made(tmp_path):
    made = []
    video = Video(tmp_path / "a.gif", 30.0)
    for index in range(10):
        video.show(lambda index=index: made.append(index) or picture(index))
    assert made == [0, 2, 4, 6, 8]


def test_bounds_of_pictures():
    assert size_for(Path("a.mp4")) == Size()
    assert size_for(Path("a.mp4"), values=True).least_height >= 300
    assert size_for(Path("a.gif")).most_width == size_for(Path("a.gif"), values=True).most_width == 320


@pytest.mark.parametrize("name", ["a.avi", "a", "mp4"])
def test_another_kind_of_file_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match=rf"a video is a file \.mp4 or \.gif, got .*{name}$"):
        Video(tmp_path / name, 30.0)


@pytest.fixture
def no_display(monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER", "XDG_RUNTIME_DIR"):
        monkeypatch.setenv(name, "")  # so that it is as before at the end
        monkeypatch.delenv(name)
    monkeypatch.setattr("sys.platform", "linux")


@pytest.mark.parametrize(
    ("given", "platform", "driver"),
    [
        ({}, "linux", "dummy"),
        ({"DISPLAY": ""}, "linux", "dummy"),
        ({"DISPLAY": ":0"}, "linux", None),
        ({"WAYLAND_DISPLAY": "wayland-0"}, "linux", None),
        ({"SDL_VIDEODRIVER": "x11"}, "linux", "x11"),
        ({}, "darwin", None),
    ],
)
def test_pygame_draws_in_memory_only_where_there_is_no_display(given, platform, driver, no_display, monkeypatch):
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.platform", platform)
    draw_off_screen()
    assert os.environ.get("SDL_VIDEODRIVER") == driver


def test_a_machine_without_a_display_is_no_complaint(no_display, capfd):
    pytest.importorskip("pygame")
    draw_off_screen()
    environment = gymnasium.make("CartPole-v1", render_mode="rgb_array")
    environment.reset()
    assert environment.render().shape == (400, 600, 3)
    environment.close()
    assert capfd.readouterr().err == ""


def test_without_a_picture_there_is_no_file(tmp_path):
    video = Video(tmp_path / "videos" / "a.gif", 15.0)

    def none():
        raise ValueError("nothing to show")

    with pytest.raises(ValueError, match="nothing to show"):
        video.show(none)
    video.close()
    assert not (tmp_path / "videos").exists()


FILES = [pytest.param("a.mp4", marks=needs_ffmpeg), "a.gif"]


@pytest.mark.parametrize("name", FILES)
def test_on_a_full_disk_the_file_of_before_stays(tmp_path, name):
    path = tmp_path / name
    film(path, 3)
    before = path.read_bytes()
    with full_disk(100), pytest.raises(ValueError, match=rf"^cannot write {path}: \w.*$"):
        film(path, 8)
    assert path.read_bytes() == before
    assert [*tmp_path.iterdir()] == [path]
    film(path, 8)
    assert path.read_bytes() != before
    assert [*tmp_path.iterdir()] == [path]


@pytest.mark.parametrize("name", FILES)
def test_a_video_that_is_discarded_leaves_nothing(tmp_path, name):
    video = Video(tmp_path / name, 15.0)
    video.show(lambda: picture(1))
    video.discard()
    assert [*tmp_path.iterdir()] == []
    path = film(tmp_path / name, 3)
    video.discard()
    assert [*tmp_path.iterdir()] == [path]


def test_games_go_on_where_a_video_cannot_be_written(tmp_path):
    video = Video(tmp_path / "videos" / "a.gif", 15.0)
    (tmp_path / "videos").touch()
    for _ in range(3):
        video.show(lambda: picture(1))
    assert video.full
    with pytest.raises(ValueError, match=rf"^cannot write {tmp_path / 'videos' / 'a.gif'}: File exists$"):
        video.close()


@needs_ffmpeg
def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_played(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"cannot write a video to .*file/videos: give another folder by --out"):
        Video(tmp_path / "file" / "videos" / "a.mp4", 15.0)
    (tmp_path / "folder.gif").mkdir()
    with pytest.raises(ValueError, match="cannot write a video"):
        Video(tmp_path / "folder.gif", 15.0)
    monkeypatch.setattr("os.access", lambda path, mode: False)  # root may write everywhere
    with pytest.raises(ValueError, match="cannot write a video"):
        Video(tmp_path / "a.mp4", 15.0)


@pytest.mark.parametrize(
    ("name", "module"), [("a.mp4", "imageio.v2"), ("a.mp4", "imageio_ffmpeg"), ("a.gif", "PIL.Image")]
)
def test_video_without_its_packages_is_refused_with_what_to_install(tmp_path, monkeypatch, name, module):
    monkeypatch.setitem(sys.modules, module, None)  # as if it were not installed
    with pytest.raises(ValueError, match=r'pip install "wnrl\[video\]"'):
        Video(tmp_path / "videos" / name, 15.0)
    assert not (tmp_path / "videos").exists()
