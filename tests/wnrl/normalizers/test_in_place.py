"""Every normalizer converts layers in place: lists, hooks, bound methods, `isinstance` and subclasses go on working."""

import copy
import gc
import pickle
import weakref

import pytest
import torch
from torch import nn

from tests.wnrl.weight_norm.kinds import DENSE, KINDS, loss
from wnrl.normalizers.conversions import NORMALIZERS
from wnrl.normalizers.folding import fold, refresh, remove, unfold
from wnrl.normalizers.normalize import normalize
from wnrl.normalizers.projection import project
from wnrl.weight_norm.normalized_layer import NormalizedLayer

NORMS = [norm for norm in NORMALIZERS if norm != "none"]
LAYER_NORMS = ("layer", "layer-channels", "layer+projected")
BATCH_NORMS = ("mean-batch", "batch", "batch+projected")
PRESERVING = ("weight", "weight-clip", *BATCH_NORMS)  # in evaluation mode
NOT_RECURRENT = [norm for norm in NORMS if norm not in ("weight", "mean-batch", "projected", "weight-clip")]


def applies(norm, kind):
    """Whether the normalizer converts layers of this kind."""
    if kind.startswith("Embedding"):
        return norm in ("weight", "mean-batch", "projected")
    is_recurrent = any(part in kind for part in ("LSTM", "GRU", "RNN", "Attention"))
    return not (is_recurrent and norm in NOT_RECURRENT)


CASES = [(norm, kind) for norm in NORMS for kind in KINDS if applies(norm, kind)]
OTHERS = [(norm, kind) for norm in NORMS for kind in KINDS if not applies(norm, kind)]


def converted(norm, kind, **options):
    """A plain layer's network, normalized, and inputs; the layer does not come last."""
    make, inputs = KINDS[kind]
    network = nn.ModuleList([make(), nn.Linear(2, 2)]).eval()
    normalize(network, norm, layers=["0"], **options)
    return network, inputs()


def disturb(network, x):
    """Move parameters, statistics and singular vectors away from their start."""
    with torch.no_grad():
        for parameter in network[0].parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    project(network)
    network.train()
    for _ in range(3):
        network[0](**x)
    return network.eval()


@pytest.mark.parametrize(("norm", "kind"), CASES)
def test_the_layer_stays_the_object_and_the_instance_that_it_was(norm, kind):
    make, inputs = KINDS[kind]
    layer, x, called = make().eval(), inputs(), []
    network = nn.ModuleList([layer, nn.Linear(2, 2)])
    plain, expected, forward, listed = type(layer), layer(**x), layer.forward, [layer]
    parameters = dict(layer.named_parameters())
    layer.register_forward_hook(lambda *_: called.append("hook"))
    assert normalize(network, norm, layers=["0"]) is network
    assert network[0] is listed[0] is layer
    assert isinstance(layer, plain)
    assert isinstance(layer, NormalizedLayer)
    assert {id(p) for p in parameters.values()} <= {id(p) for p in layer.parameters()}  # v is what weight was
    y = layer(**x)
    assert called == ["hook"]
    if norm in PRESERVING:
        torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-5)
    if norm == "weight":
        torch.testing.assert_close(forward(**x), y)  # bound before; of torch's class, it reads the effective weight
    with torch.no_grad():
        torch.testing.assert_close(layer(**x), y)


@pytest.mark.parametrize(("norm", "kind"), OTHERS)
def test_what_does_not_apply_is_refused_and_left_alone(norm, kind):
    layer = KINDS[kind][0]()
    plain, before, attributes = type(layer), dict(layer.named_parameters()), set(vars(layer))
    with pytest.raises(ValueError, match="leaves layer '0' plain"):
        normalize(nn.ModuleList([layer, nn.Linear(2, 2)]), norm, layers=["0"])
    assert type(layer) is plain
    assert set(vars(layer)) == attributes
    assert [(n, id(p)) for n, p in layer.named_parameters()] == [(n, id(p)) for n, p in before.items()]


@pytest.mark.parametrize(("norm", "kind"), CASES)
def test_remove_gives_the_class_the_parameters_and_the_function_back(norm, kind):
    make, inputs = KINDS[kind]
    layer, x, plain = make(), inputs(), make()
    parameters, network = dict(layer.named_parameters()), nn.ModuleList([layer, nn.Linear(2, 2)])
    disturb(normalize(network, norm, layers=["0"]), x)
    expected, state = layer(**x), copy.deepcopy(layer.state_dict())
    if norm in LAYER_NORMS:
        with pytest.raises(ValueError, match=r"layer '0' is a \w+: no plain layer has its function"):
            remove(network)
        torch.testing.assert_close(layer.state_dict(), state, rtol=0, atol=0)
        torch.testing.assert_close(layer(**x), expected, rtol=0, atol=0)
        return
    assert remove(network) is network
    assert network[0] is layer
    assert [type(module) for module in layer.modules()] == [type(module) for module in plain.modules()]
    assert vars(layer).keys() == vars(plain).keys()
    assert list(layer.state_dict()) == list(plain.state_dict())
    after = dict(layer.named_parameters())
    assert list(after) == list(dict(plain.named_parameters()))
    assert all(after[name] is parameter for name, parameter in parameters.items())
    assert all(parameter.is_leaf and parameter.requires_grad for parameter in after.values())
    torch.testing.assert_close(layer(**x), expected, rtol=1e-4, atol=1e-5)
    loss(layer.train()(**x)).backward()
    assert all(parameter.grad is not None for parameter in after.values())
    normalize(network, norm, layers=["0"])  # and again
    assert isinstance(layer, NormalizedLayer)


@pytest.mark.parametrize(("norm", "kind"), CASES)
def test_copies_and_pickles_have_the_same_class(norm, kind):
    network, x = converted(norm, kind)
    layer = disturb(network, x)[0]
    expected = layer(**x)
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert type(twin) is type(layer)
        torch.testing.assert_close(twin(**x), expected)
        assert [n for n, _ in twin.named_parameters()] == [n for n, _ in layer.named_parameters()]
        assert not {id(p) for p in twin.parameters()} & {id(p) for p in layer.parameters()}
        with torch.no_grad():
            for parameter in twin.parameters():
                parameter.zero_()
        torch.testing.assert_close(layer(**x), expected)
    other, _ = converted(norm, kind)
    assert type(other[0]) is type(layer)  # one class for all layers of the kind


@pytest.mark.parametrize(("norm", "kind"), CASES)
def test_folds_are_plain_and_the_layer_stays(norm, kind):
    network, x = converted(norm, kind)
    disturb(network, x)
    kept, parameters, expected = type(network[0]), [id(p) for p in network.parameters()], network[0](**x)
    folded = fold(network)
    assert type(network[0]) is kept
    assert [id(p) for p in network.parameters()] == parameters
    assert type(folded[0]) is (kept if norm in LAYER_NORMS else type(KINDS[kind][0]()))
    torch.testing.assert_close(folded[0](**x), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(network[0](**x), expected)


# --- hooks


HOOKS = (
    *("forward_hook", "forward_pre_hook", "full_backward_hook", "full_backward_pre_hook"),
    *("state_dict_post_hook", "state_dict_pre_hook", "load_state_dict_pre_hook", "load_state_dict_post_hook"),
)


class Hook:
    """Adds its name to a list when it is called."""

    def __init__(self, name, calls):
        self.name, self.calls = name, calls

    def __call__(self, *_):
        self.calls.append(self.name)


def registered(layer):
    """The list to which a hook of every sort adds its name when it is called, and their handles."""
    calls = []
    return calls, [getattr(layer, f"register_{name}")(Hook(name, calls)) for name in HOOKS]


def use(layer):
    """Call whatever has hooks, each once."""
    layer(torch.randn(6, 5, requires_grad=True)).sum().backward()
    layer.load_state_dict(layer.state_dict())


@pytest.mark.parametrize("norm", NORMS)
def test_hooks_go_on_working(norm):
    layer = nn.Linear(5, 4)
    calls, handles = registered(layer)
    network = nn.Sequential(layer, nn.Linear(4, 2))
    use(layer)
    assert sorted(calls) == sorted(HOOKS)
    normalize(network, norm, layers=["0"])
    calls.clear()
    use(layer)
    assert sorted(calls) == sorted(HOOKS)  # each once
    calls.clear()
    folded = fold(network)[0]
    use(folded)
    assert not calls  # a deep copy's hooks are copies too
    (hook,) = folded._forward_hooks.values()
    assert sorted(hook.calls) == sorted(HOOKS)
    if norm not in LAYER_NORMS:
        remove(network)
        use(layer)
        assert sorted(calls) == sorted(HOOKS)
    calls.clear()
    for handle in handles:
        handle.remove()  # handles from before
    use(layer)
    assert not calls


def test_a_forward_hook_gets_the_output_and_may_replace_it():
    layer, x = nn.Linear(5, 4), torch.randn(6, 5)
    seen = []
    layer.register_forward_hook(lambda module, inputs, output: seen.append(output) or 2 * output)
    normalize(nn.Sequential(layer, nn.Linear(4, 2)), "mean-batch")
    torch.testing.assert_close(layer(x), 2 * seen[0])
    torch.testing.assert_close(seen[0].mean(0), layer.norm.bias)  # the normalized output


# --- subclasses


class Causal(nn.Conv1d):
    """A convolution over the past, of the length of its input."""

    def __init__(self, inputs, outputs, kernel):
        super().__init__(inputs, outputs, kernel)
        self.pad = kernel - 1

    def forward(self, input):
        return super().forward(nn.functional.pad(input, (self.pad, 0)))


class Standardized(nn.Linear):
    """A complete forward pass of its own, which reads the weight."""

    def forward(self, input):
        weight = self.weight - self.weight.mean(1, keepdim=True)
        return nn.functional.linear(input, weight, self.bias)


class Larger(nn.Linear):
    """Its own parameter, buffer and child module."""

    def __init__(self, inputs, outputs):
        super().__init__(inputs, outputs)
        self.temperature = nn.Parameter(torch.full((outputs,), 1.5))
        self.register_buffer("offset", torch.randn(outputs))
        self.child = nn.Linear(outputs, outputs)

    def forward(self, input):
        return self.child(super().forward(input) * self.temperature + self.offset)


class Remembering(nn.LSTM):
    """A recurrent layer with a forward pass of its own."""

    def forward(self, input, hx=None):
        return super().forward(2 * input, hx)


SUBCLASSES = {
    "Causal": (lambda: Causal(3, 4, 3), (5, 3, 6)),
    "Standardized": (lambda: Standardized(5, 4), (6, 5)),
    "Larger": (lambda: Larger(5, 4), (6, 5)),
    "Remembering": (lambda: Remembering(3, 4), (5, 2, 3)),
}
OWN_FORWARD = ("Causal", "Standardized", "Larger")
SUBCLASS_CASES = [
    (norm, name)
    for norm in NORMS
    for name in SUBCLASSES
    if not (name == "Remembering" and norm in NOT_RECURRENT) and not (norm == "batch+projected" and name in OWN_FORWARD)
]


@pytest.mark.parametrize(("norm", "name"), SUBCLASS_CASES)
def test_subclasses_keep_their_forward_and_their_own_parts(norm, name):
    make, shape = SUBCLASSES[name]
    layer, x, fresh = make().eval(), torch.randn(shape), make()
    expected, plain = layer(x), type(layer)
    own = {n: p for n, p in layer.named_parameters() if not n.startswith(("weight", "bias"))}
    network = nn.ModuleList([layer, nn.Linear(2, 2)])
    normalize(network, norm, layers=["0"])
    assert isinstance(layer, plain)
    if norm in PRESERVING:
        torch.testing.assert_close(layer(x), expected, rtol=1e-4, atol=1e-5)
    loss(layer.train()(x)).backward()
    assert [n for n, p in layer.named_parameters() if p.grad is None] == []
    assert all(layer.get_parameter(n) is p for n, p in own.items())
    expected = layer.eval()(x)
    for twin in (fold(network)[0], copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        torch.testing.assert_close(twin(x), expected, rtol=1e-4, atol=1e-5)
        assert isinstance(twin, plain)
    if norm in BATCH_NORMS and name in OWN_FORWARD:  # whose bias might not be added last
        assert type(fold(network)[0]) is type(layer)
        assert (layer.bias is None) == (fresh.bias is None)
        with pytest.raises(ValueError, match="no plain layer has its function"):
            remove(network)
    elif norm not in LAYER_NORMS:
        assert type(fold(network)[0]) is plain
        remove(network)
        assert type(layer) is plain
        assert vars(layer).keys() == vars(fresh).keys()
        assert list(layer.state_dict()) == list(fresh.state_dict())
        torch.testing.assert_close(layer(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("norm", ["mean-batch", "batch"])
def test_folds_of_a_subclass_with_a_forward_of_its_own_follow_its_statistics(norm):
    network = nn.Sequential(Larger(5, 4), nn.Tanh(), nn.Linear(4, 2))
    with torch.no_grad():
        network[0].bias.add_(1.0)
    x = torch.randn(50, 5)
    before = network(x)
    normalize(network, norm)
    torch.testing.assert_close(network.eval()(x), before)
    folded = fold(network)
    network.train()(3 * x)
    network.eval()
    assert not torch.allclose(folded(x), network(x))
    refresh(folded, network)
    torch.testing.assert_close(folded(x), network(x))
    other = normalize(nn.Sequential(Larger(5, 4), nn.Tanh(), nn.Linear(4, 2)), norm).eval()
    unfold(other, folded)
    torch.testing.assert_close(other(x), network(x))


def test_rows_of_a_subclass_with_a_forward_of_its_own_are_not_projected_before_batch_norm():
    network = nn.Sequential(nn.Linear(5, 5), nn.Tanh(), Larger(5, 4), nn.Tanh(), nn.Linear(4, 2))
    with pytest.raises(ValueError, match="Larger cannot be projected before its batch norm"):
        normalize(network, "batch+projected")
    assert type(network[0]) is nn.Linear


def test_the_output_of_a_subclass_is_what_is_normalized():
    layer, x = Larger(5, 4), 100 * torch.randn(50, 5)
    normalize(nn.ModuleList([layer, nn.Linear(2, 2)]), "layer", layers=["0"])
    torch.testing.assert_close(layer(x).var(1, correction=0), torch.ones(50), rtol=1e-3, atol=0)


def plain_attribute(layer, name):
    setattr(layer, name, 5)


def parameter(layer, name):
    setattr(layer, name, nn.Parameter(torch.ones(2)))


def child(layer, name):
    setattr(layer, name, nn.Linear(1, 1))


def method(layer, name):
    layer.__class__ = type("Own", (nn.Linear,), {name: lambda self: 5})


TAKEN = {"g": ("weight",), "v": ("weight",), "units": ("weight",), "norm": (*BATCH_NORMS, *LAYER_NORMS)}


@pytest.mark.parametrize("give", [plain_attribute, parameter, child, method])
@pytest.mark.parametrize("name", ["gain", "scale", "layer", "norm", "g", "v", "units", "fold", "project"])
@pytest.mark.parametrize("norm", NORMS)
def test_attributes_with_our_names_are_refused_or_kept(norm, name, give):
    layer, x = nn.Linear(5, 4).eval(), torch.randn(6, 5)
    give(layer, name)
    expected, own = layer(x), getattr(layer, name)
    kind, parameters, attributes = type(layer), dict(layer._parameters), dict(vars(layer))
    network, refusal = nn.ModuleList([layer, nn.Linear(2, 2)]), ""
    try:
        normalize(network, norm, layers=["0"])
    except ValueError as error:
        refusal = str(error)
    if refusal:
        assert f"has an attribute {name!r}, which its normalizer needs: rename it" in refusal
        assert (type(layer), dict(layer._parameters), dict(vars(layer))) == (kind, parameters, attributes)
    else:
        assert getattr(layer, name) is own or give is method
        if norm in PRESERVING:
            torch.testing.assert_close(layer(x), expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(fold(network)[0](x), layer(x), rtol=1e-4, atol=1e-5)
    if name in ("gain", "layer"):
        assert not refusal
    if name == "fold" or norm in TAKEN.get(name, ()) or (name in ("g", "v", "units") and norm == "mean-batch"):
        assert refusal
    if name == "scale" and norm == "weight":
        assert not refusal  # ours gives way


# --- the layer's own methods


@pytest.mark.parametrize(("norm", "kind"), CASES)
def test_resetting_draws_what_the_plain_layer_draws(norm, kind):
    network, _ = converted(norm, kind)
    layer, plain = network[0], KINDS[kind][0]()
    with torch.no_grad():
        for tensor in (*layer.parameters(), *(layer.norm.buffers() if kind in DENSE and norm in BATCH_NORMS else ())):
            tensor.fill_(1.7)

    def reset(module):
        torch.manual_seed(3)
        getattr(module, "reset_parameters", getattr(module, "_reset_parameters", None))()
        return torch.get_rng_state()

    assert torch.equal(reset(layer), reset(plain))
    if norm in ("projected", "spectral"):
        normalize(nn.ModuleList([plain, nn.Linear(2, 2)]), norm, layers=["0"])
    own = plain.folded() if norm == "spectral" else dict(plain.named_parameters(recurse=False))
    torch.testing.assert_close({n: t for n, t in layer.folded().items() if n in own}, own)


EMPTY = {
    "no inputs": (lambda: nn.Linear(0, 3), {"input": (4, 0)}),
    "no outputs": (lambda: nn.Linear(3, 0), {"input": (4, 3)}),
    "no examples": (lambda: nn.Linear(3, 2), {"input": (0, 3)}),
    "conv": (lambda: nn.Conv2d(3, 4, 3), {"input": (0, 3, 5, 5)}),
    "transposed": (lambda: nn.ConvTranspose2d(4, 6, 3, groups=2), {"input": (0, 4, 5, 5)}),
    "lstm": (lambda: nn.LSTM(3, 4), {"input": (5, 0, 3)}),
    "cell": (lambda: nn.LSTMCell(3, 4), {"input": (0, 3)}),
    "cell without inputs": (lambda: nn.GRUCell(0, 4), {"input": (2, 0)}),
    "attention": (lambda: nn.MultiheadAttention(8, 2), {"query": (5, 0, 8), "key": (4, 0, 8), "value": (4, 0, 8)}),
}


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors is a no-op")  # torch's own
@pytest.mark.parametrize("case", EMPTY)
@pytest.mark.parametrize("norm", NORMS)
def test_empty_layers_and_batches_are_taken_as_torch_takes_them(norm, case):
    make, shapes = EMPTY[case]
    layer, x = make().eval(), {name: torch.randn(shape) for name, shape in shapes.items()}
    expected = layer(**x)
    if norm in NOT_RECURRENT and case in ("lstm", "cell", "cell without inputs", "attention"):
        return
    if case == "no outputs" and norm in (*LAYER_NORMS, "batch", "batch+projected"):
        return  # torch's own normalizations take no layer without units
    network = nn.ModuleList([layer, nn.Linear(2, 2)])
    normalize(network, norm, layers=["0"])
    y = layer(**x)
    if norm in PRESERVING:
        torch.testing.assert_close(y, expected)
    loss(y).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in layer.parameters())
    for _ in range(2):
        with torch.no_grad():
            torch.testing.assert_close(layer(**x), y)
    torch.testing.assert_close(fold(network)[0](**x), y)
    project(network)
    if norm not in LAYER_NORMS:
        torch.testing.assert_close(remove(network)[0](**x), y)


@pytest.mark.parametrize("name", ["_factors", "_scales", "_weights", "_put", "_kept"])
def test_private_attributes_of_a_subclass_are_not_overwritten(name):
    class Own(nn.Linear):
        pass

    layer = Own(3, 2)
    setattr(layer, name, 7)
    with pytest.raises(ValueError, match=f"Own has an attribute {name!r}, which its normalizer needs"):
        normalize(nn.ModuleList([layer]), "weight")
    assert getattr(layer, name) == 7


def test_a_class_from_which_none_can_be_derived():
    class Tagged(nn.Linear):
        def __init_subclass__(cls, /, tag):
            pass

    class Own(Tagged, tag="own"):
        pass

    network = nn.Sequential(nn.Linear(3, 3), Own(3, 2))
    with pytest.raises(ValueError, match=r"no class can be derived from Own.*leave it out by layers="):
        normalize(network, "weight")
    assert type(network[0]) is nn.Linear


def test_converted_classes_are_freed_with_their_own():
    def convert():
        class Local(nn.Linear):
            pass

        return weakref.ref(type(normalize(nn.Sequential(Local(3, 2)), "weight")[0]))

    kind = convert()
    gc.collect()
    assert kind() is None


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("norm", NORMS)
def test_padded_sequences_through_an_encoder_on_its_fast_path(norm):
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    encoder, x = nn.TransformerEncoder(layer, 2).eval(), torch.randn(3, 4, 8)
    normalize(encoder, norm)
    padded = torch.zeros(3, 4, dtype=torch.bool)
    padded[0, -1] = True
    with torch.no_grad():
        acted = encoder(x, src_key_padding_mask=padded)
    expected = encoder(x, src_key_padding_mask=padded)
    torch.testing.assert_close(acted[~padded], expected[~padded].detach(), rtol=1e-4, atol=1e-5)
