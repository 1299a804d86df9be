import itertools
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.cuda import nothing_waits
from tests.wnrl.streams import DEVICES
from wnrl.replay.sum_tree import SumTree, sum_tree_bytes


class Twin:
    """Weights in a list."""

    def __init__(self, size: int):
        self.weights = [0.0] * size

    def set(self, leaves: list[int], weights: list[float]) -> None:
        for leaf in set(leaves):
            self.weights[leaf] = max(w for other, w in zip(leaves, weights, strict=True) if other == leaf)

    def find(self, mass: float) -> int:
        positive = [leaf for leaf, weight in enumerate(self.weights) if weight > 0]
        ends = list(itertools.accumulate(self.weights))
        return next((leaf for leaf in positive if ends[leaf] > mass), positive[-1] if positive else 0)


def vector(values: list[float], device: str = "cpu") -> Tensor:
    return torch.tensor(values, dtype=torch.float64, device=device)


def tree_of(weights: list[float], device: str = "cpu") -> SumTree:
    tree = SumTree(len(weights), device)
    tree.set(torch.arange(len(weights), device=device), vector(weights, device))
    return tree


@pytest.mark.parametrize("device", DEVICES)
@settings(max_examples=60, deadline=None)
@given(data=st.data(), size=st.integers(1, 130))
def test_does_what_the_naive_twin_does(device: str, data: st.DataObject, size: int) -> None:
    tree, twin = SumTree(size, device), Twin(size)
    pairs = st.tuples(
        st.integers(0, size - 1), st.sampled_from([0.0, 0.0, 0.25, 1.0, 2.5, 1024.0])
    )  # their sums: exact
    for changes in data.draw(st.lists(st.lists(pairs, max_size=12), min_size=1, max_size=6)):
        leaves, weights = [leaf for leaf, _ in changes], [weight for _, weight in changes]
        tree.set(torch.tensor(leaves, dtype=torch.int64, device=device), vector(weights, device))
        twin.set(leaves, weights)
        assert tree.weights(torch.arange(size, device=device)).tolist() == twin.weights
        assert float(tree.total) == sum(twin.weights)
        ends = list(itertools.accumulate(twin.weights))
        masses = [0.0, *ends, *(end - 0.125 for end in ends if end), sum(ends)]
        assert tree.find(vector(masses, device)).tolist() == [twin.find(mass) for mass in masses]


@settings(max_examples=150, deadline=None)
@given(
    weights=st.lists(
        st.sampled_from([0.0, 0.0, 5e-324, 1e-300, 1e-16, 0.1, 1 / 3, 1.0, 1e16]), min_size=1, max_size=70
    ),
    share=st.floats(0, 1),
)
def test_a_leaf_of_weight_0_is_never_found_whatever_is_rounded(weights: list[float], share: float) -> None:
    tree = tree_of(weights)
    ends = torch.cat((vector([-1.0, 0.0]), vector(weights).cumsum(0), tree.total[None] * vector([share, 1, 2])))
    up, down = ends.nextafter(vector([math.inf])), ends.nextafter(vector([-math.inf]))
    leaves = tree.find(torch.cat((ends, up, down)))
    assert (leaves < len(weights)).all()
    assert (tree.weights(leaves) > 0).all() or not any(weights)


@settings(max_examples=60, deadline=None)
@given(weights=st.lists(st.floats(0, 1e3), min_size=1, max_size=70), shares=st.lists(st.floats(0, 1), min_size=1))
def test_the_leaf_found_holds_the_mass_but_for_rounding(weights: list[float], shares: list[float]) -> None:
    tree = tree_of(weights)
    total = math.fsum(weights)
    assert float(tree.total) == pytest.approx(total, rel=1e-13)
    masses = [share * total for share in shares]
    for mass, leaf in zip(masses, tree.find(vector(masses)).tolist(), strict=True):
        begin = math.fsum(weights[:leaf])
        assert begin - 1e-12 * total <= mass <= begin + weights[leaf] + 1e-12 * total


def test_a_running_sum_that_falls_leads_to_no_leaf_of_weight_0() -> None:
    weights, beyond = vector([0, 1, 0, 2, 0])[None], torch.tensor([[True, False, True, False, True]])
    tree = SumTree(125)  # 5 children a node
    assert tree._choose(weights, beyond).item() == 3
    assert tree._choose(weights, torch.tensor([[False, True, False, True, True]])).item() == 1


def test_table() -> None:
    tree = tree_of([0, 2, 0, 1, 4, 0])
    assert float(tree.total) == 7
    assert tree.find(vector([0, 1.5, 2, 2.5, 3, 6.5, 7])).tolist() == [1, 1, 3, 3, 4, 4, 4]
    tree.set(torch.tensor([4, 0]), torch.tensor([0.0, 3.0]))
    assert tree.find(vector([0, 2.5, 3, 5.5, 9])).tolist() == [0, 0, 1, 3, 3]


@pytest.mark.parametrize("device", DEVICES)
def test_a_leaf_named_twice_gets_the_greatest_weight(device: str) -> None:
    tree = tree_of([9, 9, 9, 9], device)
    tree.set(torch.tensor([2, 0, 2, 2], device=device), vector([1, 5, 3, 2], device))
    assert tree.weights(torch.arange(4, device=device)).tolist() == [5, 9, 3, 9]
    assert float(tree.total) == 26


def test_sums_do_not_drift() -> None:
    rng, size = torch.Generator().manual_seed(0), 200
    tree, added = SumTree(size), 0.0
    for _ in range(2000):
        leaves = torch.randperm(size, generator=rng)[:8]
        weights = torch.rand(8, generator=rng, dtype=torch.float64) * 10.0 ** torch.randint(-8, 9, (8,), generator=rng)
        added += float((weights - tree.weights(leaves)).sum())
        tree.set(leaves, weights)
    everything = torch.arange(size)
    afresh = tree_of(tree.weights(everything).tolist())
    torch.testing.assert_close(tree.get_state()["sums"], afresh.get_state()["sums"], rtol=1e-14, atol=0)
    small = torch.full((size,), 1e-8)
    added += float((small - tree.weights(everything)).sum())
    tree.set(everything, small)
    assert float(tree.total) == pytest.approx(size * 1e-8, rel=1e-7)
    assert added != pytest.approx(size * 1e-8, rel=1e-3)  # what sums become to which only changes are added


@pytest.mark.parametrize("device", DEVICES)
def test_leaves_are_found_in_proportion_to_their_weights(device: str) -> None:
    weights = torch.arange(60, dtype=torch.float64, device=device) % 7
    tree = tree_of(weights.tolist(), device)
    draws = 100_000
    leaves = tree.find((torch.arange(draws, device=device) + 0.5) / draws * tree.total)
    found = leaves.bincount(minlength=60)
    assert ((found - weights / weights.sum() * draws).abs() <= 1).all()


@pytest.mark.parametrize("size", [1, 2, 8, 9, 1000, 1001, 100_000])
def test_bytes_are_counted_before_it_is_made(size: int) -> None:
    tree = SumTree(size)
    assert tree.nbytes == sum_tree_bytes(size)
    assert 8 * size < tree.nbytes <= 8 * 1.4 * size + 64
    tree.set(torch.tensor([size - 1]), torch.tensor([0.5]))
    assert tree.find(vector([0.25])).tolist() == [size - 1]


@pytest.mark.parametrize(
    ("size", "numbers"), [(1, 3), (27, 27 + 9 + 3), (28, 28 + 8 + 4), (64, 64 + 16 + 4), (65, 65 + 15 + 5)]
)
def test_it_has_three_levels_of_rows_as_wide_as_the_cube_root(size: int, numbers: int) -> None:
    assert sum_tree_bytes(size) == 8 * numbers


def test_a_state_continues_bit_for_bit() -> None:
    tree, restored = tree_of(torch.rand(50).tolist()), tree_of([1.0] * 50)
    restored.set_state(tree.get_state())
    tree.set(torch.tensor([3]), torch.tensor([7.0]))
    assert float(restored.weights(torch.tensor([3]))) < 1  # a copy
    restored.set(torch.tensor([3]), torch.tensor([7.0]))
    assert torch.equal(restored.get_state()["sums"], tree.get_state()["sums"])


def test_a_state_of_another_tree_is_refused() -> None:
    with pytest.raises(ValueError, match=r"sums of the state must be \[\d+\], got \[\d+\]"):
        SumTree(50).set_state(SumTree(90).get_state())
    with pytest.raises(ValueError, match="got None"):
        SumTree(50).set_state({})


def test_a_tree_needs_a_leaf() -> None:
    for make in (SumTree, sum_tree_bytes):
        with pytest.raises(ValueError, match="size must be 1 or more, got 0"):
            make(0)


@pytest.mark.parametrize("leaves", [torch.tensor([1.0, 2.0]), torch.tensor([1]), torch.tensor([[1, 2]])])
def test_leaves_and_weights_must_match(leaves: Any) -> None:
    with pytest.raises(ValueError, match=r"must be int64 \[K\] and \[K\], got torch"):
        SumTree(5).set(leaves, torch.zeros(2))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_nothing_waits_for_the_device() -> None:
    tree = tree_of([1.0] * 1000, "cuda")
    leaves, weights = torch.arange(32, device="cuda"), torch.rand(32, device="cuda")
    with nothing_waits():
        tree.set(leaves, weights)
        tree.weights(tree.find(weights.double() * tree.total))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -1.0])
def test_a_weight_that_would_spoil_the_sums_is_refused(bad: float) -> None:
    tree = tree_of([1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="weights must be finite and not negative, got"):
        tree.set(torch.tensor([0, 1]), vector([5.0, bad]))
    assert tree.weights(torch.arange(3)).tolist() == [1, 2, 3]
    assert float(tree.total) == 6
    state = {"sums": tree.get_state()["sums"].clone()}
    state["sums"][-1] = bad
    with pytest.raises(ValueError, match="weights must be finite and not negative, got"):
        tree.set_state(state)
    assert float(tree.total) == 6
