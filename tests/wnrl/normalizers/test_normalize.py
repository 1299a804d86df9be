"""wnrl.normalizers.normalize: which layers a name takes, and what it puts in their places."""

import copy
import math
import pickle

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from tests.wnrl.normalizers.networks import images, make_network, step
from wnrl.normalizers.folding import fold, polyak
from wnrl.normalizers.normalize import NORMALIZERS, normalize
from wnrl.weight_norm.convolutions import WeightNormConv2d
from wnrl.weight_norm.dense import WeightNormLinear


@pytest.mark.parametrize("units", ["sqrt", "paper", "log"])
@pytest.mark.parametrize("norm", ["none", "weight", "mean-batch", "batch"])
def test_the_function_is_preserved_in_evaluation_mode(norm, units):
    network, x = make_network().eval(), images()
    expected = network(x)
    returned = normalize(network, norm, units=units)
    assert returned is network
    torch.testing.assert_close(network(x), expected)


# What stands for the convolution, the hidden and the output layer, by default and with the other choice for the output.
PLACEMENT = {
    "none": ("Conv2d", "Linear", "Linear", "Linear"),
    "weight": ("WeightNormConv2d", "WeightNormLinear", "WeightNormLinear", "Linear"),
    "mean-batch": ("MeanBatchNormalized", "MeanBatchNormalized", "WeightNormLinear", "Linear"),
    "batch": ("BatchNormalized", "BatchNormalized", "Linear", None),
    "layer": ("LayerNormalized", "LayerNormalized", "Linear", None),
    "projected": ("ProjectedLayer", "ProjectedLayer", "Linear", "ProjectedLayer"),
    "spectral": ("Conv2d", "SpectralNormalized", "Linear", "SpectralNormalized"),
}


@pytest.mark.parametrize("norm", NORMALIZERS)
def test_placement(norm):
    *default, other = PLACEMENT[norm]
    network = normalize(make_network(), norm)
    assert [type(network[i]).__name__ for i in (0, 4, 6)] == default
    choice = not NORMALIZERS[norm].normalize_output
    if other is None:
        with pytest.raises(ValueError, match="does not apply to output layers"):
            normalize(make_network(), norm, normalize_output=choice)
    else:
        network = normalize(make_network(), norm, normalize_output=choice)
        assert [type(network[i]).__name__ for i in (0, 4, 6)] == [*default[:2], other]


def test_heads_name_their_output_layers():
    class Actor(nn.Module):
        def __init__(self):
            super().__init__()
            self.policy, self.value, self.late = nn.Linear(4, 2), nn.Linear(4, 1), nn.Linear(4, 4)

        @property
        def output_layers(self):
            return self.policy, self.value

    network = normalize(Actor(), "weight", normalize_output=False)
    assert type(network.policy) is type(network.value) is nn.Linear
    assert type(network.late) is WeightNormLinear


def test_layers_by_name_and_by_predicate():
    network = normalize(make_network(), "weight", layers=["4"])
    assert [type(network[i]) for i in (0, 4, 6)] == [nn.Conv2d, WeightNormLinear, nn.Linear]
    network = normalize(make_network(), "weight", layers=lambda name, layer: isinstance(layer, nn.Conv2d))
    assert [type(network[i]) for i in (0, 4, 6)] == [WeightNormConv2d, nn.Linear, nn.Linear]
    network = normalize(make_network(), "spectral", layers=["0", "4"])  # more than the source's one layer
    assert [type(network[i]).__name__ for i in (0, 4, 6)] == ["SpectralNormalized", "SpectralNormalized", "Linear"]
    normalize(network, "weight", layers=["6"])  # another normalizer for another layer
    assert type(network[6]) is WeightNormLinear


def test_layers_that_cannot_be_taken():
    with pytest.raises(ValueError, match=r"unknown layer '44' \(nearest: 4\); known: 0, 1, 2, 3, 4, 5, 6"):
        normalize(make_network(), "weight", layers=["44"])
    with pytest.raises(ValueError, match="layer '1' is a BatchNorm2d and cannot be normalized: choose among Linear"):
        normalize(make_network(), "weight", layers=["1"])
    network = normalize(make_network(), "batch")
    with pytest.raises(ValueError, match=r"layer '4\.layer' is already normalized"):
        normalize(network, "weight", layers=["4.layer"])
    parametrized = make_network()
    weight_norm(parametrized[4])
    with pytest.raises(ValueError, match="layer '4' is parametrized: remove"):
        normalize(parametrized, "weight", layers=["4"])


@pytest.mark.parametrize("norm", NORMALIZERS)
@pytest.mark.parametrize("layers", [None, lambda name, layer: True, ["0"]], ids=["all", "predicate", "name"])
def test_layers_without_a_weight_are_refused_by_name(norm, layers):
    network = nn.Sequential(nn.LazyLinear(3), nn.Linear(3, 3), nn.Linear(3, 3))
    with pytest.raises(ValueError, match="layer '0' has no shape yet: call the network once first"):
        normalize(network, norm, layers=layers)
    network(torch.ones(1, 2))
    nn.utils.spectral_norm(network[0])  # by a hook; the layer's type stays
    with pytest.raises(ValueError, match="layer '0' is parametrized: remove"):
        normalize(network, norm, layers=layers)
    nn.utils.remove_spectral_norm(network[0])
    weight_norm(network[0])
    with pytest.raises(ValueError, match="layer '0' is parametrized: remove"):
        normalize(network, norm, layers=layers)


def test_a_named_layer_never_stays_plain_without_a_word():
    layers = {"body": nn.Linear(2, 2), "core": nn.LSTM(2, 2), "output": nn.Linear(2, 2)}
    for norm in ("batch", "layer", "projected", "spectral"):
        network = nn.ModuleDict(copy.deepcopy(layers))
        choice = "pass normalize_output=True, or " if norm in ("projected", "spectral") else ""
        with pytest.raises(ValueError, match=f"'{norm}' leaves layer 'output', an output layer, plain: {choice}leave"):
            normalize(network, norm, layers=["body", "output"])
        if norm != "projected":
            with pytest.raises(ValueError, match=f"'{norm}' leaves layer 'core', a recurrent layer, plain: leave it"):
                normalize(network, norm, layers=["body", "core"])
        assert type(network["body"]) is nn.Linear
        normalize(network, norm, layers=lambda name, layer: True)  # a predicate takes what can be taken
        assert type(network["body"]) is not nn.Linear


def test_one_name_need_not_be_in_a_list():
    network = normalize(nn.ModuleDict({"body": nn.Linear(2, 2), "output": nn.Linear(2, 2)}), "weight", layers="body")
    assert type(network["body"]) is WeightNormLinear
    assert type(network["output"]) is nn.Linear


@pytest.mark.parametrize("norm", NORMALIZERS)
def test_normalized_networks_train_copy_pickle_and_hold_floating_state(norm):
    network = normalize(make_network(), norm)
    before = copy.deepcopy(network)
    step(network)
    x = images()
    network.eval(), before.eval()
    assert not torch.allclose(network(x), before(x))
    twins = copy.deepcopy(network), pickle.loads(pickle.dumps(network))
    before.load_state_dict(network.state_dict())
    for twin in (*twins, before):
        assert torch.equal(twin(x), network(x))
    own = {name: entry for name, entry in network.state_dict().items() if not name.startswith("1.")}  # torch's own
    assert all(entry.is_floating_point() for entry in own.values())


@pytest.mark.parametrize(
    "kind", ["Linear", "Bilinear", *(f"Conv{t}{n}d" for t in ("", "Transpose") for n in (1, 2, 3))]
)
@pytest.mark.parametrize("norm", NORMALIZERS)
def test_every_normalizer_on_every_kind_of_layer(norm, kind):
    torch.manual_seed(0)
    sizes = (4, 3, 6) if kind == "Bilinear" else (4, 6) if kind == "Linear" else (4, 6, 2)
    plain = getattr(nn, kind)(*sizes)
    network = normalize(nn.ModuleList([plain, nn.Linear(1, 1)]), norm)
    dims = int(kind[-2]) if "Conv" in kind else 0
    inputs = [torch.randn(5, size, *[3] * dims) for size in sizes[: 2 if kind == "Bilinear" else 1]]
    y = network[0](*inputs)
    y.square().sum().backward()
    assert all(p.grad.isfinite().all() for p in network[0].parameters())
    network.eval()
    torch.testing.assert_close(fold(network)[0](*inputs), network[0](*inputs), rtol=1e-4, atol=1e-5)


def test_every_layer_is_converted_with_its_units():
    network = normalize(make_network(), "weight", units="paper")
    assert [type(network[i]) for i in (0, 4, 6)] == [WeightNormConv2d, WeightNormLinear, WeightNormLinear]
    assert all(network[i].units == "paper" for i in (0, 4, 6))
    assert "4.v" in dict(network.named_parameters())
    assert "4.weight" not in dict(network.named_parameters())


def test_none_changes_nothing():
    network = make_network()
    before = dict(network.named_modules())
    normalize(network, "none")
    assert dict(network.named_modules()) == before


def test_output_stays_plain_on_request():
    network = normalize(make_network(), "weight", normalize_output=False)
    assert type(network[4]) is WeightNormLinear
    assert type(network[6]) is nn.Linear


def test_a_single_layer_is_returned_normalized():
    layer = nn.Linear(3, 2)
    new = normalize(layer, "weight")
    assert type(new) is WeightNormLinear
    assert type(fold(new)) is nn.Linear
    torch.testing.assert_close(new(torch.ones(1, 3)), layer(torch.ones(1, 3)))


def test_a_shared_layer_stays_shared():
    shared = nn.Linear(4, 4)
    network = normalize(nn.Sequential(shared, nn.Tanh(), shared, nn.Sequential(shared)), "weight")
    assert network[0] is network[2] is network[3][0]
    folded = fold(network)
    assert folded[0] is folded[2] is folded[3][0]
    assert type(folded[0]) is nn.Linear
    with torch.no_grad():
        network[0].g.mul_(2)
    half = copy.deepcopy(folded)
    polyak(half, network, 0.5)  # once, not once per place
    torch.testing.assert_close(half[0].weight, 1.5 * folded[0].weight)


def test_a_shared_layer_goes_by_any_of_its_names():
    shared = nn.Linear(4, 4)
    network = normalize(nn.Sequential(shared, nn.Tanh(), shared, nn.Linear(4, 4)), "weight", layers=["2"])
    assert network[0] is network[2]
    assert [type(network[i]) for i in (0, 3)] == [WeightNormLinear, nn.Linear]


def test_subclasses_keep_their_own_forward():
    class Doubled(nn.Linear):
        def forward(self, x):
            return 2 * super().forward(x)

    network = normalize(nn.Sequential(Doubled(3, 3), nn.Linear(3, 2)), "weight")
    assert type(network[0]) is Doubled


@pytest.mark.parametrize("norm", NORMALIZERS)
def test_what_is_frozen_stays_frozen(norm):
    network = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 2))
    network[0].requires_grad_(False)
    normalize(network, norm)
    for layers in (network, fold(network)):
        assert not any(parameter.requires_grad for parameter in layers[0].parameters())
        assert all(parameter.requires_grad for parameter in layers[2].parameters())


@pytest.mark.parametrize("norm", ["weight", "mean-batch"])
@pytest.mark.parametrize(
    "register", ["forward_hook", "forward_pre_hook", "full_backward_hook", "full_backward_pre_hook"]
)
def test_hooks_are_not_lost_without_a_word(norm, register):
    network = make_network()
    getattr(network[4], f"register_{register}")(lambda *arguments: None)
    with pytest.raises(ValueError, match="carries hooks that would be lost"):
        normalize(network, norm)


@pytest.mark.parametrize("norm", [norm for norm in NORMALIZERS if norm != "layer"])
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_resetting_every_module_gives_a_new_layer(norm, device):
    def reset(module):
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()

    with torch.device(device):
        network = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
    normalize(network, norm).to_empty(device="cpu")
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(7.0)
        for buffer in network.buffers():
            buffer.fill_(3.0)
    layer = fold(network.apply(reset))[0]
    assert layer.bias.abs().max() < 1 / math.sqrt(8)
    if norm == "projected":
        torch.testing.assert_close(layer.weight.norm(dim=1), torch.ones(16))
    elif norm == "spectral":
        torch.testing.assert_close(torch.linalg.matrix_norm(layer.weight, 2), torch.tensor(1.0), rtol=1e-3, atol=0)
    else:
        assert layer.weight.abs().max() < 1.001 / math.sqrt(8)  # as torch draws it


def test_unknown_name_lists_the_nearest():
    with pytest.raises(ValueError, match=r"'wieght' \(nearest: weight\); known: none, weight, mean-batch, batch, "):
        normalize(make_network(), "wieght")


@pytest.mark.parametrize("norm", NORMALIZERS)
def test_normalizing_twice_names_the_layer(norm):
    network = normalize(nn.ModuleDict({"body": make_network()}), "weight")
    with pytest.raises(ValueError, match=r"'body\.0' is already normalized"):
        normalize(network, norm)


def test_nothing_to_normalize():
    with pytest.raises(ValueError, match="no layer to normalize"):
        normalize(nn.Sequential(nn.ReLU()), "weight")
    with pytest.raises(ValueError, match="a hidden one"):
        normalize(nn.Sequential(nn.Linear(1, 1)), "weight", normalize_output=False)


def test_tied_parameters_are_refused_and_the_network_left_alone():
    network = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    network[1].weight = network[0].weight
    with pytest.raises(ValueError, match="'0' is tied"):
        normalize(network, "weight")
    assert type(network[0]) is type(network[1]) is nn.Linear
