"""agents.settings: the choices that wnrl has too, which the settings repeat since wnrl imports torch."""

from typing import get_args

import pytest

from agents.settings import dqn, learner, network
from wnrl.initialization.initialize import INITIALIZATIONS
from wnrl.networks import architecture
from wnrl.weight_norm import dense


@pytest.mark.parametrize(
    ("ours", "of_wnrl"),
    [
        (network.Units, dense.Units),
        (network.TorsoName, architecture.TorsoName),
        (network.Activation, architecture.Activation),
        (dqn.Distribution, architecture.Distribution),
    ],
)
def test_choices_are_those_of_wnrl(ours, of_wnrl):
    assert get_args(ours) == get_args(of_wnrl)


def test_initializations_are_those_of_wnrl():
    assert get_args(learner.Init) == INITIALIZATIONS
