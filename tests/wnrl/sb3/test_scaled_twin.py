"""wnrl.sb3.scaled_twin: layers that act with the norms of their rows kept."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from wnrl.normalizers.normalize import normalize
from wnrl.sb3.scaled_twin import ScaledTwin, can_be_scaled

UNITS = ("sqrt", "paper", "log")
KINDS = {  # a layer, and an input of it
    "dense": (lambda: nn.Linear(6, 5), (4, 6)),
    "without bias": (lambda: nn.Linear(6, 5, bias=False), (4, 6)),
    "one image": (lambda: nn.Conv2d(4, 6, 3), (4, 7, 7)),
    "images": (lambda: nn.Conv2d(4, 6, 3, stride=2, groups=2, padding=1, padding_mode="reflect"), (2, 4, 7, 7)),
    "signals": (lambda: nn.Conv1d(3, 5, 3, bias=False), (2, 3, 7)),
}


def make(kind, norm="weight", units="sqrt"):
    """A normalized layer in evaluation mode, disturbed, and an input."""
    torch.manual_seed(0)
    plain, shape = KINDS[kind]
    layer = normalize(nn.Sequential(plain(), nn.Linear(1, 1)), norm, units=units)[0].eval()
    change(layer)
    return layer, torch.randn(shape)


@torch.no_grad()
def change(layer):
    for tensor in layer.state_dict().values():
        tensor.add_(0.3 * torch.rand_like(tensor))


@torch.no_grad()
def check(twin, layer, x):
    expected = layer(x)
    twin.refresh()
    torch.testing.assert_close(twin(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("units", UNITS)
@pytest.mark.parametrize("norm", ["weight", "mean-batch"])
@pytest.mark.parametrize("kind", KINDS)
def test_equal_to_the_layer_whenever_it_is_refreshed(kind, norm, units):
    layer, x = make(kind, norm, units)
    twin = ScaledTwin(layer)
    check(twin, layer, x)
    change(layer)
    with torch.no_grad():
        assert not torch.allclose(twin(x), layer(x), rtol=1e-3)
    check(twin, layer, x)
    for parameter in layer.parameters():
        parameter.data = parameter.data * 1.5  # another storage
    check(twin, layer, x)


@settings(max_examples=30, deadline=None)
@given(examples=st.integers(1, 9), inputs=st.integers(1, 9), outputs=st.integers(1, 5), double=st.booleans())
def test_equal_to_any_dense_layer(examples, inputs, outputs, double):
    layer = normalize(nn.Linear(inputs, outputs), "weight").to(torch.float64 if double else torch.float32)
    check(ScaledTwin(layer), layer, torch.randn(examples, inputs).to(layer.v))


@pytest.mark.parametrize("kind", KINDS)
def test_zero_rows(kind):
    layer, x = make(kind)
    with torch.no_grad():
        layer.v[1] = 0
    check(ScaledTwin(layer), layer, x)


def test_a_parameter_in_the_place_of_another():
    layer, x = make("dense")
    twin = ScaledTwin(layer)
    check(twin, layer, x)
    layer.v, layer.bias = nn.Parameter(torch.randn(5, 6)), nn.Parameter(torch.randn(5))
    check(twin, layer, x)


class Sizes(TorchDispatchMode):
    """Records how many elements each operation returns."""

    def __init__(self):
        super().__init__()
        self.sizes = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if not func.is_view:
            results = result if isinstance(result, tuple) else [result]
            self.sizes += [each.numel() for each in results if isinstance(each, torch.Tensor)]
        return result


@torch.no_grad()
def test_the_weight_is_never_written():
    layer = normalize(nn.Linear(64, 32), "weight")
    twin, x = ScaledTwin(layer), torch.randn(2, 64)
    with Sizes() as acting:
        twin.refresh()
        twin(x)
    assert 2 * 32 in acting.sizes
    assert max(acting.sizes) < layer.v.numel()
    with Sizes() as folding:
        layer.fold()
    assert max(folding.sizes) >= layer.v.numel()


def test_shows_what_the_layer_has():
    layer, _ = make("dense")
    twin = ScaledTwin(layer)
    assert (twin.in_features, twin.out_features) == (6, 5)
    assert torch.equal(twin.weight, layer.weight)
    assert twin.bias is layer.bias
    assert not list(twin.parameters())
    assert not twin.training
    with pytest.raises(AttributeError, match="stride"):
        _ = twin.stride


def test_which_layers_can_be_scaled():
    for kind in KINDS:
        for norm in ("weight", "mean-batch"):
            assert can_be_scaled(make(kind, norm)[0])
    other = [nn.ConvTranspose2d(3, 2, 3), nn.Bilinear(2, 3, 2), nn.LSTM(3, 2)]
    assert not any(can_be_scaled(normalize(layer, "weight")) for layer in other)
    assert not any(can_be_scaled(make("dense", norm)[0]) for norm in ("batch", "layer", "projected", "spectral"))
    layer, _ = make("dense")
    assert not can_be_scaled(layer.bfloat16())
    assert not can_be_scaled(layer.to("meta", torch.float32))


def test_fits_until_the_layers_type_changes():
    layer, _ = make("dense")
    twin = ScaledTwin(layer)
    assert twin.fits()
    layer.double()
    assert not twin.fits()
    layer.float()
    assert twin.fits()


def test_autocast_takes_the_product_in_its_type():
    layer, x = make("dense")
    twin = ScaledTwin(layer)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        twin.refresh()
        y, expected = twin(x), layer(x)
    torch.testing.assert_close(y, expected.float(), rtol=2e-2, atol=1e-2)
    assert not torch.allclose(y, layer(x), rtol=1e-5)
