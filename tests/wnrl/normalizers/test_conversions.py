"""wnrl.normalizers.conversions: which layers each normalizer converts, and into what."""

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from tests.wnrl.normalizers.networks import kinds, make_network
from wnrl.normalizers.conversions import NORMALIZERS, Options
from wnrl.normalizers.normalize import normalize
from wnrl.weight_norm.weight_norm_layer import WeightNormLayer

# Of the convolution, the hidden and the output layer, by default and with the other choice for the output.
PLACEMENT = {
    "none": ("", "", "", ""),
    "weight": ("WeightNorm", "WeightNorm", "WeightNorm", ""),
    "mean-batch": ("MeanBatchnormWeightNorm", "MeanBatchnormWeightNorm", "WeightNorm", ""),
    "batch": ("Batchnorm", "Batchnorm", "", None),
    "layer": ("Layernorm", "Layernorm", "", None),
    "layer-channels": ("ChannelLayernorm", "ChannelLayernorm", "", None),
    "projected": ("Projected", "Projected", "", "Projected"),
    "layer+projected": ("LayernormProjected", "LayernormProjected", "", None),
    "batch+projected": (*["BatchnormProjected"] * 2, "", "Projected"),
    "spectral": ("", "SpectralNorm", "", "SpectralNorm"),
    "weight-clip": ("WeightClipped", "WeightClipped", "WeightClipped", ""),
}


@pytest.mark.parametrize("norm", NORMALIZERS)
def test_placement(norm):
    *default, other = PLACEMENT[norm]
    assert kinds(normalize(make_network(), norm)) == default
    choice = not NORMALIZERS[norm].normalize_output
    if other is None:
        with pytest.raises(ValueError, match="does not apply to output layers"):
            normalize(make_network(), norm, normalize_output=choice)
    else:
        network = normalize(make_network(), norm, normalize_output=choice)
        assert kinds(network) == [*default[:2], other]


class ActorCritic(nn.Module):
    """A policy and a value on one hidden layer."""

    def __init__(self):
        super().__init__()
        self.hidden, self.policy, self.value = nn.Linear(3, 4), nn.Sequential(nn.Linear(4, 2)), nn.Linear(4, 1)
        self.output_layers = (self.policy, self.value)
        self.policy_layers = (self.policy,)


@pytest.mark.parametrize("norm", NORMALIZERS)
def test_policy_layers_stay_plain_by_default_under_weight_norm_alone(norm):
    normalizer = NORMALIZERS[norm]
    assert normalizer.plain_policy == (norm in ("weight", "mean-batch"))
    net = normalize(ActorCritic(), norm)
    assert (type(net.value) is nn.Linear) == (not normalizer.normalize_output)
    assert (type(net.policy[0]) is nn.Linear) == (not normalizer.normalize_output or normalizer.plain_policy)
    if normalizer.output is not None:
        assert type(normalize(ActorCritic(), norm, normalize_output=True).policy[0]) is not nn.Linear
    if normalizer.plain_policy:
        assert type(normalize(ActorCritic(), norm, layers=["policy.0"]).policy[0]) is not nn.Linear
        chosen = normalize(ActorCritic(), norm, layers=lambda name, layer: True)
        assert type(chosen.policy[0]) is nn.Linear  # a predicate chooses among those that are converted by default


def test_a_conversion_is_in_place_and_with_its_options():
    layer = nn.Linear(3, 2)
    weight = layer.weight
    assert NORMALIZERS["weight"].hidden(layer, Options(units="sqrt", ballast=0.5)) is layer
    assert isinstance(layer, WeightNormLayer)
    assert layer.units == "sqrt"
    assert layer.v is weight
    assert torch.equal(layer.v, weight)


@pytest.mark.parametrize("norm", ["mean-batch", "batch", "batch+projected"])
def test_a_pruned_bias_is_refused_where_the_normalization_would_take_it(norm):
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    prune.random_unstructured(network[0], "bias", 0.5)
    with pytest.raises(ValueError, match=r"bias of a Linear is not a parameter.*remove its pruning"):
        normalize(network, norm, layers=["0"])
    assert type(network[0]) is nn.Linear
    normalize(network, "weight")(torch.randn(5, 3))


def test_complex_weights_have_no_spectral_norm():
    network = nn.Sequential(nn.Linear(3, 4, dtype=torch.complex64), nn.Linear(4, 2, dtype=torch.complex64))
    with pytest.raises(ValueError, match="weight of a Linear is complex, and 'spectral' takes real ones"):
        normalize(network, "spectral", layers=["0"])
