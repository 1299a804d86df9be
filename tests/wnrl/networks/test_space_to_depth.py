"""wnrl.networks.space_to_depth: the same function as torch's strided convolution."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from wnrl.networks import space_to_depth
from wnrl.networks.space_to_depth import SpaceToDepthConv2d, can_be_rearranged, space_to_depth_conv2d
from wnrl.networks.torsos import NatureCNN
from wnrl.normalizers.conversions import NORMALIZERS
from wnrl.normalizers.folding import fold
from wnrl.normalizers.normalize import normalize

EXACT = {"rtol": 1e-10, "atol": 1e-10}
IMAGES = torch.rand(3, 2, 20, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def rearranged(monkeypatch):
    """The inputs that are rearranged, on the CPU too."""
    found = []

    def noted(input, *arguments):
        found.append(input)
        return space_to_depth_conv2d(input, *arguments)

    monkeypatch.setattr(space_to_depth, "DEVICES", ("cpu", "cuda"))
    monkeypatch.setattr(space_to_depth, "space_to_depth_conv2d", noted)
    return found


def pair(*arguments, norm="none", **options):
    """The convolution and torch's own, normalized, with the same parameters in float64; an output layer follows."""
    torch.manual_seed(0)
    own, plain = (
        normalize(nn.Sequential(kind(*arguments, **options), nn.Conv2d(arguments[1], 2, 1)).double(), norm)
        for kind in (SpaceToDepthConv2d, nn.Conv2d)
    )
    plain.load_state_dict(own.state_dict())
    return own, plain


def gradients(network, images):
    y = network(images)
    return torch.autograd.grad((y * torch.linspace(-1, 1, y.numel()).to(y).view(y.shape)).sum(), network.parameters())


SHAPES = [  # kernel, stride, images
    (8, 4, (84, 84)),
    (8, 4, (38, 41)),  # rows and columns that no kernel reaches
    (4, 4, (12, 12)),
    (6, 2, (11, 8)),
    ((4, 6), (2, 3), (10, 13)),
    ((4, 3), (4, 1), (9, 7)),
]


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("kernel", "stride", "size"), SHAPES)
def test_the_function_and_its_gradients_are_those_of_the_plain_convolution(kernel, stride, size, memory, rearranged):
    own, plain = pair(3, 5, kernel, stride)
    images = torch.rand(2, 3, *size, dtype=torch.float64).contiguous(memory_format=memory).requires_grad_()
    torch.testing.assert_close(own(images), plain(images), **EXACT)
    for gradient, expected in zip(gradients(own, images), gradients(plain, images), strict=True):
        torch.testing.assert_close(gradient, expected, **EXACT)
    by_input = [torch.autograd.grad(layer(images).square().sum(), images)[0] for layer in (own, plain)]
    torch.testing.assert_close(*by_input, **EXACT)
    assert len(rearranged) == 3


@pytest.mark.parametrize("norm", NORMALIZERS)
def test_every_normalizer_has_the_same_outputs_and_gradients(norm, rearranged):
    own, plain = pair(2, 6, 8, 4, norm=norm)
    for _ in range(2):
        for gradient, expected in zip(gradients(own, IMAGES), gradients(plain, IMAGES), strict=True):
            torch.testing.assert_close(gradient, expected, **EXACT)
    for network, other in ((own, plain), (fold(own), fold(plain))):
        with torch.no_grad():
            for _ in range(2):  # the second pass takes what the first has kept
                torch.testing.assert_close(network.eval()(IMAGES), other.eval()(IMAGES), **EXACT)
    assert len(rearranged) == 6


@pytest.mark.parametrize("norm", NORMALIZERS)
def test_a_folded_copy_is_as_plain_as_that_of_torchs_layer(norm):
    own, plain = (fold(network) for network in pair(2, 6, 8, 4, norm=norm))
    assert type(own[0]).__name__.replace("SpaceToDepthConv2d", "Conv2d") == type(plain[0]).__name__
    assert own.state_dict().keys() == plain.state_dict().keys()


def test_acting_without_gradients_keeps_the_factors_of_the_weight():
    own, plain = pair(4, 32, 8, 4, norm="weight")
    with torch.no_grad():
        own(torch.rand(1, 4, 8, 8, dtype=torch.float64)), plain(torch.rand(1, 4, 8, 8, dtype=torch.float64))
    assert [sorted(vars(network[0]).get("_factors", {})) for network in (own, plain)] == [["weight"], ["weight"]]


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 8, "stride": 4, "padding": 1},
        {"kernel_size": 8, "stride": 4, "dilation": 2},
        {"kernel_size": 8, "stride": 4, "groups": 2},
        {"kernel_size": 3, "stride": 2},
        {"kernel_size": 3, "padding": "same"},
        {"kernel_size": 3},
    ],
)
def test_what_cannot_be_rearranged_is_computed_by_torch(options, rearranged):
    own, plain = pair(2, 4, **options)
    assert torch.equal(own(IMAGES), plain(IMAGES))
    assert not can_be_rearranged(own[0])
    assert not rearranged


def test_on_a_cpu_and_for_a_single_image_it_is_torchs(rearranged, monkeypatch):
    own, plain = pair(2, 4, 8, 4)
    assert torch.equal(own(IMAGES[0]), plain(IMAGES[0]))
    monkeypatch.setattr(space_to_depth, "DEVICES", ("cuda",))
    assert torch.equal(own(IMAGES), plain(IMAGES))
    assert not rearranged


def test_hooks_and_state_dicts_have_the_plain_layers_tensors(rearranged):
    own, plain = pair(2, 4, 8, 4, norm="weight")
    seen = []
    own[0].register_forward_hook(lambda layer, inputs, output: seen.append((inputs[0].shape, output.shape)))
    own(IMAGES)
    assert seen == [(IMAGES.shape, (3, 4, 4, 5))]
    shapes = [{name: value.shape for name, value in network.state_dict().items()} for network in (own, plain)]
    assert shapes[0] == shapes[1]
    assert len(rearranged) == 1


def test_torchs_parametrizations_and_pruning_are_of_the_plain_weight(rearranged):
    torch.manual_seed(0)
    own = SpaceToDepthConv2d(2, 4, 8, 4).double()
    nn.utils.parametrizations.weight_norm(own)
    torch.testing.assert_close(own(IMAGES), F.conv2d(IMAGES, own.weight, own.bias, 4), **EXACT)
    other = SpaceToDepthConv2d(2, 4, 8, 4).double()
    nn.utils.prune.random_unstructured(other, "weight", 0.5)
    torch.testing.assert_close(other(IMAGES), F.conv2d(IMAGES, other.weight, other.bias, 4), **EXACT)
    assert len(rearranged) == 2


@pytest.mark.parametrize("norm", ["none", "weight", "batch"])
def test_copies_and_pickles_have_the_same_function(norm, rearranged):
    own, _ = pair(2, 4, 8, 4, norm=norm)
    for other in (copy.deepcopy(own), pickle.loads(pickle.dumps(own))):
        assert torch.equal(own.eval()(IMAGES), other.eval()(IMAGES))
        assert isinstance(other[0], SpaceToDepthConv2d)


@pytest.mark.parametrize("norm", ["none", "weight"])
def test_what_is_exported_or_traced_is_one_convolution_of_the_plain_layer(norm, rearranged):
    own, _ = pair(2, 4, 8, 4, norm=norm)
    expected = own[1](F.conv2d(IMAGES, own[0].weight, own[0].bias, 4))
    exported = torch.export.export(own, (IMAGES,))
    strides = [node.args[3:] for node in exported.graph.nodes if "conv2d" in str(node.target)]
    assert strides == [([4, 4],), ()]
    for network in (exported.module(), torch.jit.trace(own, IMAGES), torch.fx.symbolic_trace(own)):
        rearranged.clear()
        torch.testing.assert_close(network(IMAGES), expected, **EXACT)


@pytest.mark.parametrize("norm", ["none", "weight", "mean-batch", "spectral"])
def test_compiled_it_is_rearranged_and_has_the_same_gradients(norm, monkeypatch):
    monkeypatch.setattr(space_to_depth, "DEVICES", ("cpu",))
    torch.compiler.reset()
    own, plain = pair(2, 4, 8, 4, norm=norm)
    strides = []

    def noted(graph, inputs):
        strides.extend(node.args[3:] for node in graph.graph.nodes if "conv2d" in str(node.target))
        return graph.forward

    compiled = torch.compile(own, backend=noted, fullgraph=True)
    for gradient, expected in zip(gradients(compiled, IMAGES), gradients(plain, IMAGES), strict=True):
        torch.testing.assert_close(gradient, expected, **EXACT)
    assert strides[0] == ()  # the default of 1


def test_transforms_of_functions_take_it(rearranged):
    own, plain = pair(2, 4, 8, 4, norm="weight")

    def by_example(network):
        parameters = dict(network.named_parameters())

        def loss(values, image):
            return torch.func.functional_call(network, values, (image.unsqueeze(0),)).square().sum()

        return torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(parameters, IMAGES)

    actual, expected = by_example(own), by_example(plain)
    for name in expected:
        torch.testing.assert_close(actual[name], expected[name], **EXACT)


def test_half_precision_rounds_as_much_as_the_plain_convolution(rearranged):
    own, plain = pair(2, 4, 8, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, expected = own.float()(IMAGES.float()), plain.float()(IMAGES.float())
    assert y.dtype is expected.dtype is torch.bfloat16
    torch.testing.assert_close(y, expected, rtol=0.02, atol=0.01)


def test_the_nature_network_has_the_same_function_and_takes_its_older_state_dicts(rearranged):
    torch.manual_seed(0)
    torso = NatureCNN((4, 84, 84), 16)
    older = copy.deepcopy(torso)
    older.layers[0] = nn.Conv2d(4, 32, 8, 4)
    torso.load_state_dict(older.state_dict())
    obs = torch.randint(0, 256, (2, 4, 84, 84), dtype=torch.uint8)
    torch.testing.assert_close(torso(obs), older(obs))
    assert len(rearranged) == 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_on_cuda_the_nature_network_computes_the_same_as_on_the_cpu():
    torso = NatureCNN((4, 84, 84), 16).double()
    obs = torch.randint(0, 256, (2, 4, 84, 84), dtype=torch.uint8)
    images = obs.double() / 255
    other = copy.deepcopy(torso).cuda().to(memory_format=torch.channels_last)
    torch.testing.assert_close(other.layers(images.cuda()).cpu(), torso.layers(images), **EXACT)
