"""wnrl.weight_norm.several_weights: what recurrent layers and attention share, on a layer of two matrices."""

import pytest
import torch

from wnrl.weight_norm.attention import WeightNormMultiheadAttention
from wnrl.weight_norm.recurrent import WeightNormLSTMCell
from wnrl.weight_norm.several_weights import SeveralWeights

MAKE = {
    "cell": lambda: WeightNormLSTMCell(3, 4),
    "attention": lambda: WeightNormMultiheadAttention(4, 2, kdim=3, vdim=5),
}


@pytest.fixture(params=MAKE)
def layer(request):
    return MAKE[request.param]()


def weights(layer):
    return {name: layer.effective_weight(name) for name in layer.weight_names}


def test_layers_with_several_weights_are_of_this_class(layer):
    assert isinstance(layer, SeveralWeights)
    assert len(layer.weight_names) > 1


def test_a_weight_is_set_in_place_and_the_others_stay(layer):
    first, *others = layer.weight_names
    held, before = (
        dict(layer.named_parameters()),
        {name: weight.detach().clone() for name, weight in weights(layer).items()},
    )
    new = torch.randn_like(before[first])
    layer.set_weight(first, new)
    torch.testing.assert_close(layer.effective_weight(first), new)
    assert all(torch.equal(layer.effective_weight(name), before[name]) for name in others)
    assert all(parameter is held[name] for name, parameter in layer.named_parameters())


def test_the_computed_weights_are_the_effective_ones_by_name(layer):
    computed = layer.computed_weights()
    assert list(computed) == list(layer.weight_names)
    assert all(weight.requires_grad for weight in computed.values())
    torch.testing.assert_close(computed, weights(layer))


def test_without_gradients_they_are_kept_until_g_or_v_changes(layer):
    name = layer.weight_names[0]
    with torch.no_grad():
        first, again = layer.computed_weights(), layer.computed_weights()
        assert first[name] is again[name]
        expected = 2 * first[name]
        layer.set_weight(name, expected.clone())
        torch.testing.assert_close(layer.computed_weights()[name], expected)


def test_a_twin_shares_the_parameters_and_is_its_own_twin(layer):
    twin = layer.with_weights_computed()
    assert type(twin) is type(layer)
    assert twin is not layer
    assert [*map(id, twin.parameters())] == [*map(id, layer.parameters())]
    assert twin.with_weights_computed() is twin
    assert layer.with_weights_computed() is not twin
