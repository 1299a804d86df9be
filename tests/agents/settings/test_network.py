"""agents.settings: the choices that wnrl has too, which the settings repeat since wnrl imports torch."""

import re
from typing import get_args

import pytest

from agents.settings import dqn, learner, network
from wnrl.initialization.initialize import INITIALIZATIONS
from wnrl.networks import architecture
from wnrl.normalizers.conversions import NORMALIZERS
from wnrl.weight_norm import units


@pytest.mark.parametrize(
    ("ours", "of_wnrl"),
    [
        (network.TorsoName, architecture.TorsoName),
        (network.NormLayers, architecture.NormLayers),
        (network.Activation, architecture.Activation),
        (dqn.Distribution, architecture.Distribution),
    ],
)
def test_choices_are_those_of_wnrl(ours, of_wnrl):
    assert get_args(ours) == get_args(of_wnrl)


def test_units_are_those_of_wnrl_and_auto():
    assert get_args(network.Units) == ("auto", *get_args(units.Units))


def test_normalizers_are_those_of_wnrl_and_the_help_names_each():
    assert tuple(NORMALIZERS) == network.NORMS
    (options,) = get_args(network.Norm)[1:]
    assert all(re.search(rf"[ ,]{re.escape(norm)}[,. ]", options.help) for norm in NORMALIZERS)


def test_initializations_are_those_of_wnrl():
    assert get_args(learner.Init) == INITIALIZATIONS
