import builtins
import os

import gymnasium
import numpy as np
import pytest

from agents.training.video import Video, draw_off_screen
from tests.agents.environments import Clockwork, Coloured
from tests.videos import frames_of, needs_ffmpeg


def play(environment, video, steps):
    video.watch(environment.reset())
    for _ in range(steps):
        video.watch(environment.step(np.zeros(environment.num_envs, int)))


@needs_ffmpeg
def test_the_video_is_the_first_game_of_the_first_environment(tmp_path):
    environment, path = Coloured(7, 9), tmp_path / "videos" / "a.mp4"
    video = Video(environment, path)
    play(environment, video, 20)
    assert video.close() == path
    frames, fps = frames_of(path)
    assert frames.shape == (8, 210, 160, 3)  # the first row and seven steps
    assert fps == 15  # real time at 4 frames a step
    assert np.mean(frames, axis=(1, 2, 3)) == pytest.approx(20 * np.arange(8), abs=6)


@needs_ffmpeg
def test_what_skips_no_frames_is_shown_at_30_a_second(tmp_path):
    environment = Coloured(7)
    environment.frame_skip = 1
    video = Video(environment, tmp_path / "a.mp4")
    play(environment, video, 3)
    assert frames_of(video.close())[1] == 30


@needs_ffmpeg
def test_pictures_are_recorded_one_by_one_too(tmp_path):
    environment = Coloured(7)
    video = Video(environment, tmp_path / "a.mp4")
    environment.reset()
    video.record()
    video.record()
    assert len(frames_of(video.close())[0]) == 2


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


@needs_ffmpeg
def test_what_has_no_picture_is_refused_and_leaves_no_file(tmp_path):
    environment = Clockwork(7)
    video = Video(environment, tmp_path / "videos" / "a.mp4")
    with pytest.raises(ValueError, match=r"no video: Clockwork has no picture"):
        video.watch(environment.reset())
    assert not (tmp_path / "videos").exists()


@needs_ffmpeg
@pytest.mark.parametrize(
    ("picture", "said"),
    [(None, "none"), (np.array(None), "none"), (np.zeros((4, 5)), r"an array \(4, 5\)"), ("text", "none")],
)
def test_a_render_that_gives_no_picture_is_refused_and_leaves_no_file(tmp_path, monkeypatch, picture, said):
    environment = Coloured(7)
    monkeypatch.setattr(environment, "render", lambda: picture)
    video = Video(environment, tmp_path / "videos" / "a.mp4")
    with pytest.raises(ValueError, match=rf"no video: the environment's render\(\) must .* it gave {said}$"):
        video.watch(environment.reset())
    assert not (tmp_path / "videos").exists()


@needs_ffmpeg
def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_played(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"cannot write a video to .*file/videos: give another folder by --out"):
        Video(Coloured(7), tmp_path / "file" / "videos" / "a.mp4")
    monkeypatch.setattr("os.access", lambda path, mode: False)  # root may write everywhere
    with pytest.raises(ValueError, match="cannot write a video"):
        Video(Coloured(7), tmp_path / "a.mp4")


def test_video_without_its_packages_is_refused_with_what_to_install(tmp_path, monkeypatch):
    real = builtins.__import__

    def lacking(name, *args, **kwargs):
        if name.startswith("imageio"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", lacking)
    with pytest.raises(ValueError, match=r'pip install "wnrl\[video\]"'):
        Video(Coloured(7), tmp_path / "videos" / "a.mp4")
    assert not (tmp_path / "videos").exists()
