"""agents.reports.normalizer_styles"""

import itertools

import numpy as np
import pytest
from rate_study import figure

from agents.reports.normalizer_styles import OTHER, STYLES, style_of
from agents.settings.network import NORMS

# Machado, Oliveira and Fernandes 2009, for linear RGB: total loss of one kind of cone.
SIGHT = {
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def linear(colour):
    rgb = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def lab(rgb):
    """CIE L*a*b* of linear sRGB."""
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ rgb.clip(0, 1)
    f = np.cbrt(xyz / [0.9505, 1, 1.089])
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def contrast(colour, ground):
    a, b = (float(linear(c) @ [0.2126, 0.7152, 0.0722]) + 0.05 for c in (colour, ground))
    return max(a, b) / min(a, b)


def test_every_normalizer_has_a_colour_and_a_marker_of_its_own():
    assert {*STYLES} == {*NORMS}
    styles = [*STYLES.values(), OTHER]
    assert len({style.colour for style in styles}) == len({style.marker for style in styles}) == len(styles)
    assert style_of("of my own") == OTHER


@pytest.mark.parametrize("sight", SIGHT)
def test_the_first_seven_can_be_told_apart(sight):
    """12 is five just noticeable differences."""
    seen = {norm: lab(np.array(SIGHT[sight]) @ linear(style.colour)) for norm, style in [*STYLES.items()][:7]}
    near = {
        pair: round(float(np.linalg.norm(seen[pair[0]] - seen[pair[1]])), 1) for pair in itertools.combinations(seen, 2)
    }
    assert {pair: distance for pair, distance in near.items() if distance < 12} == {}


def test_lines_are_seen_on_light_and_dark_grounds():
    for norm, style in STYLES.items():
        assert contrast(style.colour, "#ffffff") > 2.1, norm
        assert contrast(style.colour, "#16181c") > 2.9, norm


def test_the_study_of_learning_rates_has_the_same():
    assert figure.style_of is style_of
