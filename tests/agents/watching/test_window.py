import math
import sys
from importlib.util import find_spec

import numpy as np
import pytest

from agents.watching import window as module
from agents.watching.window import DRAWN, KEYS, SPEEDS, Window, check_display

needs_pygame = pytest.mark.skipif(find_spec("pygame") is None, reason="needs pygame, which opens windows")
PICTURE = np.random.default_rng(0).integers(0, 256, (30, 40, 3)).astype(np.uint8)


class Clock:
    """Time that passes in sleep alone, in which keys are pressed when they are due."""

    def __init__(self):
        self.now, self.keys = 0.0, []

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        assert seconds >= 0
        self.now += max(seconds, 1e-4)
        for due, key in [press for press in self.keys if press[0] <= self.now]:
            press(key)
            self.keys.remove((due, key))
        assert self.now < 1_000, "it waits for ever"


def press(key):
    import pygame

    pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=getattr(pygame, f"K_{key}")))


@pytest.fixture(autouse=True)
def _in_memory(monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def window(clock):
    made = Window("Breakout", 10, clock=clock, sleep=clock.sleep)
    yield made
    made.close()


def shown():
    import pygame

    return pygame.surfarray.array3d(pygame.display.get_surface()).swapaxes(0, 1)


@needs_pygame
def test_pictures_are_shown_as_they_are(window):
    window.show(lambda: PICTURE)
    assert (shown() == PICTURE).all()
    window.show(lambda: PICTURE[::-1])
    assert (shown() == PICTURE[::-1]).all()


@needs_pygame
def test_a_picture_of_another_size_fills_the_window(window):
    window.show(lambda: PICTURE)
    window.show(lambda: np.full((10, 10, 3), 200, np.uint8))  # 30 × 30, in the middle
    assert (shown()[:, 5:35] == 200).all()
    assert not shown()[:, :5].any()
    assert not shown()[:, 35:].any()


@needs_pygame
@pytest.mark.parametrize(("speed", "seconds"), [(1.0, 2.0), (0.25, 8.0), (4.0, 0.5), (math.inf, 0.0)])
def test_the_pace_is_that_of_the_game_times_the_speed(clock, window, speed, seconds):
    window.speed = speed
    for _ in range(20):
        window.show(lambda: PICTURE)
    assert clock.now == pytest.approx(seconds, abs=0.01)


@needs_pygame
def test_time_that_the_policy_takes_is_not_added(clock, window):
    for _ in range(20):
        clock.now += 0.05
        window.show(lambda: PICTURE)
    assert clock.now == pytest.approx(2.0, abs=0.01)
    clock.now += 5  # a long pause is not caught up
    window.show(lambda: PICTURE)
    before = clock.now
    window.show(lambda: PICTURE)
    assert clock.now - before == pytest.approx(0.1, abs=0.01)


@needs_pygame
def test_fast_games_are_drawn_at_the_pace_of_a_screen(clock, window):
    made = []
    window.speed = 16.0
    for _ in range(320):
        window.show(lambda: made.append(None) or PICTURE)
    assert clock.now == pytest.approx(2.0, abs=0.01)
    assert len(made) <= 2 * DRAWN + 1
    assert len(made) > DRAWN


@needs_pygame
def test_space_pauses_and_goes_on(clock, window):
    press("SPACE")
    clock.keys = [(7.0, "SPACE")]
    window.show(lambda: PICTURE)
    assert clock.now == pytest.approx(7.0, abs=0.05)
    assert not window.paused
    window.show(lambda: PICTURE)
    assert clock.now == pytest.approx(7.1, abs=0.05)


@needs_pygame
@pytest.mark.parametrize("key", ["n", "RIGHT"])
def test_steps_are_made_one_by_one(clock, window, key):
    press("SPACE")
    clock.keys = [(3.0, key), (6.0, key)]
    ends = []
    for _ in range(2):
        window.show(lambda: PICTURE)
        ends.append(clock.now)
    assert ends == pytest.approx([3.0, 6.0], abs=0.05)
    assert window.paused


@needs_pygame
def test_a_step_pauses_a_game_and_what_is_paused_is_drawn(clock, window):
    window.speed = math.inf
    window.show(lambda: PICTURE)
    press("n")
    window.show(lambda: PICTURE)
    assert window.paused
    clock.keys = [(1.0, "n")]
    window.show(lambda: PICTURE[::-1])  # too early for a fast game
    assert (shown() == PICTURE[::-1]).all()


@needs_pygame
def test_faster_and_slower(clock, window):
    seen = []
    for key in ("PLUS", "EQUALS", "UP", "KP_PLUS", "PLUS", "PLUS", "MINUS", "DOWN", "KP_MINUS", *["MINUS"] * 9):
        press(key)
        window.show(lambda: PICTURE)
        seen.append(window.speed)
    assert seen[:9] == [2, 4, 8, 16, math.inf, math.inf, 16, 8, 4]
    assert seen[-1] == SPEEDS[0]
    window.speed = 3.0
    press("PLUS")
    window.show(lambda: PICTURE)
    assert window.speed == 4


@needs_pygame
@pytest.mark.parametrize(("speed", "key", "then"), [(0.01, "MINUS", 0.01), (0.01, "PLUS", 0.125), (100.0, "MINUS", 16)])
def test_a_speed_beyond_those_of_the_keys_goes_the_way_of_the_key(clock, window, speed, key, then):
    clock.keys = [(0.0, "q")]  # the picture would be shown for 10 seconds
    window.speed = speed
    press(key)
    window.show(lambda: PICTURE)
    assert window.speed == then


@needs_pygame
@pytest.mark.parametrize("key", ["q", "ESCAPE", None])
def test_it_closes(clock, window, key):
    import pygame

    window.paused = True  # it closes from there too
    if key is None:
        pygame.event.post(pygame.event.Event(pygame.QUIT))
    else:
        press(key)
    window.show(lambda: PICTURE)
    assert window.closed
    window.show(lambda: pytest.fail("a picture for a closed window"))


@needs_pygame
def test_the_caption_names_the_keys(clock, window):
    import pygame

    window.show(lambda: PICTURE, "game 2, score 7")
    assert pygame.display.get_caption()[0] == f"Breakout | game 2, score 7 | speed 1 | {KEYS}"
    press("UP")
    press("SPACE")
    clock.keys = [(1.0, "q")]
    window.show(lambda: PICTURE)
    assert "| paused |" in pygame.display.get_caption()[0]


def test_a_machine_without_a_display_says_so(monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda name: name)
    monkeypatch.setattr(sys, "platform", "linux")
    check_display()
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ValueError, match=r"there is no display: .* wnrl evaluate RUN --video game\.gif"):
        check_display()
    with monkeypatch.context() as patch:
        patch.setenv("DISPLAY", ":0")
        check_display()
    monkeypatch.setattr(sys, "platform", "darwin")
    check_display()


def test_a_window_without_its_package_is_refused_with_what_to_install(monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r'a window needs pygame: pip install "wnrl\[video\]"'):
        Window("Pong", 15)


@needs_pygame
def test_a_display_that_cannot_be_opened_is_one_line(monkeypatch):
    import pygame

    pygame.display.quit()
    monkeypatch.setenv("SDL_VIDEODRIVER", "nonsense")
    with pytest.raises(ValueError, match=r"there is no display that can be opened: .*not available"):
        Window("Pong", 15)
