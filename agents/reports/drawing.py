"""How a figure becomes files: themes, fonts, formats."""

from __future__ import annotations

import importlib.util
import io
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH, HEIGHT = 4.8, 3.5
"""Inches: text of 9 points can be read on a telephone."""


class Theme(NamedTuple):
    """Colours of what is not data."""

    text: str
    grid: str
    ground: str


LIGHT = Theme("#1c1e21", "#d9dce1", "#fefefe")
DARK = Theme("#e4e6ea", "#3a3f47", "#16181c")
"""No other part of a figure has one of these colours."""


class Drawn(NamedTuple):
    """A figure as files."""

    name: str
    """Of its files."""
    description: str
    """For those who cannot see it."""
    height: float
    """Inches."""
    png: bytes
    svg: bytes
    dark_svg: bytes


class Chart(NamedTuple):
    """A figure that can be drawn."""

    name: str
    description: str
    height: float
    paint: Callable[[Axes], None]

    def drawn(self) -> Drawn:
        """The figure in its formats and themes."""
        import matplotlib
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        png, svg = io.BytesIO(), io.BytesIO()
        with matplotlib.rc_context(_rc(LIGHT)), warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from")  # the page has the name in its fonts
            figure = Figure(figsize=(WIDTH, self.height), layout="constrained")
            FigureCanvasAgg(figure)
            self.paint(figure.subplots())
            figure.savefig(svg, format="svg", metadata={"Date": None})
            figure.set_layout_engine("none")  # it is laid out
            figure.savefig(png, format="png", dpi=200)
        dark = svg.getvalue().decode()
        for light_colour, dark_colour in zip(LIGHT, DARK, strict=True):
            dark = dark.replace(light_colour, dark_colour)
        return Drawn(self.name, self.description, self.height, png.getvalue(), svg.getvalue(), dark.encode())


def check_drawing() -> None:
    """Check for what draws and computes, before runs are read.

    Raises:
        ValueError: it is not installed.
    """
    if missing := [name for name in ("matplotlib", "scipy") if importlib.util.find_spec(name) is None]:
        raise ValueError(f'a report needs {" and ".join(missing)}: pip install "wnrl[report]"')


def _rc(theme: Theme) -> dict[Any, Any]:
    names = ("text.color", "axes.labelcolor", "xtick.color", "ytick.color", "axes.edgecolor")
    return dict.fromkeys(names, theme.text) | {
        "figure.facecolor": theme.ground,
        "axes.facecolor": theme.ground,
        "savefig.facecolor": theme.ground,
        "axes.grid": True,
        "grid.color": theme.grid,
        "grid.linewidth": 0.6,
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": 10,
        "axes.titlelocation": "left",
        "font.size": 9,
        "legend.frameon": False,
        "text.parse_math": False,  # a dollar sign in a name is one
        "svg.hashsalt": "wnrl",
    }


def file_name(text: str) -> str:
    """The text with what files are not named by replaced, of 100 bytes at most."""
    name = "".join(letter if letter.isalnum() or letter in "-+." else "-" for letter in text).strip(".-")
    return name.encode()[:100].decode(errors="ignore")
