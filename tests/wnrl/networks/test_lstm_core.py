"""wnrl.networks.lstm_core: the LSTM over segments of time against one that steps one row at a time."""

import copy
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.utils import prune

import wnrl.weight_norm.weight_norm_layer
from wnrl.networks.lstm_core import LSTMCore, LSTMState
from wnrl.networks.torsos import MLP
from wnrl.normalizers.folding import fold
from wnrl.normalizers.normalize import normalize
from wnrl.weight_norm.recurrent import WeightNormLSTM


def step_by_step(core, features, state, first):
    outputs, (h, c) = [], state
    for x, begins in zip(features, first, strict=True):
        going_on = 1.0 - begins.float()[:, None]
        output, (h, c) = core.lstm(x[None], ((h * going_on)[None], (c * going_on)[None]))
        h, c = h[0], c[0]
        outputs.append(output[0])
    return torch.stack(outputs), LSTMState(h, c)


def random_inputs(core, steps, batch, seed=0):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(steps, batch, core.in_features, generator=generator)
    state = LSTMState(*torch.randn(2, batch, core.out_features, generator=generator))
    return features, state, torch.rand(steps, batch, generator=generator) < 0.2


@settings(max_examples=40, deadline=None)
@given(steps=st.integers(1, 9), batch=st.integers(1, 4), seed=st.integers(0, 999))
def test_equal_to_the_step_by_step_twin_with_its_gradients(steps, batch, seed):
    core = LSTMCore(3, 4)
    features, state, first = random_inputs(core, steps, batch, seed)
    features.requires_grad_()
    state = LSTMState(*(part.requires_grad_() for part in state))
    inputs = [features, *state, *core.parameters()]
    results = [run(features, state, first) for run in (core, lambda *a: step_by_step(core, *a))]
    weights = torch.randn(steps, batch, 4)
    gradients = []
    for outputs, after in results:
        gradients.append(torch.autograd.grad((outputs * weights).sum() + after.h.sum() + after.c.sum(), inputs))
    for ours, theirs in zip(*((outputs, *after) for outputs, after in results), strict=True):
        torch.testing.assert_close(ours, theirs)
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("begin", [0, 1, 4])
def test_nothing_leaks_across_an_episodes_start(begin):
    core = LSTMCore(3, 4)
    features, state, _ = random_inputs(core, 6, 2)
    first = torch.zeros(6, 2, dtype=torch.bool)
    other_features = features.clone()
    other_features[:begin] += 1
    other = LSTMState(state.h + 1, state.c - 1)
    went_on, _ = core(features, state, first)
    assert not torch.allclose(core(other_features, other, first)[0][begin:], went_on[begin:])  # so it does without
    first[begin, 0] = True
    outputs, after = core(features, state, first)
    others, other_after = core(other_features, other, first)
    assert torch.equal(outputs[begin:, 0], others[begin:, 0])
    assert torch.equal(after.h[0], other_after.h[0])
    assert not torch.allclose(outputs[begin:, 1], others[begin:, 1])  # the other environment's episode goes on
    torch.testing.assert_close(
        outputs[begin:, :1], core(features[begin:, :1], core.initial_state(1), first[begin:, :1])[0]
    )
    torch.testing.assert_close(outputs[:, 1], went_on[:, 1])


def test_no_gradient_crosses_an_episodes_start():
    core = LSTMCore(3, 4)
    features, state, _ = random_inputs(core, 6, 2)
    features.requires_grad_()
    first = torch.zeros(6, 2)
    first[3, 0] = 1
    core(features, state, first)[0][3:].sum().backward()
    assert not features.grad[:3, 0].any()
    assert features.grad[:3, 1].all()


def test_a_broken_state_ends_with_its_episode():
    core = LSTMCore(3, 4)
    features, _, first = random_inputs(core, 1, 2)
    first[:] = True
    broken = LSTMState(torch.full((2, 4), torch.nan), torch.full((2, 4), torch.inf))
    assert core(features, broken, first)[0].isfinite().all()


def test_first_is_bool_or_float():
    core = LSTMCore(3, 4)
    features, state, first = random_inputs(core, 8, 3)
    outputs = core(features, state, first)[0]
    for dtype in (torch.float32, torch.uint8):
        assert torch.equal(core(features, state, first.to(dtype))[0], outputs)


def test_calls_are_as_few_as_the_episodes_allow():
    core, calls = LSTMCore(3, 4), []
    core.lstm.register_forward_hook(lambda module, inputs, _: calls.append(len(inputs[0])))
    features, state, _ = random_inputs(core, 10, 2)
    first = torch.zeros(10, 2, dtype=torch.bool)
    core(features, state, first)
    first[0, 1] = first[4, 0] = first[4, 1] = first[9, 0] = True
    core(features, state, first)
    assert calls == [10, 4, 5, 1]


def test_effective_weights_are_computed_once_however_many_episodes_begin(monkeypatch):
    module = wnrl.weight_norm.weight_norm_layer
    core, calls, formula = LSTMCore(3, 4), [], module.effective_weight
    core.lstm = WeightNormLSTM.from_plain(core.lstm)
    monkeypatch.setattr(module, "effective_weight", lambda *args, **keys: calls.append(args) or formula(*args, **keys))
    features, state, _ = random_inputs(core, 6, 2)
    first = torch.ones(6, 2)
    outputs, _ = core(features, state, first)
    assert len(calls) == 2
    expected, _ = step_by_step(core, features, state, first)
    assert len(calls) == 2 + 6 * 2
    torch.testing.assert_close(outputs, expected)
    parameters = list(core.parameters())
    gradients = [torch.autograd.grad(y.square().sum(), parameters) for y in (outputs, expected)]
    torch.testing.assert_close(*gradients)


def test_a_pruned_lstm_learns_and_its_weights_are_those_of_the_call():
    core = normalize(LSTMCore(3, 4), "weight")
    prune.random_unstructured(core.lstm, "v_hh_l0", 0.5)
    inputs = random_inputs(core, 6, 2)
    optimizer = torch.optim.SGD(core.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        core(*inputs)[0].square().sum().backward()
        optimizer.step()
    with torch.no_grad():
        outputs = core(*inputs)[0]
        torch.testing.assert_close(outputs, step_by_step(core, *inputs)[0])


def test_sequences_can_be_cut_anywhere():
    core = LSTMCore(3, 4)
    features, state, first = random_inputs(core, 7, 3)
    whole, after = core(features, state, first)
    head, between = core(features[:3], state, first[:3])
    tail, end = core(features[3:], between, first[3:])
    torch.testing.assert_close(torch.cat([head, tail]), whole)
    torch.testing.assert_close(tuple(end), tuple(after))


def test_the_initial_state_is_zero_and_as_good_as_an_episodes_start():
    core = LSTMCore(3, 4)
    features, state, first = random_inputs(core, 2, 5)
    initial = core.initial_state(5)
    assert [tuple(part.shape) for part in initial] == [(5, 4), (5, 4)]
    assert not any(part.any() for part in initial)
    first[0] = True
    assert torch.equal(core(features, initial, torch.zeros_like(first))[0][0], core(features, state, first)[0][0])


def test_the_callers_tensors_stay_as_they_were():
    core = LSTMCore(3, 4)
    inputs = random_inputs(core, 6, 2)
    before = copy.deepcopy(inputs)
    core(*inputs)
    assert torch.equal(inputs[0], before[0])
    assert torch.equal(inputs[1].h, before[1].h)
    assert torch.equal(inputs[2], before[2])


def test_the_core_computes_in_float32_under_autocast():
    core = LSTMCore(3, 4)
    features, state, first = random_inputs(core, 6, 2)
    features = features.bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs, after = core(features, state, first)
    assert {outputs.dtype, after.h.dtype, after.c.dtype} == {torch.float32}
    assert torch.equal(outputs, core(features.float(), state, first)[0])


@pytest.mark.parametrize(
    "change",
    [
        lambda features, state, first: (features[..., :2], state, first),
        lambda features, state, first: (features[0], state, first),
        lambda features, state, first: (features, state, first[:, 0]),
        lambda features, state, first: (features, state, first[:-1]),
        lambda features, state, first: (features, LSTMState(state.h[None], state.c[None]), first),
        lambda features, state, first: (features, LSTMState(state.h[:1], state.c), first),
        lambda features, state, first: (features[:0], state, first[:0]),
    ],
)
def test_wrong_shapes_are_refused_with_what_came(change):
    core = LSTMCore(3, 4)
    inputs = change(*random_inputs(core, 6, 2))
    with pytest.raises(ValueError, match=r"features \[T, B, 3\], h and c \[B, 4\], first \[T, B\] with T > 0, got"):
        core(*inputs)


def test_copies_have_the_same_function():
    core = LSTMCore(3, 4)
    inputs = random_inputs(core, 6, 2)
    for copied in (copy.deepcopy(core), pickle.loads(pickle.dumps(core))):
        assert torch.equal(copied(*inputs)[0], core(*inputs)[0])


@pytest.mark.filterwarnings("ignore:Dynamo does not know how to trace", "ignore:The .grad attribute of a Tensor")
@pytest.mark.parametrize("norm", ["none", "weight"])
def test_it_can_be_compiled(norm):
    torch.compiler.reset()
    core = normalize(LSTMCore(3, 4), norm)
    inputs, parameters = random_inputs(core, 6, 2), list(core.parameters())
    outputs, expected = torch.compile(core, backend="eager")(*inputs), core(*inputs)
    torch.testing.assert_close(outputs, expected)
    actual, expected = (torch.autograd.grad(y.square().sum(), parameters) for y, _ in (outputs, expected))
    torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize("norm", ["none", "weight"])
def test_a_network_with_a_core_can_be_normalized_and_folded(norm):
    network = torch.nn.ModuleDict({"torso": MLP((3,), (5,)), "core": LSTMCore(5, 4)})
    x, state, first = torch.randn(6, 2, 3), LSTMState(torch.zeros(2, 4), torch.zeros(2, 4)), torch.zeros(6, 2)
    first[2, 1] = 1

    def run(network):
        return network["core"](network["torso"](x.flatten(0, 1)).unflatten(0, (6, 2)), state, first)[0]

    before = run(network)
    network = normalize(network, norm)
    outputs = run(network)
    torch.testing.assert_close(outputs, before, rtol=1e-4, atol=1e-5)
    outputs.square().sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    torch.testing.assert_close(run(fold(network)), outputs)
