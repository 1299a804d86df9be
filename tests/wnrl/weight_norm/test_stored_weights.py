"""wnrl.weight_norm.stored_weights: the forms in which a weight may be stored."""

import pytest
import torch
from torch import nn

from wnrl.weight_norm.stored_weights import OwnPair, Pair, Spectral, formed, kept_pair, lengths_dim, take, weights_in

V = torch.randn(4, 3, 2)


@pytest.mark.parametrize(
    ("layer", "shape", "dim"),
    [
        (nn.Conv1d(3, 4, 2), (4, 1, 1), 0),
        (nn.Conv1d(3, 4, 2), (1, 3, 1), 1),
        (nn.Conv1d(3, 4, 2), (1, 1, 2), 2),
        (nn.Conv1d(3, 4, 2), (4,), 0),
        (nn.Conv1d(3, 4, 2), (), None),
        (nn.ConvTranspose1d(4, 3, 2), (1, 3, 1), 1),
        (nn.ConvTranspose1d(4, 3, 2), (3,), 1),
    ],
)
def test_where_the_lengths_lie(layer, shape, dim):
    g = torch.randn(shape)
    assert lengths_dim(layer, V, g) == dim
    expected = torch._weight_norm(
        V,
        g if g.ndim == 3 or dim is None else g.view([-1 if d == dim else 1 for d in range(3)]),
        -1 if dim is None else dim,
    )
    torch.testing.assert_close(formed(layer, Pair(V, g)), expected)


@pytest.mark.parametrize("shape", [(2,), (4, 1), (4, 3, 1), (3, 1, 1), (1, 1, 1)])
def test_lengths_that_do_not_fit(shape):
    with pytest.raises(ValueError, match="which does not fit directions of shape"):
        lengths_dim(nn.Conv1d(3, 4, 2), V, torch.ones(shape))


def test_one_row_is_a_row():
    layer = nn.Linear(3, 1)
    assert lengths_dim(layer, torch.ones(1, 3), torch.ones(1, 1)) == 0
    assert lengths_dim(nn.ConvTranspose1d(1, 1, 1), torch.ones(1, 1, 1), torch.ones(1, 1, 1)) == 1


@pytest.mark.parametrize("units", ["paper", "sqrt", "log"])
@pytest.mark.parametrize("ballast", [0.0, 1.5])
def test_a_kept_pair_has_the_same_weight(units, ballast):
    layer, g = nn.Conv1d(3, 4, 2), torch.rand(4, 1, 1) + 0.1
    v, own_g = kept_pair(layer, Pair(V, g), units, ballast)
    assert v is V
    torch.testing.assert_close(formed(layer, OwnPair(v, own_g, units, ballast)), formed(layer, Pair(V, g)))
    assert kept_pair(layer, Pair(V, torch.rand(1, 1, 2)), units, ballast) is None
    assert (kept_pair(layer, Pair(V, -g), units, ballast) is None) == (units == "log")
    assert kept_pair(nn.ConvTranspose1d(4, 6, 2, groups=2), Pair(V, torch.rand(1, 3, 1)), units, ballast) is None


def test_forms_are_recognized_and_taken_out():
    w, g, u = torch.ones(4, 3), torch.ones(4, 1), torch.ones(4)
    layer = ("g", "v")
    forms = [
        ({"weight": w}, torch.Tensor),
        ({"weight_g": g, "weight_v": w}, Pair),
        ({"parametrizations.weight.original0": g, "parametrizations.weight.original1": w}, Pair),
        ({"weight_orig": w, "weight_u": u, "weight_v": w}, Spectral),
        ({"weight_orig": w, "running_u": u}, Spectral),
    ]
    for entries, kind in forms:
        left = {**entries, "bias": u}
        assert isinstance(take(left, "weight", layer, {}), kind)
        assert list(left) == ["bias"]
    for entries in ({"g": u, "v": w}, {"weight_g": g}, {"weight_orig": w}, {}):
        left = dict(entries)
        assert take(left, "weight", layer, {}) is None
        assert left == entries
    entries = {"v_hh_l0": w, "g_hh_l0": u}
    assert isinstance(take(dict(entries), "weight_hh_l0", ("weight_hh_l0",), {"units": "sqrt"}), OwnPair)
    with pytest.raises(ValueError, match="the units of its g are not named"):
        take(entries, "weight_hh_l0", ("weight_hh_l0",), {})


def test_weights_of_layers():
    assert weights_in(nn.LSTM(2, 3)) == ("weight_ih_l0", "weight_hh_l0")
    assert weights_in(nn.BatchNorm1d(3)) == weights_in(nn.LazyLinear(3)) == ()
