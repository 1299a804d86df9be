"""wnrl.normalizers.layer_kinds: which layers can be normalized, and which of them make the outputs."""

import pytest
from torch import nn

from wnrl.initialization.weighted_layers import weighted_layers
from wnrl.networks.architecture import Architecture
from wnrl.networks.q_network import q_network
from wnrl.normalizers.layer_kinds import WEIGHT_NORM_LAYERS, is_dense, is_recurrent, output_modules, unknown_name
from wnrl.normalizers.normalize import normalize


def test_kinds():
    dense, recurrent, other = nn.Linear(2, 2), nn.GRUCell(2, 2), nn.LayerNorm(2)
    for norm in ("none", "weight"):
        network = normalize(nn.ModuleList([dense, recurrent, other]), norm)
        assert [is_dense(layer) for layer in network] == [True, False, False]
        assert [is_recurrent(layer) for layer in network] == [False, True, False]
    assert {kind.__name__ for kind in WEIGHT_NORM_LAYERS} == {
        "Linear",
        "Bilinear",
        *(f"Conv{t}{n}d" for t in ("", "Transpose") for n in (1, 2, 3)),
    }


@pytest.mark.parametrize("norm", ["none", "weight", "mean-batch", "projected"])
def test_output_layers_are_those_of_the_heads_or_the_last(norm):
    network = normalize(q_network((4,), 3, hidden=(8,), architecture=Architecture(dueling=True)), norm)
    outputs = output_modules(network)
    found = [layer.name for layer in weighted_layers(network) if layer.layer in outputs]
    assert found == ["head.value.2", "head.advantage.2"]
    plain = normalize(nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 2), nn.ReLU()), norm)
    assert [layer.name for layer in weighted_layers(plain) if layer.layer in output_modules(plain)] == ["2"]


@pytest.mark.parametrize("norm", ["none", "weight", "projected"])
def test_a_network_that_ends_with_a_recurrent_layer_has_no_output_layer(norm):
    network = normalize(nn.Sequential(nn.Linear(3, 3), nn.LSTM(3, 3)), norm)
    assert output_modules(network) == set()


def test_unknown_names_show_the_nearest():
    error = unknown_name("norm", "wieght", ["none", "weight", ""])
    assert str(error) == "unknown norm 'wieght' (nearest: weight); known: none, weight"
    assert str(unknown_name("norm", "xyz", ["weight"])) == "unknown norm 'xyz'; known: weight"
