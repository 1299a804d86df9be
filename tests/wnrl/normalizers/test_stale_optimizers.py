"""wnrl.normalizers.stale_optimizers: an optimizer from before the conversion lacks g: an error at its second step."""

import copy
import gc
import io
import pickle
import threading
import time
import weakref

import pytest
import torch
from torch import nn
from torch.optim.optimizer import (
    _global_optimizer_post_hooks,
    _global_optimizer_pre_hooks,
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

from wnrl.normalizers import stale_optimizers
from wnrl.normalizers.stale_optimizers import check_optimizer, unwatch, watch

OPTIMIZERS = [
    kind
    for kind in vars(torch.optim).values()
    if isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer) and kind is not torch.optim.Optimizer
]


class Directed(nn.Linear):
    """A naive weight-normalized layer, as `convert` makes it of a linear one."""

    def forward(self, x):
        return nn.functional.linear(x, self.g[:, None] * nn.functional.normalize(self.v, dim=1), self.bias)


def convert(*layers):
    for layer in layers:
        v = layer.weight
        del layer.weight
        layer.__class__ = Directed
        layer.v, layer.g = v, nn.Parameter(v.detach().norm(dim=1))
        watch(layer.v, layer.g)


def make_network():
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))


def converted_network():
    network = make_network()
    convert(network[0], network[2])
    return network


def stale_pair(kind=torch.optim.SGD, **keywords):
    network = make_network()
    early = kind(network.parameters(), lr=0.01, **keywords)
    convert(network[0], network[2])
    return network, early


def learn(network, *optimizers):
    for optimizer in optimizers:

        def closure(optimizer=optimizer):
            optimizer.zero_grad()
            loss = network(torch.ones(5, 3)).square().sum()
            loss.backward()
            for parameter in network.parameters():
                if isinstance(optimizer, torch.optim.SparseAdam) and parameter.grad is not None:
                    parameter.grad = parameter.grad.to_sparse()
            return loss

        if not isinstance(optimizer, torch.optim.LBFGS):
            closure()
            optimizer.step()
        else:
            optimizer.step(closure)


def refused():
    return pytest.raises(
        ValueError,
        match=r"^the optimizer holds v of \d normalized weights?, but not g, and the lengths would never learn:"
        r" build it from network.parameters\(\) after normalize\(\)$",
    )


def assert_stale(network, optimizer):
    learn(network, optimizer)
    for _ in range(2):  # always, not once
        with refused():
            learn(network, optimizer)


def assert_fine(network, *optimizers):
    for _ in range(4):
        learn(network, *optimizers)


def hooks(watcher=None):
    watcher = stale_optimizers._WATCHER if watcher is None else watcher
    found = [*_global_optimizer_pre_hooks.values(), *_global_optimizer_post_hooks.values()]
    return [hook for hook in found if getattr(hook, "__self__", None) is watcher]


@pytest.fixture(autouse=True)
def watcher(monkeypatch):
    others = [(hooks, dict(hooks)) for hooks in (_global_optimizer_pre_hooks, _global_optimizer_post_hooks)]
    for hooks_of_others, _ in others:  # of networks that other tests have left alive
        hooks_of_others.clear()
    new = stale_optimizers._Watcher()
    monkeypatch.setattr(stale_optimizers, "_WATCHER", new)
    yield new
    new._pairs.clear()
    new._unhook_if_done()
    assert not hooks(new)
    for hooks_of_others, saved in others:
        hooks_of_others.update(saved)


# The error comes.


def matrices_and_rest(network):
    matrices = [p for p in network.parameters() if p.ndim == 2]
    return matrices, [p for p in network.parameters() if p.ndim != 2]


@pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad=True to a scalar")  # LBFGS of torch 2.8
@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_every_optimizer_from_before_is_refused_at_its_second_step(kind):
    network = make_network()
    early = kind(matrices_and_rest(network)[0], lr=0.01)  # Muon takes only matrices
    convert(network[0], network[2])
    assert_stale(network, early)


@pytest.mark.parametrize("keywords", [{"foreach": True}, {"foreach": False}, {"fused": True}, {"capturable": False}])
@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD])
def test_each_implementation_is_refused(kind, keywords):
    if kind is torch.optim.SGD and "capturable" in keywords:
        pytest.skip("not an argument of SGD")
    assert_stale(*stale_pair(kind, **keywords))


def test_an_optimizer_that_has_stepped_before_the_conversion_is_refused():
    network = make_network()
    early = torch.optim.Adam(network.parameters(), lr=0.1)
    for _ in range(3):
        learn(network, early)
    convert(network[0], network[2])
    assert_stale(network, early)


def test_an_optimizer_known_from_an_earlier_watch_is_looked_through_again():
    network, kept = make_network(), converted_network()
    early = torch.optim.Adam(network.parameters(), lr=0.1)
    for _ in range(3):
        learn(network, early)
    convert(network[0])
    assert_stale(network, early)
    assert kept is not None


def test_another_conversion_between_the_steps_does_not_reset_the_count():
    network, early = stale_pair()
    learn(network, early)
    kept = converted_network()
    with refused():
        learn(network, early)
    assert kept is not None


def test_an_optimizer_whose_state_was_loaded_is_refused():
    network, early = stale_pair(torch.optim.Adam)
    twin = make_network()
    other = torch.optim.Adam(twin.parameters(), lr=0.01)
    learn(twin, other)
    early.load_state_dict(other.state_dict())
    learn(network, early)
    early.load_state_dict(copy.deepcopy(early.state_dict()))
    with refused():
        learn(network, early)


def test_an_optimizer_that_steps_in_another_thread_is_refused():
    network, early = stale_pair()
    errors = []

    def train():
        try:
            assert_fine(network, early)
        except ValueError as error:
            errors.append(str(error))

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert len(errors) == 1
    assert "but not g" in errors[0]


class ThirdParty(torch.optim.Optimizer):
    def __init__(self, parameters, lr):
        super().__init__(parameters, {"lr": lr})

    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                p.data.add_(p.grad, alpha=-group["lr"])


class Clipped(torch.optim.SGD):
    """Its step calls SGD's, which torch hooks too if there ever was a plain SGD."""

    def step(self, closure=None):
        nn.utils.clip_grad_norm_(self.param_groups[0]["params"], 1.0)
        return super().step(closure)


class Wrapper(torch.optim.Optimizer):
    """As Lookahead: shares the groups of another optimizer and calls its step."""

    def __init__(self, inner):
        self.inner = inner
        super().__init__([torch.zeros(1, requires_grad=True)], {})
        self.param_groups = inner.param_groups

    def step(self, closure=None):
        self.inner.step(closure)


@pytest.mark.parametrize("kind", [ThirdParty, Clipped])
def test_a_third_party_optimizer_is_refused(kind):
    torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    assert_stale(*stale_pair(kind))


def test_a_wrapped_optimizer_is_refused():
    network, early = stale_pair()
    assert_stale(network, Wrapper(early))


def test_a_step_that_failed_is_not_counted():
    network, early = stale_pair()

    def closure():
        raise RuntimeError("no loss")

    with pytest.raises(RuntimeError, match="no loss"):
        early.step(closure)
    assert_stale(network, early)


def test_a_single_weight_that_lacks_its_g_is_counted():
    network = converted_network()
    optimizer = torch.optim.SGD([p for p in network.parameters() if p is not network[2].g], lr=0.1)
    learn(network, optimizer)
    with pytest.raises(ValueError, match="holds v of 1 normalized weight, but not g"):
        learn(network, optimizer)


def test_v_that_comes_with_a_later_group_is_refused():
    network = converted_network()
    optimizer = torch.optim.SGD([network[0].bias], lr=0.1)
    assert_fine(network, optimizer)
    optimizer.add_param_group({"params": [network[0].v]})
    assert_stale(network, optimizer)


@pytest.mark.parametrize("which", "vg")
def test_a_weight_that_is_trained_again_is_refused(which):
    network, early = stale_pair()
    for layer in (network[0], network[2]):
        getattr(layer, which).requires_grad_(False)
    assert_fine(network, early)
    getattr(network[2], which).requires_grad_(True)
    with refused():
        learn(network, early)


@pytest.mark.parametrize("compiled", ["step", "around"])
def test_a_compiled_step_works_and_is_refused(compiled):
    network, early = stale_pair(torch.optim.Adam)
    late, plain = converted_network(), converted_network()
    plain.load_state_dict(late.state_dict())
    optimizer, reference = (torch.optim.Adam(n.parameters(), lr=0.1) for n in (late, plain))

    def step_of(optimizer):
        return torch.compile(optimizer.step if compiled == "step" else lambda: optimizer.step(), backend="eager")

    early_step, late_step = step_of(early), step_of(optimizer)
    for repeat in range(4):
        for each in (network, late, plain):
            each.zero_grad()
            each(torch.ones(5, 3)).square().sum().backward()
        late_step()
        reference.step()
        if repeat == 1:
            with refused():
                early_step()
        elif repeat == 0:
            early_step()
    for p, q in zip(late.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(p, q)


class Foreach(ThirdParty):
    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            torch._foreach_add_(group["params"], [p.grad for p in group["params"]], alpha=-group["lr"])


def test_a_third_party_step_still_compiles_to_one_graph():
    network, kept = converted_network(), converted_network()
    twin = copy.deepcopy(network)
    optimizer, reference = Foreach(network.parameters(), lr=0.1), Foreach(twin.parameters(), lr=0.1)
    step = torch.compile(optimizer.step, backend="eager", fullgraph=True)
    for _ in range(3):
        for each in (network, twin):
            each.zero_grad()
            each(torch.ones(5, 3)).square().sum().backward()
        step()
        reference.step()
    for p, q in zip(network.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(p, q)
    assert kept is not None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_captured_step():
    network = converted_network().cuda()
    early = torch.optim.SGD([network[0].v, network[2].v], lr=0.1)
    late = torch.optim.SGD(network.parameters(), lr=0.1)
    network(torch.ones(5, 3, device="cuda")).square().sum().backward()
    early.step()
    with refused():
        early.step()
    graph = torch.cuda.CUDAGraph()
    late.zero_grad(set_to_none=False)
    late.step()
    with torch.cuda.graph(graph):
        late.step()
    graph.replay()
    assert not hooks()


# No error comes.


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_optimizers_from_after_are_fine(kind):
    network = converted_network()
    matrices, rest = matrices_and_rest(network)
    before = [p.detach().clone() for p in network.parameters()]
    if kind.__name__ == "Muon":  # which torch 2.8 does not have
        assert_fine(network, kind(matrices, lr=0.01), torch.optim.Adam(rest, lr=0.01))
    else:
        assert_fine(network, kind(network.parameters(), lr=0.01))
    assert not any(torch.equal(p, q) for p, q in zip(before, network.parameters(), strict=True))
    assert not hooks()


@pytest.mark.parametrize("v_first", [True, False])
@pytest.mark.parametrize("of_v", [torch.optim.SGD, Clipped, ThirdParty])
@pytest.mark.parametrize("of_g", [torch.optim.Adam, torch.optim.LBFGS, ThirdParty])
def test_v_and_g_in_two_optimizers_are_fine(of_v, of_g, v_first):
    torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)  # now SGD's step is hooked, also as Clipped's super
    network = converted_network()
    matrices, rest = matrices_and_rest(network)
    pair = [of_v(matrices, lr=0.01), of_g(rest, lr=0.01)]
    assert_fine(network, *(pair if v_first else reversed(pair)))
    assert not hooks()


def test_an_early_optimizer_is_fine_next_to_one_that_trains_g():
    network, early = stale_pair()
    late = torch.optim.Adam([network[0].g, network[2].g], lr=0.01)
    assert_fine(network, early, late)


def test_one_step_of_an_early_optimizer_is_fine():
    network, early = stale_pair()
    learn(network, early)
    assert_fine(network, torch.optim.Adam(network.parameters(), lr=0.01))
    assert_fine(network, early)  # g learns


def test_lengths_that_learn_less_often_are_fine():
    network = converted_network()
    matrices, rest = matrices_and_rest(network)
    often, rarely = torch.optim.SGD(matrices, lr=0.01), torch.optim.Adam(rest, lr=0.01)
    for update in range(6):
        learn(network, often)
        if update % 3 == 2:
            learn(network, rarely)
    assert not hooks()


@pytest.mark.parametrize("which", "vg")
def test_a_frozen_parameter_is_fine(which):
    network, early = stale_pair()
    for layer in (network[0], network[2]):
        getattr(layer, which).requires_grad_(False)
    assert_fine(network, early)
    assert_fine(network, torch.optim.Adam([p for p in network.parameters() if p.requires_grad], lr=0.01))


def test_modules_are_searched_once_for_a_frozen_g(monkeypatch):
    searches, find = [], stale_optimizers._find_places
    monkeypatch.setattr(stale_optimizers, "_find_places", lambda pairs: (searches.append(1), find(pairs)))
    network, early = stale_pair()
    for layer in (network[0], network[2]):
        layer.g.requires_grad_(False)
    assert_fine(network, early)
    assert len(searches) == 1


def test_a_trunk_of_a_normalized_and_of_another_network():
    trunk = nn.Linear(3, 4)
    actor, critic = nn.Sequential(trunk, nn.Linear(4, 2)), nn.Sequential(trunk, nn.Linear(4, 1))
    convert(*actor)
    assert_fine(critic, torch.optim.SGD(critic.parameters(), lr=0.01))
    assert_fine(actor, torch.optim.SGD(actor.parameters(), lr=0.01))


def test_other_networks_are_left_alone():
    network, other = make_network(), converted_network()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    assert_fine(network, optimizer)
    assert_fine(other, torch.optim.SGD(other.parameters(), lr=0.01))


def test_a_group_added_before_the_second_step_is_fine():
    network, early = stale_pair()
    learn(network, early)
    early.add_param_group({"params": [network[0].g, network[2].g]})
    assert_fine(network, early)


@pytest.mark.parametrize("append", [True, False])
def test_parameters_written_into_a_group_are_found(append):
    network, early = stale_pair()
    learn(network, early)
    group = early.param_groups[0]
    if append:
        group["params"] += [network[0].g, network[2].g]
    else:  # as many as before
        group["params"] = [p for p in network.parameters() if p.ndim == 2] + [network[0].g, network[2].g]
    assert_fine(network, early)


def test_an_unwatched_v_is_fine_and_can_be_watched_again():
    network, early = stale_pair()
    for layer in (network[0], network[2]):
        unwatch(layer.v)
        unwatch(layer.v)
    assert not hooks()
    assert not any(vars(p) for p in (network[0].v, network[2].v))
    assert_fine(network, early)
    watch(network[0].v, network[0].g)
    assert_stale(network, early)
    watch(network[0].v, network[0].g)  # counts afresh
    assert_stale(network, early)


@pytest.mark.parametrize("name", "vg")
def test_a_replaced_parameter_is_fine(name):
    network = converted_network()
    first = torch.optim.Adam(network.parameters(), lr=0.1)  # holds the replaced ones, which stay alive
    for layer in (network[0], network[2]):
        setattr(layer, name, nn.Parameter(getattr(layer, name).detach().clone()))
    late = torch.optim.Adam(network.parameters(), lr=0.1)
    assert_fine(network, late)
    if name == "v":  # old v and g, trained apart
        assert_fine(network, torch.optim.SGD([p for g in first.param_groups for p in g["params"] if p.ndim == 2], 0.1))
    assert not hooks()


def test_parameters_of_no_module_are_fine():
    v, g = nn.Parameter(torch.ones(2, 3)), nn.Parameter(torch.ones(2))
    watch(v, g)
    optimizer = torch.optim.SGD([v], lr=0.1)
    for _ in range(4):
        v.grad = torch.ones(2, 3)
        optimizer.step()
    assert not hooks()


@pytest.mark.parametrize("swap", [True, False])
@pytest.mark.parametrize("move", ["to", "load"])
def test_conversions_of_the_parameters(swap, move):
    old = torch.__future__.get_swap_module_params_on_conversion()
    torch.__future__.set_swap_module_params_on_conversion(swap)
    try:
        network, early = stale_pair()
        network.zero_grad()
        network.double().float() if move == "to" else network.load_state_dict(converted_network().state_dict())
    finally:
        torch.__future__.set_swap_module_params_on_conversion(old)
    if not swap:
        assert_stale(network, early)
    assert_fine(network, torch.optim.Adam(network.parameters(), lr=0.01))


def test_swapped_parameters_of_two_layers_are_fine():
    network, other = converted_network(), converted_network()
    for name in "vg":
        torch.utils.swap_tensors(getattr(network[0], name), getattr(other[0], name))
    assert_fine(network, torch.optim.Adam(network.parameters(), lr=0.01))
    assert_fine(other, torch.optim.Adam(other.parameters(), lr=0.01))


def by_pickle(network):
    return pickle.loads(pickle.dumps(network))


def by_file(network):
    file = io.BytesIO()
    torch.save(network, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize("copied", [copy.deepcopy, by_pickle, by_file])
def test_copies_are_not_watched(copied, watcher):
    network = converted_network()
    pairs = list(watcher._pairs)
    other = copied(network)
    assert_fine(other, torch.optim.SGD([p for p in other.parameters() if p.ndim == 2], lr=0.01))
    assert list(watcher._pairs) == pairs
    assert_stale(network, torch.optim.SGD([p for p in network.parameters() if p.ndim == 2], lr=0.01))
    watch(other[0].v, other[0].g)
    assert_stale(other, torch.optim.SGD([other[0].v], lr=0.01))


def test_a_watched_parameter_is_saved_as_weights():
    network = converted_network()
    file = io.BytesIO()
    torch.save(dict(network.named_parameters()), file)
    file.seek(0)
    assert torch.equal(torch.load(file, weights_only=True)["0.v"], network[0].v)


# Nothing is kept.


def test_nothing_is_kept_alive(watcher):
    network, early = stale_pair()
    layer = weakref.ref(network[0])
    v, g = weakref.ref(network[0].v), weakref.ref(network[0].g)
    learn(network, early)
    assert len(hooks()) == 2
    early.zero_grad()
    del network
    gc.collect()
    assert layer() is None
    assert g() is None
    assert v() is not None  # in the optimizer
    assert not watcher._pairs
    assert not hooks()
    for p in early.param_groups[0]["params"]:
        p.grad = torch.ones_like(p)
    early.step()
    early.step()
    early = weakref.ref(early)
    gc.collect()
    assert v() is None
    assert early() is None


def test_a_network_that_never_learns_leaves_no_hook():
    network = converted_network()
    assert len(hooks()) == 2
    del network
    gc.collect()
    assert not hooks()


def test_an_optimizer_is_looked_through_once_and_then_no_hook_is_left(monkeypatch):
    network, kept = converted_network(), converted_network()
    looked, held_by = [], stale_optimizers._held_by
    monkeypatch.setattr(stale_optimizers, "_held_by", lambda optimizer: (looked.append(1), held_by(optimizer))[1])
    optimizer = torch.optim.Adam(network.parameters(), lr=0.1)
    assert_fine(network, optimizer)
    assert len(looked) == 1
    assert len(hooks()) == 2  # of the other network
    assert_fine(kept, torch.optim.Adam(kept.parameters(), lr=0.1))
    assert not hooks()
    assert not any(vars(p) for p in [*network.parameters(), *kept.parameters()])


def test_a_hook_that_stays_is_cheap(watcher):
    kept = converted_network()
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1)) for _ in range(100)], lr=0.1)
    watcher._before_step(optimizer)
    start = time.perf_counter()
    for _ in range(1000):
        watcher._before_step(optimizer)
        watcher._after_step(optimizer)
    assert time.perf_counter() - start < 0.5  # seconds; about 0.01
    assert kept is not None


def test_other_hooks_do_not_break_and_are_not_broken():
    calls = []
    network = converted_network()  # our hooks come first, and must not vanish while torch iterates over all
    handles = [
        register(lambda *_: calls.append(1))
        for register in (register_optimizer_step_pre_hook, register_optimizer_step_post_hook)
    ]
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    assert_fine(network, optimizer)
    assert len(calls) == 8
    assert len(hooks()) == 2
    other, early = stale_pair()
    assert len(hooks()) == 2
    assert_stale(other, early)
    for handle in handles:
        handle.remove()
    assert_fine(other, torch.optim.SGD(other.parameters(), lr=0.1))
    assert not hooks()


@pytest.mark.filterwarnings("ignore:Deallocating Tensor that still has live PyObject references")  # of torch 2.8
def test_many_threads():
    errors = []

    def work(index):
        try:
            for _ in range(4):
                network, early = stale_pair()
                if index % 2:
                    assert_stale(network, early)
                else:
                    assert_fine(network, torch.optim.Adam(network.parameters(), lr=0.01))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    gc.collect()
    assert not hooks()


# check_optimizer


def test_missing_parameters_are_named():
    network = converted_network()
    optimizer = torch.optim.SGD([network[0].v, *network[2].parameters()], lr=0.1)
    missing = r"does not hold 0\.bias, 0\.g, which would never learn, though it holds 0\.v: build it from network"
    with pytest.raises(ValueError, match=missing):
        check_optimizer(optimizer, network)
    network[0].g.requires_grad_(False)
    with pytest.raises(ValueError, match=r"does not hold 0\.bias, which would never learn: build it from network"):
        check_optimizer(optimizer, network)
    network[0].requires_grad_(False)
    check_optimizer(optimizer, network)


def test_the_check_finds_an_early_optimizer_before_its_first_step():
    network, early = stale_pair()
    with pytest.raises(ValueError, match=r"0\.g, 2\.g, which would never learn, though it holds 0\.v, 2\.v: build it"):
        check_optimizer(early, network)
    check_optimizer(torch.optim.Adam(network.parameters()), network)


def test_the_check_of_a_bare_layer_and_of_numbered_weights():
    layer = nn.Module()
    layer.g_ih_l0, layer.v_ih_l0 = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2, 3))
    with pytest.raises(ValueError, match="not hold g_ih_l0, which would never learn, though it holds v_ih_l0: build"):
        check_optimizer(torch.optim.SGD([layer.v_ih_l0], lr=0.1), layer)
