"""wnrl.sb3.space_description: the same spaces have the same description, and others have others."""

import json

import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Text, Tuple

from wnrl.sb3.space_description import describe_space

LOW = np.zeros((40, 40), np.float32)
OTHER = LOW.copy()
OTHER[20, 20] = -1.0
BOX = Box(LOW, LOW + 2, dtype=np.float32)
DIFFERENT = [
    BOX,
    Box(OTHER, LOW + 2, dtype=np.float32),
    Box(LOW, OTHER + 3, dtype=np.float32),
    Box(0, 2, (1600,), np.float32),
    Box(0, 2, (40, 40), np.float64),
    Box(0, 255, (2,), np.uint8),
    Discrete(4),
    Discrete(4, start=1),
    Discrete(5),
    MultiDiscrete([2, 3]),
    MultiDiscrete([3, 2]),
    MultiDiscrete([[2, 3]]),
    MultiBinary(4),
    MultiBinary([2, 2]),
    Text(4),
    Text(5),
    Tuple([Discrete(4), BOX]),
    Tuple([BOX, Discrete(4)]),
    Dict({"a": BOX}),
    Dict({"b": BOX}),
    Dict({"a": Tuple([BOX, Discrete(4)]), "b": Discrete(4)}),
    Dict({"a": Tuple([Box(OTHER, LOW + 2, dtype=np.float32), Discrete(4)]), "b": Discrete(4)}),
]


def test_different_spaces_have_different_descriptions_which_json_holds():
    texts = [json.dumps(describe_space(space)) for space in DIFFERENT]
    assert len({*texts}) == len(texts)
    assert [json.loads(text) for text in texts] == [describe_space(space) for space in DIFFERENT]


@pytest.mark.parametrize("options", [{"precision": 2}, {"edgeitems": 1}, {"threshold": 10**6, "linewidth": 400}])
def test_print_options_do_not_matter(options):
    def space():
        low = np.linspace(0, 1, 2000, dtype=np.float32) / 3
        return Dict({"a": Box(low, low + 5), "b": MultiDiscrete([2] * 2000)})

    expected, text = describe_space(space()), str(space())
    with np.printoptions(**options):
        assert str(space()) != text
        assert describe_space(space()) == expected


def test_zero_has_one_sign():
    assert describe_space(Box(-0.0, 1.0, (2,))) == describe_space(Box(0.0, 1.0, (2,)))
