"""Bars for the numbers that a network gives for each action, as a panel beside a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from agents.watching.action_values import ActionValues

BACKGROUND, TEXT, LINE = (24, 24, 28), (235, 235, 235), (110, 110, 120)
BAR, CHOSEN = (70, 130, 200), (240, 140, 40)
"""Colours of the bars, and of that of the action that is taken."""
GAP = 6
"""Pixels between columns."""
LEAST_ROW = 10
"""Height in pixels of the lowest row that can be read."""


class Bars:
    """Draws a row for each action: its name, a bar from 0, and the number.

    Bars are proportional to the numbers. Where these have no range of their own, the axis spans 0 and all numbers so
    far, so that it does not change with every picture. Numbers that are not finite do not change it either: ±inf has a
    bar as long as the axis, NaN has none.

    Args:
        names: of the actions, or numbers that they stand for; where there are fewer, the others have their indices.

    Raises:
        ValueError: Pillow, which draws the text, is not installed.
    """

    def __init__(self, names: Sequence[object] = ()) -> None:
        try:
            from PIL import Image, ImageDraw, ImageFont
        except ImportError as error:
            raise ValueError('values are drawn by Pillow: pip install "wnrl[video]"') from error
        self._image, self._draw, self._font = Image, ImageDraw, ImageFont
        self._names = [str(name) for name in names]
        self._low, self._high = 0.0, 0.0  # of all numbers so far

    def draw(self, values: ActionValues, chosen: int | None, height: int) -> np.ndarray:
        """The panel, `[height, W, 3]` uint8, with W even.

        Args:
            values: of the actions. Where there are more of them than rows that can be read, those with the highest
                numbers are shown.
            chosen: the action that is taken; None for none, as where actions are continuous.
            height: in pixels.
        """
        row = max(LEAST_ROW, min(height // (len(values.numbers) + 2), 26))
        font: Any = self._font.load_default(size=max(row * 0.62, 8))
        rows = self._rows(values, max(height // row - 2, 1))
        panel = self._image.new("RGB", (width_of(height), height), BACKGROUND)
        draw = self._draw.Draw(panel)
        draw.text((GAP, row * 0.5), values.title, font=font, fill=TEXT, anchor="lm")
        low, high = self._axis(values)
        digits = decimals(high - low)
        labels = [(self._name(index), f"{values.numbers[index]:.{digits}f}") for index in rows]
        left = GAP * 2 + max(draw.textlength(name, font=font) for name, _ in labels)
        ends = [draw.textlength(f"{end:.{digits}f}", font=font) for end in (low, high)]
        right = panel.width - GAP * 2 - max(ends)
        zero = along(0.0, low, high, left, right)
        for place, (index, (name, number)) in enumerate(zip(rows, labels, strict=True), start=1):
            middle, end = row * (place + 0.5), along(float(values.numbers[index]), low, high, left, right)
            colour = CHOSEN if index == chosen else BAR
            if round(end) != round(zero):
                first, last = sorted((round(zero), round(end)))
                draw.rectangle((first, middle - row * 0.32, last - 1, middle + row * 0.32), fill=colour)
            draw.text((GAP, middle), name, font=font, fill=CHOSEN if index == chosen else TEXT, anchor="lm")
            draw.text((panel.width - GAP, middle), number, font=font, fill=TEXT, anchor="rm")
        draw.line((zero, row, zero, row * (len(rows) + 1)), fill=LINE)
        if len(rows) < len(values.numbers):
            more = f"and {len(values.numbers) - len(rows)} more"
            draw.text((GAP, row * (len(rows) + 1.5)), more, font=font, fill=TEXT, anchor="lm")
        return np.array(panel)

    def _rows(self, values: ActionValues, most: int) -> list[int]:
        """The actions that are shown, in their order."""
        if len(values.numbers) <= most:
            return list(range(len(values.numbers)))
        return sorted(np.argsort(-values.numbers, kind="stable")[:most].tolist())

    def _name(self, index: int) -> str:
        return self._names[index] if index < len(self._names) else str(index)

    def _axis(self, values: ActionValues) -> tuple[float, float]:
        if not np.isnan(values.low):
            return values.low, values.high
        finite = values.numbers[np.isfinite(values.numbers)]
        self._low = float(finite.min(initial=self._low))
        self._high = float(finite.max(initial=self._high))
        return self._low, self._high


def along(number: float, low: float, high: float, left: float, right: float) -> float:
    """Where a number lies between `left` and `right`, in pixels, on an axis from `low` to `high`; NaN lies at 0."""
    held = min(max(0.0 if math.isnan(number) else number, low), high)
    return left + (right - left) * ((held - low) / (high - low) if high > low else 0.0)


def decimals(span: float) -> int:
    """Decimal places of numbers on an axis that long: four digits of its length, at most three of them decimals."""
    return 3 if span <= 0 else min(max(3 - math.floor(math.log10(span)), 0), 3)


def width_of(height: int) -> int:
    """Width of a panel of that height."""
    return 260 if height >= 300 else 200
