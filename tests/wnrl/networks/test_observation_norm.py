"""wnrl.networks.observation_norm: statistics merged batch by batch, against those of everything at once."""

import copy
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from wnrl.networks.observation_norm import NoNorm, RunningNorm
from wnrl.normalizers.folding import fold, polyak, refresh
from wnrl.normalizers.normalize import normalize


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=6),
    shape=st.sampled_from([(), (3,), (2, 3)]),
    offset=st.sampled_from([0.0, -4.0, 1e4]),
    seed=st.integers(0, 999),
)
def test_merged_batches_have_the_statistics_of_all(sizes, shape, offset, seed):
    norm, generator = RunningNorm(shape), torch.Generator().manual_seed(seed)
    batches = [torch.randn(size, *shape, generator=generator) * (1 + size) + offset for size in sizes]
    for batch in batches:
        norm.update(batch)
    everything = torch.cat(batches).double()
    torch.testing.assert_close(norm.running_mean, everything.mean(0))
    torch.testing.assert_close(norm.running_var, everything.var(0, correction=0))
    assert norm.running_count == sum(sizes)


def test_known_numbers():
    norm = RunningNorm((2,), clip=1.5, eps=0.0)
    norm.update(torch.tensor([[0.0, 10.0], [4.0, 30.0]]))
    assert norm.running_mean.tolist() == [2.0, 20.0]
    assert norm.running_var.tolist() == [4.0, 100.0]
    assert norm(torch.tensor([[3.0, 30.0], [-90.0, 90.0]])).tolist() == [[0.5, 1.0], [-1.5, 1.5]]


def test_before_an_update_observations_stay_but_for_the_clip():
    norm, x = RunningNorm((3,)), torch.randn(4, 3)
    torch.testing.assert_close(norm(x), x)
    assert norm(100 * x).abs().max() == 10


def test_what_was_seen_comes_out_with_mean_0_and_variance_1():
    norm, x = RunningNorm((3,)), 1000 * torch.randn(400, 3).double() + 1e6
    for batch in x.split(7):
        norm.update(batch)
    y = norm(x)
    assert y.dtype == torch.float32
    torch.testing.assert_close(y.mean(0), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(y.var(0, correction=0), torch.ones(3), atol=1e-4, rtol=0)


def test_a_number_that_never_changes_comes_out_as_0():
    norm = RunningNorm((1,))
    for _ in range(50):
        norm.update(torch.full((3, 1), 0.1))
    assert norm(torch.full((2, 1), 0.1)).abs().max() < 1e-6


def test_long_runs_keep_counting():
    norm = RunningNorm((1,))
    norm.update(torch.zeros(1, 1))
    norm.running_count += 2.0**30
    norm.update(torch.ones(1, 1))
    assert norm.running_count.item() == 2**30 + 2
    assert norm.running_mean.item() == pytest.approx(2.0**-30)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bfloat16, torch.float64])
def test_any_type_comes_out_in_float32(dtype):
    norm, x = RunningNorm((3,)), torch.arange(12).view(4, 3).to(dtype)
    norm.update(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = norm(x)
    assert y.dtype == torch.float32
    torch.testing.assert_close(y, norm(x.double()))


def test_leading_dimensions_stand_for_the_batch():
    norm, flat, x = RunningNorm((3,)), RunningNorm((3,)), torch.randn(5, 2, 3)
    norm.update(x)
    flat.update(x.flatten(0, 1))
    assert torch.equal(norm.running_var, flat.running_var)
    assert torch.equal(norm(x).flatten(0, 1), norm(x.flatten(0, 1)))


def test_updates_are_in_place_and_without_gradient_in_any_mode():
    norm = RunningNorm((3,)).eval()
    before = [buffer.data_ptr() for buffer in norm.buffers()]
    norm.update(torch.randn(4, 3, requires_grad=True))
    assert [buffer.data_ptr() for buffer in norm.buffers()] == before
    assert not any(buffer.requires_grad for buffer in norm.buffers())
    x = torch.randn(4, 3, requires_grad=True)
    norm(x).sum().backward()
    torch.testing.assert_close(x.grad, norm.running_var.rsqrt().float().expand(4, 3), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(3,), (4, 1), (4, 3, 1), (0, 3)])
def test_observations_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"expected \[B, 3\] with B > 0, got \["):
        RunningNorm((3,)).update(torch.zeros(shape))


def test_state_is_floating_named_running_and_goes_with_copies():
    norm = RunningNorm((3,))
    norm.update(torch.randn(4, 3))
    state = norm.state_dict()
    assert list(state) == ["running_mean", "running_var", "running_count"]
    assert all(tensor.is_floating_point() for tensor in state.values())
    other, x = RunningNorm([3]), torch.randn(4, 3)
    other.load_state_dict(state)
    for copied in (other, copy.deepcopy(norm), pickle.loads(pickle.dumps(norm))):
        assert torch.equal(copied(x), norm(x))
        copied.update(x)
        assert copied.running_count == 8


def test_targets_copy_the_statistics():
    network = normalize(nn.Sequential(RunningNorm((3,)), nn.Linear(3, 2)), "weight")
    refreshed, averaged = fold(network), fold(network)
    network[0].update(5 * torch.randn(9, 3))
    refresh(refreshed, network)
    polyak(averaged, network, 0.1)
    for target in (refreshed, averaged):
        assert torch.equal(target[0].running_var, network[0].running_var)
        assert target[0].running_count == 9


def test_none_does_nothing():
    norm, x = NoNorm(), torch.randn(4, 3)
    norm.update(x)
    assert norm(x) is x
    assert not norm.state_dict()
