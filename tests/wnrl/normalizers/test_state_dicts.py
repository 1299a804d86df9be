"""wnrl.normalizers.state_dicts, and load_state_dict of normalized networks: states of other networks, both ways."""

import copy
import io
import pickle
from collections import OrderedDict

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

import wnrl
from tests.wnrl.normalizers.torch_layers import ALL_WEIGHTS, KINDS, WRAPS, output, row_dim, wrapped
from wnrl.normalizers.state_dicts import convert_state_dict, torch_state_dict

UNITS = ["paper", "sqrt", "log"]
each_kind = pytest.mark.parametrize("kind", KINDS)
each_style = pytest.mark.parametrize("style", WRAPS)
each_units = pytest.mark.parametrize("units", UNITS)


def normalized(kind, norm="weight", **options):
    layer = KINDS[kind][0]().eval()
    return wnrl.normalize(layer, norm, layers=[n for n, _ in layer.named_modules() if "parts" not in n], **options)


def net(norm="none", **options):
    network = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Conv1d(1, 2, 2), nn.Flatten(), nn.Linear(6, 2))
    return wnrl.normalize(network.eval(), norm, **options)


IN = torch.randn(5, 1, 3)


def drawn(network):
    for parameter in network.parameters():
        nn.init.normal_(parameter)
    return network


def untouched(state):
    return {name: value.clone() for name, value in state.items()}


def equal(one, other):
    return list(one) == list(other) and all(torch.equal(one[name], other[name]) for name in one)


# torch's weight norm, in


@each_units
@each_style
@each_kind
def test_states_of_torchs_weight_norm_load(kind, style, units):
    layer, inputs = wrapped(kind, style)
    state = layer.state_dict()
    before = untouched(state)
    own = normalized(kind, units=units)
    assert own.load_state_dict(state) == ([], [])
    torch.testing.assert_close(output(own, inputs), output(layer, inputs))
    assert equal(state, before)


@each_style
@pytest.mark.parametrize("kind", [kind for kind in KINDS if KINDS[kind][2] == ("weight",)])
def test_g_and_v_are_kept_to_the_bit(kind, style):
    layer, _ = wrapped(kind, style)
    own = normalized(kind)
    own.load_state_dict(layer.state_dict())
    g, v = (value for name, value in layer.state_dict().items() if not name.endswith("bias"))
    assert torch.equal(own.v, v)
    assert torch.equal(own.g, g.flatten())


@each_units
@each_style
@pytest.mark.parametrize(
    ("kind", "dim"),
    [("conv1d", 2), ("conv1d", 1), ("conv1d", -1), ("transposed1d", 0), ("transposed2d", 3), ("linear", 1)],
)
def test_lengths_along_any_dimension(kind, dim, style, units):
    layer, inputs = wrapped(kind, style, dim)
    own = normalized(kind, units=units)
    own.load_state_dict(layer.state_dict())
    torch.testing.assert_close(output(own, inputs), output(layer, inputs))


def test_grouped_transposed_convolutions():
    for dim in (0, 1):
        layer = drawn(parametrizations.weight_norm(nn.ConvTranspose1d(4, 6, 2, groups=2), dim=dim))
        own = wnrl.normalize(nn.ConvTranspose1d(4, 6, 2, groups=2), "weight")
        own.load_state_dict(layer.state_dict())
        x = torch.randn(2, 4, 5)
        torch.testing.assert_close(own(x), layer(x))


def test_lengths_without_further_dimensions():
    layer, inputs = wrapped("conv1d", "hook")
    state = layer.state_dict()
    state["weight_g"] = state["weight_g"].flatten()
    own = normalized("conv1d")
    own.load_state_dict(state)
    torch.testing.assert_close(output(own, inputs), output(layer, inputs))
    state["weight_g"] = state["weight_g"][:-1]
    with pytest.raises(RuntimeError, match=r"the weight cannot be converted: its lengths have shape \[5\], which does"):
        own.load_state_dict(state)


@each_units
@each_kind
def test_plain_weights_load(kind, units):
    make, inputs, _ = KINDS[kind]
    plain, own = make().eval(), normalized(kind, units=units)
    own.load_state_dict(plain.state_dict())
    torch.testing.assert_close(output(own, inputs), output(plain, inputs))


@pytest.mark.parametrize("norm", ["mean-batch", "batch", "weight"])
@each_style
def test_plain_and_torch_states_in_networks_with_batch_normalization(norm, style):
    plain = drawn(net())
    torch_net = copy.deepcopy(plain)
    for layer in (torch_net[0], torch_net[2]):
        WRAPS[style](layer, "weight")
    for one in (plain, drawn(torch_net)):
        own = net(norm)
        assert own.load_state_dict(one.state_dict()) == ([], [])
        torch.testing.assert_close(own(IN), one(IN))


def test_a_missing_normalization_is_filled_in_only_as_a_whole():
    own = net("batch")
    state = {name: value for name, value in own.state_dict().items() if name != "0.norm.running_mean"}
    assert own.load_state_dict(state, strict=False) == (["0.norm.running_mean"], [])


# wrappers and older names


@pytest.mark.parametrize("norm", ["weight", "batch"])
@pytest.mark.parametrize("wrappers", ["_orig_mod.", "module.", "module._orig_mod.", "_orig_mod.module."])
def test_names_of_wrapped_networks(norm, wrappers):
    source, own = drawn(net()), net(norm)
    state = {wrappers + name: value for name, value in source.state_dict().items()}
    own.load_state_dict(state)
    torch.testing.assert_close(own(IN), source(IN))
    plain = net()
    plain.load_state_dict(convert_state_dict(state, plain))
    torch.testing.assert_close(plain(IN), source(IN))


def test_units_are_found_beneath_wrappers():
    source = drawn(net("weight", units="sqrt"))
    expected, first = source(IN), source[0](IN)  # DataParallel moves it to a GPU, if there is one
    for wrap in (nn.DataParallel, torch.compile, lambda network: nn.DataParallel(torch.compile(network))):
        state = wrap(source).state_dict()
        assert all(name.startswith(("module.", "_orig_mod.")) for name in state)
        own = net("weight")
        own.load_state_dict(state)
        torch.testing.assert_close(own(IN), expected)
        own = nn.Sequential(net("weight"))  # deeper, where torch gives hooks no metadata
        own.load_state_dict(nn.Sequential(wrap(source)).state_dict())
        torch.testing.assert_close(own(IN), expected)
        layer = wnrl.normalize(nn.Linear(3, 4), "weight")
        layer.load_state_dict(wrap(source[0]).state_dict())
        torch.testing.assert_close(layer(IN), first)


def test_a_child_with_a_wrappers_name_keeps_its_entries():
    network = wnrl.normalize(nn.ModuleDict({"module": nn.Linear(3, 4), "0": nn.Linear(3, 4)}), "weight", units="sqrt")
    other = wnrl.normalize(nn.ModuleDict({"module": nn.Linear(3, 4), "0": nn.Linear(3, 4)}), "weight")
    other.load_state_dict(network.state_dict())
    for name in network:
        torch.testing.assert_close(other[name](IN), network[name](IN))


def test_the_hook_is_there_once_travels_and_goes():
    network = net("weight", layers=["0"])
    wnrl.normalize(network, "weight", layers=["2"])
    assert len(network._load_state_dict_pre_hooks) == 1
    state = {f"module.{name}": value for name, value in drawn(net()).state_dict().items()}
    for copied in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        copied.load_state_dict(state)
        assert copied[0](IN).ne(network[0](IN)).any()  # its own layers, not those of the original
    assert not wnrl.fold(network)._load_state_dict_pre_hooks
    assert len(network._load_state_dict_pre_hooks) == 1
    wnrl.remove(network)
    assert not network._load_state_dict_pre_hooks


OLDER = {
    "weight": lambda name: name,
    "mean-batch": lambda name: name.replace("0.", "0.layer.") if "norm" not in name else name,
    "batch": lambda name: name.replace("0.weight", "0.layer.weight"),
    "layer": lambda name: name.replace("0.", "0.layer.") if "norm" not in name else name,
    "projected": lambda name: name.replace("0.", "0.layer."),
    "spectral": lambda name: {"0.weight_orig": "0.layer.weight", "0.bias": "0.layer.bias"}.get(name, name),
}


@pytest.mark.parametrize("norm", OLDER)
def test_names_of_older_versions(norm):
    source = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    own = copy.deepcopy(source)
    drawn(wnrl.normalize(source, norm, layers=["0"])).eval()
    wnrl.normalize(own, norm, layers=["0"]).eval()
    state = {OLDER[norm](name) if name.startswith("0.") else name: v for name, v in source.state_dict().items()}
    own.load_state_dict(state)
    torch.testing.assert_close(own(IN), source(IN), rtol=0, atol=0)


# units and ballast


@pytest.mark.parametrize("new", UNITS)
@pytest.mark.parametrize("old", UNITS)
@pytest.mark.parametrize("kind", ["linear", "transposed2d", "lstm", "attention"])
def test_units_are_converted(kind, old, new):
    source, own, inputs = normalized(kind, units=old), normalized(kind, units=new), KINDS[kind][1]
    drawn(source)
    file = io.BytesIO()
    torch.save(source.state_dict(), file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    own.load_state_dict(state)
    torch.testing.assert_close(output(own, inputs), output(source, inputs))
    converted = convert_state_dict(state, own)
    again = normalized(kind, units="sqrt")
    again.load_state_dict(converted)  # which names its units too
    torch.testing.assert_close(output(again, inputs), output(source, inputs))
    if old == new:
        assert equal(own.state_dict(), state)


def test_units_that_are_not_named():
    source, own, plain = drawn(net("weight", units="sqrt")), net("weight"), net()
    state = dict(source.state_dict())
    own.load_state_dict(state)
    assert torch.equal(own[0].g, source[0].g)  # taken for its own
    own.load_state_dict(convert_state_dict(state, own, units="sqrt"))
    torch.testing.assert_close(own(IN), source(IN))
    plain.load_state_dict(convert_state_dict(state, plain, units="sqrt"))
    torch.testing.assert_close(plain(IN), source(IN))
    with pytest.raises(ValueError, match="the units of its g are not named"):
        convert_state_dict(state, plain)
    with pytest.raises(ValueError, match="names other units for layer '0', 'sqrt': leave out units="):
        convert_state_dict(source.state_dict(), own, units="paper")
    with pytest.raises(ValueError, match="units must be one of"):
        convert_state_dict(state, own, units="metres")
    with pytest.raises(RuntimeError, match=r"layer '0': .*the units of its g are not named"):
        net("batch").load_state_dict(state)


@pytest.mark.parametrize(("old", "new"), [(0.0, 2.0), (2.0, 0.0), (1.0, 2.0), (2.0, 2.0)])
@pytest.mark.parametrize("units", UNITS)
def test_ballast_is_converted(old, new, units):
    source, own = drawn(net("weight", ballast=old, units="sqrt")), net("weight", ballast=new, units=units)
    own.load_state_dict(source.state_dict())
    torch.testing.assert_close(own(IN), source(IN))
    assert torch.equal(own[0].v, source[0].v) or units == "log"
    layer, inputs = wrapped("linear", "hook")
    own = normalized("linear", ballast=new, units=units)
    own.load_state_dict(layer.state_dict())
    torch.testing.assert_close(output(own, inputs), output(layer, inputs))


def test_lengths_alone_are_converted_too():
    source, own = drawn(net("weight", units="sqrt")), net("weight")
    for network in (source, own):
        prune.random_unstructured(network[0], "v", 0.5)
    own.load_state_dict(source.state_dict())
    torch.testing.assert_close(own(IN), source(IN))
    state = OrderedDict({"0.g": source[0].g.detach()})
    state._metadata = source.state_dict()._metadata
    own[0].g.data.zero_()
    own.load_state_dict(state, strict=False)
    torch.testing.assert_close(own(IN), source(IN))


def test_a_zero_row_cannot_be_in_log_units():
    state = net().state_dict()
    state["0.weight"][1] = 0.0
    net("weight").load_state_dict(state)
    with pytest.raises(RuntimeError, match=r"layer '0': the weight cannot be .* a row of zeros has no logarithm"):
        net("weight", units="log").load_state_dict(state)


# errors, strict, assign


def test_missing_and_unexpected_keys_are_reported_as_torch_does():
    state = net().state_dict()
    missing = {name: value for name, value in state.items() if not name.startswith("2.")}
    own = net("weight")
    with pytest.raises(RuntimeError, match=r'Missing key\(s\) in state_dict: "2.g", "2.v", "2.bias"'):
        own.load_state_dict(missing)
    assert own.load_state_dict(missing, strict=False) == (["2.g", "2.v", "2.bias"], [])
    with pytest.raises(RuntimeError, match=r'Unexpected key\(s\) in state_dict: "9.weight", "0.other"'):
        own.load_state_dict({**state, "9.weight": torch.ones(1), "0.other": torch.ones(1)})
    with pytest.raises(RuntimeError, match=r"size mismatch for 0.v: .*\[4, 2\].*\[4, 3\]\)\.$"):
        own.load_state_dict({**state, "0.weight": torch.ones(4, 2)})


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("norm", ["weight", "batch", "layer", "projected"])
def test_a_bias_is_never_taken_alone(norm, strict):
    own, state = wnrl.normalize(net(), norm, layers=["0"]), net().state_dict()
    for unknown in ({"0.weight_packed": torch.ones(1)}, {"0.weight_g": torch.ones(4, 1)}, {}):
        broken = {name: value for name, value in state.items() if name != "0.weight"} | unknown
        with pytest.raises(RuntimeError, match="layer '0': the weight is in no known form, but there is"):
            own.load_state_dict(broken, strict=strict)
    lstm = normalized("lstm")
    state = {name: value for name, value in KINDS["lstm"][0]().state_dict().items() if name != "weight_hh_l0"}
    with pytest.raises(RuntimeError, match="the weight_hh_l0 is in no known form"):
        lstm.load_state_dict(state, strict=strict)


def test_what_does_not_fit_is_named():
    state = {**net().state_dict(), "9.weight": torch.ones(1), "0.gain": torch.ones(1)}
    for network in (net(), net("weight")):
        with pytest.raises(ValueError, match=r"(?=.*9\.weight)(?=.*0\.gain).* fit nothing in Sequential$"):
            convert_state_dict(state, network)
    with pytest.raises(ValueError, match=r"0.norm.running_mean.* fit nothing"):
        convert_state_dict(net("batch").state_dict(), net())
    assert list(convert_state_dict({"0.bias": torch.ones(4)}, net())) == ["0.bias"]


@each_style
def test_assign(style):
    for make in (lambda: drawn(net()).double(), lambda: wrapped_net(style).double()):
        source = make()
        with torch.device("meta"):
            own = net("weight")
        own.load_state_dict(source.state_dict(), assign=True)
        assert {value.dtype for value in own.state_dict().values()} == {torch.float64}
        assert isinstance(own[0].v, nn.Parameter)
        assert own[0].v.requires_grad
        torch.testing.assert_close(own(IN.double()), source(IN.double()))
        half = source.half().state_dict()
        own.load_state_dict(half, assign=True)
        assert {value.dtype for value in own.state_dict().values()} == {torch.float16}


def wrapped_net(style, **dims):
    network = net()
    for index in (0, 2, 4):
        WRAPS[style](network[index], "weight", dims.get(f"d{index}", 0))
    return drawn(network)


def test_half_precision_is_computed_in_that_of_the_layer():
    source = wrapped_net("hook", d2=2).half()
    own = net("weight")
    own.load_state_dict(source.state_dict())
    torch.testing.assert_close(own(IN), source.float()(IN))


def test_an_optimizer_goes_on():
    own = drawn(net("weight", units="sqrt"))
    optimizer = torch.optim.Adam(own.parameters())
    for _ in range(2):
        own(IN).sum().backward()
        optimizer.step()
    moments = copy.deepcopy(optimizer.state_dict())
    parameters = list(own.parameters())
    own.load_state_dict(wrapped_net("hook").state_dict())
    assert all(one is other for one, other in zip(parameters, own.parameters(), strict=True))
    assert str(optimizer.state_dict()) == str(moments)
    optimizer.step()


# spectral norm


@pytest.mark.parametrize("kind", ["linear", "conv2d", "transposed1d"])
@pytest.mark.parametrize("spectral", [parametrizations.spectral_norm, nn.utils.spectral_norm])
def test_states_of_torchs_spectral_norm(kind, spectral):
    make, inputs, _ = KINDS[kind]
    source = spectral(make())
    early = copy.deepcopy(source)
    for _ in range(200):
        source(*inputs)
    spectral_of_ours = wnrl.normalize(make(), "spectral", normalize_output=True).eval()
    spectral_of_ours.load_state_dict(source.state_dict())
    torch.testing.assert_close(output(spectral_of_ours, inputs), output(source.eval(), inputs))
    early.eval()(*inputs)
    state = {name: value.clone() for name, value in early.state_dict().items()}
    name = next(name for name in state if name.endswith(("_v", "weight_v")))
    state[name] = -state[name] + 0.1  # not the direction of Wᵀu
    early.load_state_dict(state)
    with pytest.raises(RuntimeError, match="its power iteration is not at its end"):
        spectral_of_ours.load_state_dict(state)
    own, plain = normalized(kind), make()
    own.load_state_dict(state)
    plain.load_state_dict(convert_state_dict(state, plain))
    for other in (own, plain):
        torch.testing.assert_close(output(other, inputs), output(early, inputs))


def test_plain_weights_are_refused_under_spectral_normalization():
    own = wnrl.normalize(nn.Sequential(nn.Linear(3, 4)), "spectral", normalize_output=True)
    with pytest.raises(RuntimeError, match=r"layer '0': the weight cannot .*: it is not spectrally normalized"):
        own.load_state_dict(nn.Sequential(nn.Linear(3, 4)).state_dict(), strict=False)


# plain networks


@each_kind
@pytest.mark.parametrize("style", [*WRAPS, "ours", "plain"])
def test_a_plain_network_gets_plain_weights(kind, style):
    make, inputs, _ = KINDS[kind]
    if style in WRAPS:
        source = wrapped(kind, style)[0]
    else:
        source = drawn(normalized(kind, units="sqrt") if style == "ours" else make().eval())
    plain, state = make().eval(), source.state_dict()
    before = untouched(state)
    plain.load_state_dict(convert_state_dict(state, plain))
    torch.testing.assert_close(output(plain, inputs), output(source, inputs))
    assert equal(state, before)


def test_mean_only_batch_normalization_is_folded_into_a_plain_network():
    source, plain = drawn(net("mean-batch", units="log")), net()
    source[0].norm.running_mean.normal_()
    plain.load_state_dict(convert_state_dict(source.state_dict(), plain))
    torch.testing.assert_close(plain(IN), source(IN))


# out


@each_units
@each_style
@each_kind
def test_round_trips_through_torchs_layers(kind, style, units):
    make, inputs, names = KINDS[kind]
    names = ALL_WEIGHTS.get(kind, names)
    source, inputs = wrapped(kind, style, names=names)
    own = normalized(kind, units=units)
    own.load_state_dict(source.state_dict())
    back, _ = wrapped(kind, style, names=names)
    state = torch_state_dict(own, style)
    assert set(state) == set(source.state_dict())
    back.load_state_dict(state)
    torch.testing.assert_close(output(back, inputs), output(source, inputs))
    if units != "log":  # there, v of a negative g becomes −v
        torch.testing.assert_close(dict(state), dict(source.state_dict()), rtol=1e-6, atol=0)
    if units == "paper":
        assert all(torch.equal(state[name], value) for name, value in source.state_dict().items())
    plain = make().eval()
    plain.load_state_dict(torch_state_dict(own, "plain"))
    torch.testing.assert_close(output(plain, inputs), output(source, inputs))


@each_style
def test_ballast_goes_out(style):
    source = drawn(net("weight", ballast=2.0, units="sqrt"))
    back = wrapped_net(style)
    back.load_state_dict(torch_state_dict(source, style))
    torch.testing.assert_close(back(IN), source(IN))


def test_pruned_directions_go_out():
    source = drawn(net("weight"))
    prune.random_unstructured(source[0], "v", 0.5)
    for style in WRAPS:
        back = wrapped_net(style)
        back.load_state_dict(torch_state_dict(source, style))
        torch.testing.assert_close(back(IN), source(IN))


@pytest.mark.parametrize("norm", ["mean-batch", "batch", "projected", "spectral", "weight-clip"])
def test_other_normalizers_go_out_folded(norm):
    source, plain = drawn(net(norm)), net()
    state = torch_state_dict(source, "plain")
    plain.load_state_dict(state)
    torch.testing.assert_close(plain(IN), source(IN))
    assert equal(state, wnrl.fold(source).state_dict())
    for style in WRAPS if norm != "mean-batch" else ():
        with pytest.raises(ValueError, match=r"layer '\d' is a \w+, which is not weight normalization"):
            torch_state_dict(source, style)


def test_mean_only_batch_normalization_goes_out():
    source = drawn(net("mean-batch"))
    source[0].norm.running_mean.normal_()
    for style in WRAPS:
        back = wrapped_net(style)
        back.load_state_dict(torch_state_dict(source, style))
        torch.testing.assert_close(back(IN), source(IN))


def test_what_torch_cannot_have_is_named():
    transposed = wnrl.normalize(nn.Sequential(nn.ConvTranspose1d(4, 6, 2, groups=2)), "weight")
    for style in WRAPS:
        with pytest.raises(ValueError, match="layer '0' is a grouped transposed convolution, whose rows torch's"):
            torch_state_dict(transposed, style)
    plain = nn.Sequential(nn.ConvTranspose1d(4, 6, 2, groups=2))
    plain.load_state_dict(torch_state_dict(transposed, "plain"))
    torch.testing.assert_close(plain(torch.ones(1, 4, 3)), transposed(torch.ones(1, 4, 3)))
    with pytest.raises(ValueError, match="layer '0' is a LayernormLinear: no layer of torch has its function"):
        torch_state_dict(net("layer"), "plain")
    with pytest.raises(ValueError, match="style must be one of"):
        torch_state_dict(plain, "hooks")


def test_states_that_go_out_name_no_units_and_keep_versions():
    network = wnrl.normalize(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)), "weight", units="sqrt")
    metadata = torch_state_dict(network)._metadata
    assert metadata["1"] == {"version": 2}
    assert not any("units" in about for about in metadata.values())
    assert row_dim(network[0]) == 0


def test_a_forward_pass_of_its_own_takes_no_mean_into_its_bias():
    class Own(nn.Linear):
        def forward(self, input):
            return 2 * super().forward(input) + 1

    network = nn.Sequential(Own(3, 4), nn.ReLU(), nn.Linear(4, 2))
    plain = copy.deepcopy(network)
    wnrl.normalize(network, "mean-batch")
    with pytest.raises(ValueError, match="Own has a forward pass of its own, into which no mean can be folded"):
        convert_state_dict(network.state_dict(), plain)


def test_extra_states_of_subclasses_go_out():
    class Noted(nn.Linear):
        note = "before"

        def get_extra_state(self):
            return {"note": self.note}

        def set_extra_state(self, state):
            self.note = state["note"]

    network, plain = (nn.Sequential(Noted(3, 4), nn.ReLU(), nn.Linear(4, 2)) for _ in range(2))
    wnrl.normalize(network, "weight")[0].note = "after"
    plain.load_state_dict(torch_state_dict(network, "plain"))
    assert plain[0].note == "after"
