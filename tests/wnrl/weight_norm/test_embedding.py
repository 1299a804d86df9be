"""wnrl.weight_norm.embedding: against twins that normalize the whole table."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from wnrl.normalizers.folding import fold, remove
from wnrl.normalizers.normalize import normalize
from wnrl.weight_norm.embedding import WeightNormEmbedding, WeightNormEmbeddingBag

UNITS = ("paper", "sqrt", "log")
INDICES = torch.tensor([[3, 1, 3], [0, 6, 2]])


def table(layer):
    """All effective rows by the formula, from g and v."""
    v, g = layer.v, layer.g
    lengths = {"paper": g, "sqrt": g * math.sqrt(v.shape[1]), "log": g.exp()}[layer.units]
    return lengths[:, None] * v / (v.square().sum(1, keepdim=True) + layer._ballast**2).sqrt()


def disturb(layer):
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return layer


def check_equal(layer, actual, expected):
    """Values, and gradients of g and v."""
    torch.testing.assert_close(actual, expected)
    upstream = torch.randn_like(expected)
    gradients = [torch.autograd.grad(y, [layer.v, layer.g], upstream, retain_graph=True) for y in (actual, expected)]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("ballast", [0.0, 0.7])
@pytest.mark.parametrize("units", UNITS)
def test_equal_to_a_table_that_is_normalized_as_a_whole(units, ballast):
    plain = nn.Embedding(7, 4)
    layer = WeightNormEmbedding.from_plain(plain, units, ballast)
    torch.testing.assert_close(layer(INDICES), plain(INDICES))
    torch.testing.assert_close(layer.weight.detach().clone(), plain.weight.detach())
    disturb(layer)
    check_equal(layer, layer(INDICES), F.embedding(INDICES, table(layer)))
    with torch.no_grad():
        for indices in (INDICES, INDICES[0, 0], INDICES[:, :0]):
            torch.testing.assert_close(layer(indices), F.embedding(indices, table(layer)))
    torch.testing.assert_close(fold(layer)(INDICES), layer(INDICES))


def test_only_the_rows_that_are_read_get_gradients():
    layer = WeightNormEmbedding(7, 4)
    layer(torch.tensor([2, 5, 2])).square().sum().backward()
    assert [row for row in range(7) if layer.g.grad[row] != 0] == [2, 5]
    layer.zero_grad()
    layer(torch.tensor([2, 5])).sum().backward()
    assert [row for row in range(7) if layer.v.grad[row].any()] == [2, 5]


@pytest.mark.parametrize("units", ["paper", "sqrt"])
def test_padding_has_a_row_of_zeros_and_no_gradient(units):
    plain = nn.Embedding(7, 4, padding_idx=3)
    layer = WeightNormEmbedding.from_plain(plain, units)
    assert not layer(INDICES)[0, 0].any()
    torch.testing.assert_close(layer(INDICES), plain(INDICES))
    check_equal(layer, layer(INDICES), F.embedding(INDICES, table(layer), padding_idx=3))
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.1)
    layer(INDICES).sub(1).square().sum().backward()
    optimizer.step()
    assert not layer(INDICES)[0, 0].any()
    assert not fold(layer).weight[3].any()
    assert layer(INDICES)[0, 1].any()
    with pytest.raises(ValueError, match="a row of zeros has no logarithm"):
        WeightNormEmbedding(7, 4, padding_idx=3, units="log")


def test_gradients_scaled_by_frequency():
    layer = disturb(WeightNormEmbedding(7, 4, scale_grad_by_freq=True))
    check_equal(layer, layer(INDICES), F.embedding(INDICES, table(layer), scale_grad_by_freq=True))
    once = WeightNormEmbedding.from_plain(fold(layer))
    once.scale_grad_by_freq = False
    once.load_state_dict(layer.state_dict())
    grads = [torch.autograd.grad(one(INDICES).sum(), one.v)[0] for one in (layer, once)]
    assert not torch.allclose(*grads)


BAGS = {
    "matrix": (torch.tensor([[3, 1, 3], [0, 6, 2]]), {}),
    "offsets": (torch.tensor([3, 1, 3, 0, 6]), {"offsets": torch.tensor([0, 2, 2])}),
    "last offset": (torch.tensor([3, 1, 3, 0, 6]), {"offsets": torch.tensor([0, 2, 5])}),
}


@pytest.mark.parametrize("padding_idx", [None, 3])
@pytest.mark.parametrize("case", BAGS)
@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_bags_are_equal_to_a_table_that_is_normalized_as_a_whole(mode, case, padding_idx):
    indices, call = BAGS[case]
    options = {"mode": mode, "include_last_offset": case == "last offset", "padding_idx": padding_idx}
    plain = nn.EmbeddingBag(7, 4, **options)
    layer = WeightNormEmbeddingBag.from_plain(plain)
    torch.testing.assert_close(layer(indices, **call), plain(indices, **call))
    disturb(layer)
    with torch.no_grad():
        layer.g[3] = 1.5
    expected = F.embedding_bag(indices, table(layer), **call, **options)
    check_equal(layer, layer(indices, **call), expected)
    with torch.no_grad():
        torch.testing.assert_close(layer(input=indices, **call), expected)
        torch.testing.assert_close(fold(layer)(indices, **call), expected)
    if padding_idx is not None:
        other = F.embedding_bag(indices, table(layer), **call, **{**options, "padding_idx": None})
        assert not torch.allclose(expected, other)


@pytest.mark.parametrize("case", ["matrix", "offsets"])
def test_weighted_bags(case):
    indices, call = BAGS[case]
    layer = disturb(WeightNormEmbeddingBag(7, 4, mode="sum"))
    weights = torch.rand(indices.shape, requires_grad=True)
    actual = layer(indices, per_sample_weights=weights, **call)
    expected = F.embedding_bag(indices, table(layer), per_sample_weights=weights, mode="sum", **call)
    check_equal(layer, actual, expected)
    gradients = [torch.autograd.grad(y.square().sum(), weights, retain_graph=True) for y in (actual, expected)]
    torch.testing.assert_close(*gradients)
    with pytest.raises(NotImplementedError, match="per_sample_weights"):
        WeightNormEmbeddingBag(7, 4, mode="mean")(indices, per_sample_weights=weights, **call)


def test_bags_scale_gradients_by_frequency():
    indices = BAGS["matrix"][0]
    layer = disturb(WeightNormEmbeddingBag(7, 4, mode="sum", scale_grad_by_freq=True))
    expected = F.embedding(indices, table(layer), scale_grad_by_freq=True).sum(1)  # torch's bags divide other rows too
    check_equal(layer, layer(indices), expected)


@pytest.mark.parametrize("kind", [nn.Embedding, nn.EmbeddingBag])
def test_what_cannot_be_weight_normalized_is_refused(kind):
    for options, what in (({"sparse": True}, "sparse=True"), ({"max_norm": 1.0}, "max_norm")):
        layer = kind(7, 4, **options)
        for convert in (
            lambda layer: normalize(layer, "weight", layers=[""]),
            {nn.Embedding: WeightNormEmbedding, nn.EmbeddingBag: WeightNormEmbeddingBag}[kind].convert,
        ):
            with pytest.raises(ValueError, match=f"{what} of .* cannot be weight-normalized"):
                convert(layer)
            assert type(layer) is kind
            assert list(dict(layer.named_parameters())) == ["weight"]


def test_embeddings_are_converted_only_by_name_or_predicate():
    network = nn.Sequential(nn.Embedding(7, 4), nn.Linear(4, 2))
    normalize(network, "weight")
    assert type(network[0]) is nn.Embedding
    normalize(network, "weight", layers=lambda name, layer: isinstance(layer, nn.Embedding))
    assert type(network[0]) is WeightNormEmbedding
    with pytest.raises(ValueError, match="leaves layer '0' plain: an embedding, to which this"):
        normalize(nn.Sequential(nn.Embedding(7, 4), nn.Linear(4, 2)), "batch", layers=["0"])


def test_from_pretrained_and_back():
    rows = torch.randn(7, 4)
    layer = normalize(nn.Embedding.from_pretrained(rows.clone()), "weight", layers=[""])
    assert not any(parameter.requires_grad for parameter in layer.parameters())
    torch.testing.assert_close(layer(torch.arange(7)), rows)
    twin = copy.deepcopy(layer)
    torch.testing.assert_close(remove(twin).weight.data, rows)
    assert not twin.weight.requires_grad
    assert isinstance(WeightNormEmbedding.from_pretrained(rows, freeze=False), WeightNormEmbedding)
    torch.testing.assert_close(WeightNormEmbedding.from_pretrained(rows)(torch.arange(7)), rows)
