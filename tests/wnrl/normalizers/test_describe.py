"""wnrl.normalizers.describe: a row for each weight, with its lengths, ties and reasons, and a readable table."""

import copy
import gc
import math
import pickle
import weakref

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

import wnrl
from wnrl.normalizers import describe as module
from wnrl.normalizers.conversions import NORMALIZERS
from wnrl.normalizers.describe import LayerDescription, describe
from wnrl.normalizers.normalize import normalize


def make_network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


def rows_by_name(network):
    return {row.name: row for row in describe(network).layers}


def column(network, field):
    return {row.name: getattr(row, field) for row in describe(network).layers}


def test_a_row_has_the_lengths_of_the_effective_weight():
    layer = nn.Linear(2, 3)
    layer.weight.data = torch.tensor([[3.0, 4.0], [0.0, 1.0], [6.0, 8.0]])
    network = normalize(nn.Sequential(nn.ReLU(), layer), "weight", units="sqrt", ballast=0.25)
    network[1].g.data *= 2.0  # so that lengths are not those of v
    (row,) = describe(network).layers
    numbers = row.shortest, row.mean, row.longest
    assert numbers == pytest.approx((2.0, 2 * 16 / 3, 20.0))
    rest = row._replace(shortest=0, mean=0, longest=0)
    assert rest == LayerDescription("1", "Linear", "weight", "sqrt", 0.25, 3, 0, 0, 0, 0, (), "")


def test_transposed_convolutions_have_their_rows_along_the_output_channels():
    row = rows_by_name(normalize(nn.Sequential(nn.ConvTranspose1d(4, 6, 3, groups=2)), "weight"))["0"]
    assert row.rows == 6


def test_each_matrix_has_a_row():
    network = nn.Sequential(nn.LSTM(3, 4, proj_size=2), nn.MultiheadAttention(4, 2, kdim=3), nn.GRUCell(2, 2))
    expected = {
        **{"0.weight_ih_l0": 16, "0.weight_hh_l0": 16, "0.weight_hr_l0": 2},
        **{"1.q_proj_weight": 4, "1.k_proj_weight": 4, "1.v_proj_weight": 4, "1.out_proj": 4},
        **{"2.weight_ih": 6, "2.weight_hh": 6},
    }
    plain = describe(network).layers
    assert {row.name: row.rows for row in plain} == expected
    normalize(network, "weight")
    rows = describe(network).layers
    assert {row.name: (row.rows, row.normalizer) for row in rows} == {
        name: (number, "weight") for name, number in expected.items()
    }
    for row, before in zip(rows, plain, strict=True):
        assert (row.shortest, row.longest) == pytest.approx((before.shortest, before.longest))
        assert row.kind == before.kind


@pytest.mark.parametrize("norm", NORMALIZERS)
def test_every_normalizer_is_named(norm):
    network = normalize(make_network(), norm)
    expected = {"0": norm, "3": norm, "5": norm}
    if norm == "spectral":
        expected["0"] = "none"
    if norm == "mean-batch":
        expected["5"] = "weight"
    elif norm not in ("weight", "weight-clip"):
        expected["5"] = "none"
    assert column(network, "normalizer") == expected
    assert column(network, "kind") == {"0": "Conv2d", "3": "Linear", "5": "Linear"}
    with_g = {name for name, units in column(network, "units").items() if units == "paper"}
    assert with_g == (set(expected) if norm in ("weight", "mean-batch") else set())


def test_under_batch_norm_lengths_are_those_of_the_folded_layer():
    network = normalize(make_network(), "batch")
    network(torch.randn(6, 3, 3, 3))
    row = rows_by_name(network)["0"]
    folded, own = (one[0].weight.detach().flatten(1).norm(dim=1) for one in (wnrl.fold(network), network))
    assert row.longest == pytest.approx(folded.max().item())
    assert row.longest != pytest.approx(own.max().item(), rel=1e-3)


def test_subclasses_are_named_by_their_own_class():
    class Own(nn.Linear):
        pass

    assert column(normalize(nn.Sequential(Own(2, 2)), "weight"), "kind") == {"0": "Own"}


def test_reasons_are_those_of_the_last_call():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.words, self.core = nn.Embedding(3, 4), nn.GRU(4, 4)
            self.single, self.body, self.out = nn.Linear(4, 1), nn.Linear(4, 4), nn.Linear(4, 2)

    network = normalize(Net(), "layer")
    assert column(network, "reason") == {
        "words": "an embedding: only by layers=",
        "core.weight_ih_l0": "a recurrent layer or attention, to which it does not apply",
        "core.weight_hh_l0": "a recurrent layer or attention, to which it does not apply",
        "single": "it has one unit, which layer normalization would make constant",
        "body": "",
        "out": "an output layer",
    }
    normalize(network, "weight", layers=["single"])
    assert column(network, "reason") == {
        **{name: "left out by layers=" for name in ("words", "core.weight_ih_l0", "core.weight_hh_l0", "out")},
        **{"single": "", "body": ""},
    }


def test_reasons_of_earlier_calls_are_forgotten():
    network = normalize(nn.Sequential(nn.Embedding(3, 4), nn.Linear(4, 4), nn.Linear(4, 2)), "weight", layers=["1"])
    assert column(network, "reason") == {"0": "left out by layers=", "1": "", "2": "left out by layers="}
    normalize(network, "weight")
    assert column(network, "reason") == {"0": "an embedding: only by layers=", "1": "", "2": ""}


def test_spectral_norm_of_the_last_hidden_layer_leaves_the_others():
    network = normalize(make_network(), "spectral")
    assert column(network, "reason") == {
        "0": "only the last hidden layer before each output is normalized",
        "3": "",
        "5": "an output layer",
    }


def test_after_an_error_no_reason_is_kept():
    network = make_network()
    with pytest.raises(ValueError, match="'batch' leaves layer '5' plain"):
        normalize(network, "batch", layers=["3", "5"])
    assert set(column(network, "reason").values()) == {""}


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda network: pickle.loads(pickle.dumps(network))])
def test_in_copies_reasons_are_inferred(copied):
    network = nn.Sequential(nn.Embedding(3, 4), nn.GRU(4, 4), nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2))
    network[2].weight = network[0].weight = nn.Parameter(torch.randn(4, 4))
    normalize(network, "batch", layers=["3"])
    assert rows_by_name(network)["4"].reason == "left out by layers="
    assert column(copied(network), "reason") == {
        "0": "an embedding: only by layers=",
        "1.weight_ih_l0": "a recurrent layer or attention",
        "1.weight_hh_l0": "a recurrent layer or attention",
        "2": "its weight is tied",
        "3": "",
        "4": "an output layer",
    }


def test_plain_layers_are_not_changed_and_not_kept_alive():
    network = make_network()
    before = {name: dict(vars(layer)) for name, layer in network.named_modules()}
    normalize(network, "batch")
    assert vars(network[5]) == before["5"]
    reference = weakref.ref(network[5])
    assert reference() in module._reasons
    del network, before
    gc.collect()
    assert reference() is None


def test_describing_changes_nothing():
    network = normalize(make_network(), "weight")
    network[0] = parametrizations.spectral_norm(nn.Conv2d(3, 4, 3))
    before = copy.deepcopy(network.state_dict())
    attributes = {name: set(vars(layer)) for name, layer in network.named_modules()}
    random = torch.get_rng_state()
    describe(network)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert {name: set(vars(layer)) for name, layer in network.named_modules()} == attributes
    assert torch.equal(torch.get_rng_state(), random)


def test_layers_that_cannot_be_normalized_say_why():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight, self.mask = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2, 2))

    pruned = nn.Linear(2, 2)
    prune.random_unstructured(pruned, "weight", 0.5)
    network = nn.Sequential(
        nn.Linear(2, 2),
        parametrizations.orthogonal(nn.Linear(2, 2)),
        pruned,
        nn.LazyLinear(3),
        Own(),
        *(nn.LayerNorm((2, 2)), nn.BatchNorm1d(2), nn.PReLU(), nn.ReLU()),
    )
    normalize(network, "weight", layers=["0"])
    assert column(network, "reason") == {
        "0": "",
        "1": "its weight is parametrized or pruned",
        "2": "its weight is parametrized or pruned",
        "3": "it has no shape yet",
        "4": "not a layer that can be normalized",
    }
    rows = rows_by_name(network)
    assert (rows["1"].kind, rows["1"].shortest, rows["1"].longest) == ("Linear", pytest.approx(1), pytest.approx(1))
    assert rows["2"].longest == pytest.approx(pruned.weight.norm(dim=1).max().item())
    assert (rows["3"].rows, math.isnan(rows["3"].mean)) == (0, True)


def test_ties_and_second_names():
    network = nn.ModuleDict({"a": nn.Linear(3, 3), "b": nn.Linear(3, 3), "c": nn.Linear(3, 3)})
    network["b"].weight = network["a"].weight
    network["d"] = network["c"]
    expected = {"a": ("b",), "b": ("a",), "c": ("d",)}
    assert column(network, "tied_to") == expected
    assert "tied: a = b (one weight)" in str(describe(network))
    normalize(network, "weight")
    assert column(network, "tied_to") == expected
    assert "tied: a = b (one v and one g)\ntied: c = d (one v and one g)" in str(describe(network))


def test_zero_rows_are_pointed_out():
    network = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    network[0].weight.data[:2] = 0.0
    assert str(describe(network)).endswith("\nrows of zeros: 0 (2 of 4)")
    normalize(network, "weight")
    assert column(network, "zero_rows") == {"0": 2, "1": 0}
    why = "weight normalization gives them g = 0 and the direction of ones"
    assert str(describe(network)).endswith(f"\nrows of zeros: 0 (2 of 4); {why}")
    assert network[0].g[:2].tolist() == [0.0, 0.0]
    assert (network[0].v[0] == network[0].v[0, 0]).all()


def test_a_layer_alone_and_the_meta_device():
    (row,) = describe(normalize(nn.Linear(2, 3), "weight")).layers
    assert row.name == ""
    assert str(describe(nn.Linear(2, 3))).splitlines()[1].startswith("(itself)  Linear")
    (row,) = describe(nn.Linear(2, 3, device="meta")).layers
    assert (row.rows, math.isnan(row.longest)) == (3, True)
    assert describe(nn.ReLU()).layers == []
    assert str(describe(nn.ReLU())).startswith("layer")


def test_the_table():
    network = make_network()
    with torch.no_grad():
        network[0].weight.fill_(1 / 27**0.5)
        network[3].weight.copy_(torch.arange(1.0, 9)[:, None].expand(8, 4) / 2)
        network[5].weight.fill_(1000.0)
    expected = """\
layer  kind    norm    units  rows  shortest  mean  longest
0      Conv2d  weight  paper     4         1     1        1
3      Linear  weight  paper     8         1   4.5        8
5      Linear  none              2      2828  2828     2828
left plain:
  5 (an output layer)"""
    described = describe(normalize(network, "weight", normalize_output=False))
    assert (str(described), repr(described)) == (expected, expected)


def test_wide_tables_keep_to_100_columns():
    network = nn.ModuleDict({
        "a_very_long_name_of_a_part_" * 4: nn.Linear(2, 2),
        "transformer": nn.TransformerEncoderLayer(8, 2, 4),
        "x": nn.Linear(2, 2),
    })  # fmt: skip
    normalize(network, "weight", ballast=0.125, layers=lambda name, layer: name != "x")
    lines = str(describe(network)).splitlines()
    too_long = [line for line in lines if len(line) > 100]
    assert too_long == ["a_very_long_name_of_a_part_" * 4]  # alone in its line, and whole
    assert lines[lines.index(too_long[0]) + 1].split()[0] == "Linear"
    assert any("NonDynamicallyQu.." in line and "paper, ballast 0.125" in line for line in lines)
    ends = {len(line) for line in lines[: lines.index("left plain:")] if len(line.split()) > 1}
    assert len(ends) == 1


def test_verbose_prints_the_layers_of_this_call(capsys):
    network = normalize(make_network(), "weight", layers=["0"])
    assert capsys.readouterr().out == ""
    normalize(network, "batch", verbose=True)
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in printed[1:3]] == [["3", "Linear", "batch"], ["5", "Linear", "none"]]
    assert printed[3:] == ["left plain:", "  5 (an output layer)"]


def test_verbose_prints_what_becomes_of_ties(capsys):
    network = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    network[1].weight = network[0].weight
    normalize(network, "weight", verbose=True)
    assert capsys.readouterr().out.endswith("\ntied: 0 = 1 (one v and one g)\n")


def test_verbose_of_none_and_of_errors(capsys):
    network = make_network()
    with pytest.raises(ValueError, match="leaves layer '5' plain"):
        normalize(network, "batch", layers=["5"], verbose=True)
    assert capsys.readouterr().out == ""
    normalize(network, "none", verbose=True)
    assert capsys.readouterr().out.count(" none ") == 3


@pytest.mark.parametrize(
    ("layer", "norm", "expected"),
    [
        (nn.Linear(3, 2), "weight", "WeightNormLinear(in_features=3, out_features=2, bias=True, units=paper)"),
        (nn.Conv1d(3, 2, 1), "weight", "WeightNormConv1d(3, 2, kernel_size=(1,), stride=(1,), units=paper)"),
        (nn.LSTM(3, 2, 2), "weight", "WeightNormLSTM(3, 2, num_layers=2, units=paper)"),
        (nn.Embedding(5, 2, padding_idx=0), "weight", "WeightNormEmbedding(5, 2, padding_idx=0, units=paper)"),
        (nn.EmbeddingBag(5, 2, mode="sum"), "weight", "WeightNormEmbeddingBag(5, 2, mode='sum', units=paper)"),
        (nn.Linear(3, 2), "projected", "ProjectedLinear(in_features=3, out_features=2, bias=True)"),
        (
            nn.MultiheadAttention(4, 2),
            "weight",
            "WeightNormMultiheadAttention(\n  units=paper\n  (out_proj): NonDynamicallyQuantizableLinear"
            "(in_features=4, out_features=4, bias=True)\n)",
        ),
        (
            nn.Linear(3, 2),
            "mean-batch",
            "MeanBatchnormWeightNormLinear(\n  in_features=3, out_features=2, bias=False, units=paper\n"
            "  (norm): MeanOnlyBatchNorm(2, channel_dim=-1, momentum=0.1)\n)",
        ),
        (
            nn.Linear(3, 2),
            "layer",
            f"LayernormLinear(\n  in_features=3, out_features=2, bias=True\n  (norm): {nn.LayerNorm(2)}\n)",
        ),
    ],
)
def test_reprs_of_layers_read_like_those_of_torch(layer, norm, expected):
    network = normalize(nn.ModuleList([layer, nn.Linear(3, 2)]), norm, layers=["0"])
    assert repr(network[0]) == expected
