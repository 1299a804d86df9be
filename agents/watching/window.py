"""A window that shows pictures at their pace, with keys to pause, step, change the speed and quit."""

from __future__ import annotations

import math
import os
import sys
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np

from agents.watching.picture import Size

KEYS = "space: pause, N: one step, + and -: faster and slower, Q: quit"
SPEEDS = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, math.inf)
"""What the keys choose from; inf: as fast as the policy plays."""
DRAWN = 60
"""Pictures a second that are drawn at most, so that drawing does not slow down a fast game."""
SIZE = Size(400, 1_200)
"""Bounds of an environment's picture in a window."""
NAP = 0.02
"""Seconds between looks at the keys while nothing is due."""


def check_display() -> None:
    """Raise ValueError where a window cannot be opened: pygame or a display is missing."""
    if find_spec("pygame") is None:
        raise ValueError('a window needs pygame: pip install "wnrl[video]"')
    shown = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY") or os.environ.get("SDL_VIDEODRIVER")
    if sys.platform == "linux" and not shown:
        raise ValueError(
            "there is no display: neither DISPLAY nor WAYLAND_DISPLAY is set. Use ssh -X, or write a video: "
            "wnrl evaluate RUN --video game.gif"
        )


class Window:
    """A `Screen` on the desktop.

    Args:
        title: begins its caption.
        fps: pictures a second at speed 1.
        speed: factor on them; inf: as fast as the policy plays.
        clock: gives the time in seconds.
        sleep: waits for so many seconds.

    Attributes:
        speed: as it is now.
        paused: whether it waits for a key.
        closed: whether it was closed, by the key or the mouse.

    Raises:
        ValueError: a window cannot be opened.
    """

    def __init__(
        self,
        title: str,
        fps: float,
        speed: float = 1.0,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        check_display()
        if sys.platform == "linux" and not os.environ.get("WAYLAND_DISPLAY"):
            os.environ.setdefault("SDL_VIDEODRIVER", "x11")  # else SDL tries all others, and draws where nobody looks
        os.environ.setdefault("SDL_NO_SIGNAL_HANDLERS", "1")  # else SIGTERM is a closed window, and the exit code 0
        import pygame

        self._pygame: Any = pygame
        self._title, self._fps, self.speed = title, fps, speed
        self._clock, self._sleep = clock, sleep
        self.paused, self.closed, self._step = False, False, False
        self._since, self._drawn = clock(), -math.inf  # when this picture was due, and when the last one was drawn
        self._picture: np.ndarray | None = None  # this one, once it is drawn
        self._text, self._caption = "", ""
        try:
            pygame.display.init()
        except pygame.error as error:
            raise ValueError(f"there is no display that can be opened: {error}") from error
        self._surface: Any = None

    def show(self, picture: Callable[[], np.ndarray], text: str = "") -> None:
        """Show the next picture when it is due, and return; while it is paused, when a key says so.

        Raises:
            ValueError: a window cannot be opened.
        """
        if self.closed:
            return
        self._text, self._step, self._picture = text, False, None
        if self.speed <= 1 or self._clock() - self._drawn >= 1 / DRAWN:
            self._draw(picture())
        self._look()
        while not self.closed and not self._step and (self.paused or self._left > 0):
            if self.paused and self._picture is None:
                self._draw(picture())
            self._sleep(NAP if self.paused else min(NAP, max(self._left, 0.0)))
            self._look()
        late = -self._left > self._period
        self._since = self._clock() if late or self._step else self._since + self._period

    def close(self) -> None:
        """Close the window."""
        self.closed = True
        self._pygame.display.quit()

    @property
    def _period(self) -> float:
        """Seconds from one picture to the next."""
        return 1 / (self._fps * self.speed)

    @property
    def _left(self) -> float:
        """Seconds until the next picture is due."""
        return self._since + self._period - self._clock()

    def _draw(self, picture: np.ndarray) -> None:
        """Put a picture `[H, W, 3]` into the window, as large as fits."""
        pygame, (height, width) = self._pygame, picture.shape[:2]
        self._picture = picture
        if self._surface is None:
            try:
                pygame.display.set_mode((width, height), pygame.RESIZABLE)
            except pygame.error as error:
                raise ValueError(f"there is no display that can be opened: {error}") from error
        self._surface = surface = pygame.display.get_surface()
        wide, high = surface.get_size()
        factor = min(wide / width, high / height)
        size = max(round(width * factor), 1), max(round(height * factor), 1)
        image = pygame.surfarray.make_surface(picture.swapaxes(0, 1))
        surface.fill((0, 0, 0))
        surface.blit(pygame.transform.scale(image, size), ((wide - size[0]) // 2, (high - size[1]) // 2))
        pygame.display.flip()
        self._drawn = self._clock()

    def _look(self) -> None:
        """Do what the keys say."""
        pygame = self._pygame
        for event in pygame.event.get() if pygame.display.get_init() else []:
            if event.type == pygame.QUIT:
                self.closed = True
            elif event.type == pygame.KEYDOWN:
                self._press(event.key)
            elif event.type in (pygame.VIDEORESIZE, pygame.WINDOWEXPOSED) and self._picture is not None:
                self._draw(self._picture)
        speed = "max" if self.speed == math.inf else f"{self.speed:g}"
        state = "paused" if self.paused else f"speed {speed}"
        caption = f"{self._title} | {self._text} | {state} | {KEYS}"
        if caption != self._caption and pygame.display.get_init():
            pygame.display.set_caption(caption)
            self._caption = caption

    def _press(self, key: int) -> None:
        pygame = self._pygame
        if key in (pygame.K_q, pygame.K_ESCAPE):
            self.closed = True
        elif key == pygame.K_SPACE:
            self.paused = not self.paused
        elif key in (pygame.K_n, pygame.K_RIGHT):
            self.paused = self._step = True
        elif key in (pygame.K_PLUS, pygame.K_EQUALS, pygame.K_KP_PLUS, pygame.K_UP):
            self.speed = SPEEDS[min(bisect_right(SPEEDS, self.speed), len(SPEEDS) - 1)]
        elif key in (pygame.K_MINUS, pygame.K_KP_MINUS, pygame.K_DOWN):
            self.speed = min(SPEEDS[max(bisect_left(SPEEDS, self.speed) - 1, 0)], self.speed)
