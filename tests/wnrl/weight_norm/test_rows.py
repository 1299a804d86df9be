"""wnrl.weight_norm.rows: which weights an output unit reads, for every kind of layer."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from wnrl.weight_norm.convolutions import WeightNormConvTranspose2d
from wnrl.weight_norm.rows import (
    channel_dim,
    has_own_forward,
    row_norms,
    rows,
    scale_rows,
    torch_class,
    watched_entries,
)


def transposed(groups=2, dtype=None):
    return nn.ConvTranspose1d(4, 6, 1, groups=groups, bias=False, dtype=dtype)


def read_by_unit(layer, x):
    """For each output channel, the weights with a part in it, as the gradients of the layer itself tell."""
    y = layer(x).movedim(1, 0).flatten(1).sum(1)
    return [torch.autograd.grad(unit, layer.weight, retain_graph=True)[0] != 0 for unit in y]


def test_literal_rows_of_a_transposed_convolution_with_groups():
    layer = transposed()
    weight = torch.arange(12.0).view(4, 3, 1)  # [in, out/groups, 1]; inputs 0, 1 lead to outputs 0, 1, 2
    assert rows(layer, weight).flatten(1).tolist() == [[0, 3], [1, 4], [2, 5], [6, 9], [7, 10], [8, 11]]
    assert row_norms(layer, weight).tolist() == pytest.approx([math.hypot(*row) for row in rows(layer, weight)])
    scaled = scale_rows(layer, weight, torch.tensor([1.0, 10, 100, 2, 20, 200]))
    assert scaled.flatten(1).tolist() == [[0, 10, 200], [3, 40, 500], [12, 140, 1600], [18, 200, 2200]]


@settings(max_examples=30, deadline=None)
@given(
    kind=st.sampled_from([nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d]),
    channels=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    groups=st.integers(1, 3),
    kernel=st.integers(1, 2),
)
def test_rows_are_what_each_output_channel_reads(kind, channels, groups, kernel):
    layer = kind(channels[0] * groups, channels[1] * groups, kernel, groups=groups, bias=False)
    x = torch.rand(1, channels[0] * groups, *[3] * (layer.weight.ndim - 2)) + 1
    masks = read_by_unit(layer, x)
    by_row = rows(layer, layer.weight)
    assert len(by_row) == len(masks) == layer.out_channels
    for row, mask in zip(by_row, masks, strict=True):
        assert sorted(row.flatten().tolist()) == sorted(layer.weight[mask].tolist())
    assert torch.equal(rows(layer, by_row), layer.weight)  # its own inverse


@pytest.mark.parametrize(
    "layer", [nn.Linear(3, 4), nn.Bilinear(2, 3, 4), nn.Conv3d(4, 6, 2, groups=2)], ids=lambda m: type(m).__name__
)
def test_other_weights_begin_with_their_rows(layer):
    assert rows(layer, layer.weight) is layer.weight
    expected = torch.stack([row.square().sum().sqrt() for row in layer.weight])
    torch.testing.assert_close(row_norms(layer, layer.weight), expected)


def test_weight_normalized_layers_have_the_rows_of_their_plain_layer():
    plain = nn.ConvTranspose2d(4, 6, 3, groups=2)
    layer = WeightNormConvTranspose2d.from_plain(plain)
    assert torch.equal(rows(layer, layer.v), rows(plain, plain.weight))


@pytest.mark.parametrize("layer", [nn.Conv2d(4, 6, 3, groups=2), nn.ConvTranspose2d(4, 6, 3, groups=2)])
def test_scaling_rows_scales_the_outputs(layer):
    layer.bias = None
    x, factors = torch.randn(2, 4, 5, 5), torch.tensor([1.0, -2.0, 0.0, 0.5, 3.0, 7.0])
    expected = layer(x) * factors.view(-1, 1, 1)
    with torch.no_grad():
        layer.weight.copy_(scale_rows(layer, layer.weight, factors))
    torch.testing.assert_close(layer(x), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_norms_and_factors_are_float32(dtype):
    layer = nn.Linear(2048, 1, dtype=dtype)
    nn.init.constant_(layer.weight, 1e-6)  # squares that vanish in float16, a factor over its largest number
    stored = layer.weight[0, 0].item()
    norms = row_norms(layer, layer.weight)
    assert norms.dtype == torch.float32
    assert norms.item() == pytest.approx(stored * math.sqrt(2048), rel=1e-5)
    scaled = scale_rows(layer, layer.weight, 1 / norms)
    assert scaled.dtype == dtype
    assert scaled.float().norm().item() == pytest.approx(1, rel=2**-8)


def test_double_precision_stays():
    layer = transposed(dtype=torch.float64)
    assert row_norms(layer, layer.weight).dtype == torch.float64
    assert scale_rows(layer, layer.weight, torch.ones(6, dtype=torch.float64)).dtype == torch.float64


def test_scaling_is_differentiable_in_both():
    layer = transposed(dtype=torch.float64)
    factors = torch.rand(6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda w, f: scale_rows(layer, w, f), (layer.weight, factors))
    assert torch.autograd.gradcheck(lambda w: row_norms(layer, w), (layer.weight,))


def test_a_watched_entry_is_of_each_row_in_the_column_furthest_from_zero():
    weight = torch.tensor([[9.0, -3.0, 0.0, 2.0], [0.5, -4.0, 8.0, 2.5]])  # the least of each column: 0.5, 3, 0, 2
    entries = watched_entries(nn.Linear(4, 2), weight)
    assert entries.tolist() == [-3, -4]
    weight[1, 1] = 7  # a view
    assert entries.tolist() == [-3, 7]
    images = torch.ones(2, 1, 2, 2)
    images[:, 0, 1, 0] = torch.tensor([5.0, -6.0])
    assert watched_entries(nn.Conv2d(1, 2, 2), images).tolist() == [5, -6]


def test_watched_entries_of_a_transposed_convolution_are_by_groups():
    # [in, out/groups, 1]: inputs 0, 1 lead to outputs 0, 1, 2 and inputs 2, 3 to 3, 4, 5
    weight = torch.tensor([[1.0, 2, 3], [-7, -8, -9], [1, 2, 3], [-4, -5, -6]]).unsqueeze(2)
    entries = watched_entries(transposed(), weight)
    assert entries.tolist() == [[-7, -8, -9], [-4, -5, -6]]
    weight[1] = 7.5
    assert entries[0].tolist() == [7.5, 7.5, 7.5]


@pytest.mark.parametrize(
    ("layer", "shape", "dim"),
    [
        (nn.Linear(3, 5), (2, 3), -1),
        (nn.Conv1d(3, 5, 1), (2, 3, 7), -2),
        (nn.Conv2d(3, 5, 1), (3, 7, 7), -3),
        (nn.ConvTranspose3d(3, 5, 1), (2, 3, 7, 7, 7), -4),
    ],
    ids=lambda m: type(m).__name__,
)
def test_the_dimension_of_units_is_counted_from_the_end(layer, shape, dim):
    assert channel_dim(layer) == dim
    assert layer(torch.zeros(shape)).shape[dim] == 5


class OtherForward(nn.Conv2d):
    def _conv_forward(self, x, weight, bias):
        return super()._conv_forward(x, weight, bias) + 1


class OtherCall(nn.Linear):
    def forward(self, x):
        return super().forward(x) + 1


class SameForward(nn.Linear):
    def reset_parameters(self):
        nn.init.zeros_(self.weight)


class SameConvolution(nn.Conv2d):
    def _conv_forward(self, x, weight, bias):
        return super()._conv_forward(x, weight, bias)

    same_conv_forward = _conv_forward


class OtherConvolution(SameConvolution):
    def _conv_forward(self, x, weight, bias):
        return super()._conv_forward(x, weight, bias) + 1


def test_a_convolution_that_is_declared_the_same_is_none_of_ones_own():
    assert [has_own_forward(kind) for kind in (SameConvolution, OtherConvolution)] == [False, True]


def test_a_forward_pass_of_ones_own_is_known():
    assert [has_own_forward(kind) for kind in (OtherForward, OtherCall)] == [True, True]
    assert [has_own_forward(kind) for kind in (SameForward, nn.Linear, nn.Conv2d)] == [False, False, False]
    assert [torch_class(kind) for kind in (OtherForward, SameForward, nn.GRU)] == [nn.Conv2d, nn.Linear, nn.GRU]
