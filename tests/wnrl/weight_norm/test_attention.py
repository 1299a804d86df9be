"""wnrl.weight_norm.attention: against torch's attention with weights computed by hand, and in encoder layers."""

import copy

import pytest
import torch
from torch import nn
from torch.func import functional_call

from wnrl.normalizers.conversions import NORMALIZERS
from wnrl.normalizers.folding import fold, refresh, remove
from wnrl.normalizers.normalize import normalize
from wnrl.normalizers.projection import project
from wnrl.weight_norm.attention import WeightNormMultiheadAttention
from wnrl.weight_norm.dense import WeightNormLinear

SIZES = {
    "packed": {},
    "no bias": {"bias": False},
    "separate": {"kdim": 3, "vdim": 5},
    "more keys": {"add_bias_kv": True, "add_zero_attn": True},
    "batch first": {"batch_first": True},
}


def make(sizes, **options):
    torch.manual_seed(0)
    return nn.MultiheadAttention(8, 2, **{**SIZES[sizes], **options})


def inputs(layer):
    """Query, key and value."""
    torch.manual_seed(1)
    shape = (2, 4) if layer.batch_first else (4, 2)
    return [torch.randn(*shape, size) for size in (8, layer.kdim or 8, layer.vdim or 8)]


def disturb(module):
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))


def by_hand(layer):
    """The plain layer's parameters, from g and v alone."""
    parameters = dict(layer.named_parameters())
    for name in [name for name in parameters if name.endswith("proj_v")]:
        v, g = parameters.pop(name), parameters.pop(f"{name[:-1]}g")
        parameters[f"{name[:-1]}weight"] = g[:, None] * v / v.norm(dim=1, keepdim=True)
    if "out_proj.v" in parameters:
        v, g = parameters.pop("out_proj.v"), parameters.pop("out_proj.g")
        parameters["out_proj.weight"] = g[:, None] * v / v.norm(dim=1, keepdim=True)
    return parameters


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("sizes", SIZES)
def test_equal_to_weights_computed_by_hand(sizes, need_weights):
    plain, call = make(sizes), inputs(make(sizes))
    layer = normalize(copy.deepcopy(plain), "weight")
    assert isinstance(layer, WeightNormMultiheadAttention)
    assert isinstance(layer.out_proj, WeightNormLinear)
    options = {"need_weights": need_weights}
    torch.testing.assert_close(layer(*call, **options), plain(*call, **options))
    disturb(layer)
    expected = functional_call(plain, by_hand(layer), tuple(call), options)
    assert not torch.allclose(expected[0], plain(*call)[0], rtol=1e-2)
    actual = layer(*call, **options)
    torch.testing.assert_close(actual, expected)
    assert (actual[1] is None) == (not need_weights)
    parameters = [p for name, p in layer.named_parameters() if name not in ("k_proj_bias",)]
    gradients = torch.autograd.grad(actual[0].square().sum(), parameters)
    torch.testing.assert_close(gradients, torch.autograd.grad(expected[0].square().sum(), parameters))
    for module in (layer, fold(layer), remove(layer)):
        for context in (torch.enable_grad, torch.no_grad, torch.inference_mode):
            with context():
                torch.testing.assert_close(module.eval()(*call, **options), expected)
    assert type(layer) is nn.MultiheadAttention


def test_names_and_shapes():
    packed, separate = (normalize(make(sizes), "weight") for sizes in ("packed", "separate"))
    assert list(packed.state_dict()) == ["in_proj_g", "in_proj_v", "in_proj_bias", *OUTPUT]
    assert (packed.in_proj_g.shape, packed.in_proj_v.shape) == ((24,), (24, 8))
    names = [f"{letter}_proj_{which}" for letter in "qkv" for which in "gv"]
    assert list(separate.state_dict()) == [*names, "in_proj_bias", *OUTPUT]
    assert [tuple(separate.get_parameter(name).shape) for name in names] == [(8,), (8, 8), (8,), (8, 3), (8,), (8, 5)]
    assert separate.in_proj_weight is None
    assert packed.q_proj_weight is None
    assert packed.in_proj_weight.shape == (24, 8)


OUTPUT = ["out_proj.g", "out_proj.v", "out_proj.bias"]


@pytest.mark.parametrize("sizes", ["packed", "separate"])
def test_masks(sizes):
    plain = make(sizes).eval()
    call, layer = inputs(plain), normalize(copy.deepcopy(plain), "weight")
    padding = torch.tensor([[False, False, True, True], [False, False, False, True]])
    causal = torch.triu(torch.ones(4, 4, dtype=torch.bool), 1)
    for options in (
        {"key_padding_mask": padding},
        {"attn_mask": causal},
        {"attn_mask": causal, "is_causal": True, "need_weights": False},
        {"key_padding_mask": padding, "attn_mask": causal, "average_attn_weights": False},
    ):
        expected = plain(*call, **options)
        for context in (torch.enable_grad, torch.no_grad):
            with context():
                torch.testing.assert_close(layer(*call, **options), expected)
    assert not torch.allclose(layer(*call)[0], layer(*call, attn_mask=causal)[0])


def test_writing_to_a_projection_sets_g_and_v():
    for sizes, name in (("packed", "in_proj_weight"), ("separate", "k_proj_weight")):
        layer = normalize(make(sizes), "weight")
        weight = nn.init.xavier_uniform_(getattr(layer, name)).detach().clone()
        torch.testing.assert_close(layer.effective_weight(name), weight)
        layer.set_weight(name, 2 * weight)
        torch.testing.assert_close(fold(layer).get_parameter(name).data, 2 * weight)
    with pytest.raises(ValueError, match="no weight is called 'out_proj_weight'"):
        layer.set_weight("out_proj_weight", weight)


def encoder(norm_first=False, activation="relu"):
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, 0.0, activation, batch_first=True, norm_first=norm_first)
    return nn.Sequential(nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Linear(8, 3))


@pytest.mark.parametrize(("norm_first", "activation"), [(False, "relu"), (True, "gelu")])
@pytest.mark.parametrize("norm", [norm for norm in NORMALIZERS if norm != "none"])
def test_encoder_layers_have_one_function_with_and_without_their_fast_path(norm, norm_first, activation):
    network, x = normalize(encoder(norm_first, activation), norm), torch.randn(4, 5, 8)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    for _ in range(3):
        optimizer.zero_grad()
        network(x).square().sum().backward()
        optimizer.step()
        project(network)
    mask = torch.tensor([[False] * 3 + [True] * 2] * 4)
    network.eval()
    y, masked = network(x), network[0](x, src_key_padding_mask=mask)[:, :3]
    folded = fold(network)
    for module in (network, folded):
        for context in (torch.enable_grad, torch.no_grad, torch.inference_mode):  # the latter two take it
            with context():
                torch.testing.assert_close(module(x), y, rtol=1e-4, atol=1e-5)
                output = module[0](x, src_key_padding_mask=mask)[:, :3]
                torch.testing.assert_close(output, masked, rtol=1e-4, atol=1e-5)
        module.requires_grad_(False)
        torch.testing.assert_close(module(x), y, rtol=1e-4, atol=1e-5)
        module.requires_grad_(True)
    optimizer.zero_grad()
    network.train()(x).square().sum().backward()
    optimizer.step()
    project(network)
    refresh(folded, network)
    with torch.no_grad():
        torch.testing.assert_close(folded(x), network.eval()(x), rtol=1e-4, atol=1e-5)
        assert not torch.allclose(folded(x), y, rtol=1e-3)
    if not norm.startswith("layer"):
        expected = network(x)
        remove(network)
        torch.testing.assert_close(network(x), expected, rtol=1e-4, atol=1e-5)
        with torch.no_grad():
            torch.testing.assert_close(network(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("norm", ["batch", "layer", "spectral", "layer+projected"])
def test_what_attention_never_calls_is_left_plain(norm):
    network = normalize(encoder(), norm)
    layers = network[0].layers
    assert {type(layer.self_attn) for layer in layers} == {nn.MultiheadAttention}
    assert {type(layer.self_attn.out_proj).__name__ for layer in layers} == {"NonDynamicallyQuantizableLinear"}
    with pytest.raises(ValueError, match="attention reads its weight and never calls it"):
        normalize(encoder(), norm, layers=["0.layers.0.self_attn.out_proj"])


def test_the_decoder_and_whole_transformers():
    torch.manual_seed(0)
    plain = nn.Transformer(8, 2, 1, 1, 16, 0.0, batch_first=True).eval()
    network = normalize(copy.deepcopy(plain), "weight")
    source, target = torch.randn(3, 4, 8), torch.randn(3, 5, 8)
    expected = plain(source, target)
    for context in (torch.enable_grad, torch.no_grad):
        with context():
            torch.testing.assert_close(network(source, target), expected, rtol=1e-4, atol=1e-5)
