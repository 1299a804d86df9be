"""wnrl.normalizers.normalize: which layers a name converts, into what, and that they stay the same objects."""

import copy
import math
import pickle
import re

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import orthogonal

from tests.wnrl.normalizers.networks import images, kinds, make_network, step
from wnrl.normalizers.conversions import NORMALIZERS
from wnrl.normalizers.folding import fold, polyak, remove
from wnrl.normalizers.normalize import normalize
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
    assert kinds(network) == ["SpectralNorm", "SpectralNorm", ""]
    normalize(network, "weight", layers=["6"])  # another normalizer for another layer
    assert type(network[6]) is WeightNormLinear


def test_layers_that_cannot_be_taken():
    with pytest.raises(ValueError, match=r"unknown layer '44' \(nearest: 4\); known: 0, 1, 2, 3, 4, 5, 6"):
        normalize(make_network(), "weight", layers=["44"])
    with pytest.raises(ValueError, match="layer '1' is a BatchNorm2d and cannot be normalized: choose a dense, convol"):
        normalize(make_network(), "weight", layers=["1"])
    network = normalize(make_network(), "batch")
    for norm in ("weight", "batch"):
        with pytest.raises(ValueError, match="layer '4' is already normalized"):
            normalize(network, norm, layers=["4"])
    parametrized = make_network()
    orthogonal(parametrized[4])
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
    orthogonal(network[0])
    with pytest.raises(ValueError, match="layer '0' is parametrized: remove"):
        normalize(network, norm, layers=layers)


def test_a_named_layer_never_stays_plain_without_a_word():
    layers = {"body": nn.Linear(2, 2), "core": nn.LSTM(2, 2), "output": nn.Linear(2, 2)}
    for norm in ("batch", "layer", "layer-channels", "layer+projected", "batch+projected", "projected", "spectral"):
        network, quoted = nn.ModuleDict(copy.deepcopy(layers)), re.escape(f"'{norm}'")
        choice = "pass normalize_output=True, or " if norm in ("projected", "spectral", "batch+projected") else ""
        with pytest.raises(ValueError, match=f"{quoted} leaves layer 'output' plain: an output layer: {choice}leave"):
            normalize(network, norm, layers=["body", "output"])
        if norm != "projected":
            with pytest.raises(ValueError, match=f"{quoted} leaves layer 'core' plain: a recurrent layer or attention"):
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
    layer, x = nn.Linear(3, 2), torch.ones(1, 3)
    expected = layer(x)
    assert normalize(layer, "weight") is layer
    assert type(layer) is WeightNormLinear
    assert type(fold(layer)) is nn.Linear
    torch.testing.assert_close(layer(x), expected)


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

    plain, x = Doubled(3, 3), torch.randn(2, 3)
    expected = plain(x)
    network = normalize(nn.Sequential(plain, nn.Linear(3, 2)), "weight")
    assert isinstance(network[0], Doubled)
    assert isinstance(network[0], WeightNormLinear)
    torch.testing.assert_close(network[0](x), expected)
    torch.testing.assert_close(expected, 2 * nn.Linear.forward(fold(network)[0], x))


@pytest.mark.parametrize("norm", NORMALIZERS)
def test_what_is_frozen_stays_frozen(norm):
    network = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 2))
    network[0].requires_grad_(False)
    normalize(network, norm)
    for layers in (network, fold(network)):
        assert not any(parameter.requires_grad for parameter in layers[0].parameters())
        assert all(parameter.requires_grad for parameter in layers[2].parameters())


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
def test_normalizing_twice_says_what_to_do(norm):
    network = normalize(nn.ModuleDict({"body": make_network()}), "weight")
    with pytest.raises(ValueError, match=r"every layer is already normalized: wnrl\.remove\(network\) first"):
        normalize(network, norm)
    normalize(remove(network), norm)


def test_embeddings_alone_have_to_be_named():
    with pytest.raises(ValueError, match=r"layer '0' is an embedding, normalized only if named: layers=\['0'\]"):
        normalize(nn.Sequential(nn.Embedding(3, 2)), "weight")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([nn.Linear(2, 2)], "weight"), "normalize takes a module, got list"),
        ((nn.Linear(2, 2), "weight", [0]), "layers takes names as in named_modules"),
        ((nn.Linear(2, 2), "weight", nn.Linear), "layers takes names or a predicate: lambda name, layer"),
    ],
)
def test_arguments_of_other_types_are_named(arguments, message):
    network, norm, *layers = arguments
    with pytest.raises(TypeError, match=message):
        normalize(network, norm, layers=layers[0] if layers else None)
    with pytest.raises(ValueError, match="unknown normalizer 'None'"):
        normalize(nn.Linear(2, 2), None)


def test_nothing_to_normalize():
    with pytest.raises(ValueError, match="no layer to normalize"):
        normalize(nn.Sequential(nn.ReLU()), "weight")
    with pytest.raises(ValueError, match="a hidden one"):
        normalize(nn.Sequential(nn.Linear(1, 1)), "weight", normalize_output=False)


def test_tied_parameters_are_refused_and_the_network_left_alone():
    for norm in NORMALIZERS:
        for name in ("weight", "bias"):
            if norm == "none" or (norm == "weight" and name == "weight"):
                continue  # each layer keeps what is its own
            network = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3))
            setattr(network[1], name, getattr(network[0], name))
            if norm == "weight":
                normalize(network, norm)
                assert network[1].bias is network[0].bias
                continue
            before = {key: id(parameter) for key, parameter in network.named_parameters(remove_duplicate=False)}
            with pytest.raises(ValueError, match=f"the {name} of layer '[01]' is tied to another module's"):
                normalize(network, norm)
            assert {type(layer) for layer in network} == {nn.Linear}
            after = {key: id(parameter) for key, parameter in network.named_parameters(remove_duplicate=False)}
            assert after == before


TIED = {
    "two dense layers": (lambda: nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4)), None),
    "embedding and output": (lambda: nn.Sequential(nn.Embedding(6, 4), nn.Sigmoid(), nn.Linear(4, 6)), ["0", "2"]),
    "convolutions": (lambda: nn.Sequential(nn.Conv1d(4, 4, 1), nn.Tanh(), nn.Conv1d(4, 4, 1)), None),
}


@pytest.mark.parametrize("ballast", [0.0, 0.6])
@pytest.mark.parametrize("units", ["paper", "sqrt"])
@pytest.mark.parametrize("case", TIED)
def test_layers_that_share_a_weight_go_on_sharing_it(case, units, ballast):
    make, layers = TIED[case]
    network = make()
    weight = network[2].weight = network[0].weight
    x = torch.tensor([[1, 5], [0, 1]]) if layers else torch.randn(3, 4, 4)
    expected = network(x)
    assert len(list(normalize(network, "weight", layers=layers, units=units, ballast=ballast).parameters())) == (
        3 if layers else 4
    )
    assert network[0].v is network[2].v is weight
    assert network[0].g is network[2].g
    torch.testing.assert_close(network(x), expected)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.05)
    target = fold(network)
    for _ in range(3):
        optimizer.zero_grad()
        network(x).pow(2).sum().backward()
        optimizer.step()
    with torch.no_grad():
        network[0].g[1].abs_().neg_()
    y = network(x)
    assert not torch.allclose(y, expected, rtol=1e-2)
    with torch.no_grad():
        torch.testing.assert_close(network(x), y)
    for twin in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert twin[0].g is twin[2].g
        assert twin[0].v is twin[2].v
        torch.testing.assert_close(twin(x), y)
    polyak(target, network, 1.0)
    for folded in (fold(network), target):
        assert folded[0].weight is folded[2].weight
        torch.testing.assert_close(folded(x), y)
    remove(network)
    assert network[0].weight is network[2].weight is weight
    torch.testing.assert_close(network(x), y)


def test_a_shared_weight_is_refused_where_not_all_of_its_layers_are_converted():
    network = nn.Sequential(nn.Embedding(6, 4), nn.ReLU(), nn.Linear(4, 6))
    network[2].weight = network[0].weight
    for options in ({}, {"layers": ["2"]}, {"layers": ["0"]}):
        with pytest.raises(ValueError, match=r"the weight of layer '[02]' is tied to another module's"):
            normalize(network, "weight", **options)
        assert [type(layer) for layer in network] == [nn.Embedding, nn.ReLU, nn.Linear]
    transposed = nn.Sequential(nn.Conv1d(4, 4, 1), nn.ConvTranspose1d(4, 4, 1))  # whose rows are others
    transposed[1].weight = transposed[0].weight
    with pytest.raises(ValueError, match="is tied to another module's"):
        normalize(transposed, "weight")


@pytest.mark.parametrize("norm", [norm for norm in NORMALIZERS if norm != "none"])
def test_layers_that_are_normalized_already_stay_as_they_are(norm):
    network = normalize(make_network(), "weight", layers=["4"])
    layer, parameters = network[4], [id(p) for p in network[4].parameters()]
    normalize(network, norm)
    assert network[4] is layer
    assert type(layer) is WeightNormLinear
    assert [id(p) for p in layer.parameters()] == parameters
    assert [kind for kind in (kinds(network)[i] for i in (0, 2)) if kind]  # the others were converted
    with pytest.raises(ValueError, match="layer '4' is already normalized"):
        normalize(network, norm, layers=["4"])


def test_lists_of_layers_outside_the_network_stay_valid():
    network = make_network()
    layers = [network[0], network[4], network[6]]
    bound = [layer.forward for layer in layers]
    normalize(network, "weight")
    x = images()
    hidden = bound[1](network[:4](x))
    torch.testing.assert_close(bound[2](hidden.relu()), network(x))
    assert all(type(layer) is not kind for layer, kind in zip(layers, (nn.Conv2d, nn.Linear, nn.Linear), strict=True))


class WithScale(nn.Linear):
    """A layer whose own attribute has a name that weight normalization needs."""

    def __init__(self):
        super().__init__(4, 4)
        self.g = nn.Parameter(torch.ones(4))


@pytest.mark.parametrize("units", ["paper", "log"])
def test_an_error_in_one_layer_leaves_all_of_them_plain(units):
    last = WithScale() if units == "paper" else nn.Linear(4, 4)
    network = nn.Sequential(nn.Linear(4, 4), last)
    with torch.no_grad():
        network[0].weight[0] = 0.0 if units == "paper" else 1.0
        network[1].weight[0] = 0.0
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(ValueError, match="attribute 'g'" if units == "paper" else "row of zeros"):
        normalize(network, "weight", units=units)
    assert [type(layer) for layer in network] == [nn.Linear, type(last)]
    torch.testing.assert_close(network.state_dict(), before, rtol=0, atol=0)
