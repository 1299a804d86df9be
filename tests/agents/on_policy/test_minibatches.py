from typing import NamedTuple

import pytest
import torch

from agents.on_policy.minibatches import shuffled_minibatches

T, N = 9, 4


class Steps(NamedTuple):
    obs: torch.Tensor
    more: tuple[torch.Tensor, ...]
    nothing: tuple = ()


def numbered():
    """Steps whose values are their places, `t * N + n`."""
    place = torch.arange(T * N).view(T, N)
    return Steps(place[..., None].expand(T, N, 3), (place, place > 5))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("number", [1, 4, 5, 36])
def test_they_cover_every_step_once_in_sizes_that_differ_by_one_at_most(number):
    batches = list(shuffled_minibatches(numbered(), number, generator()))
    assert len(batches) == number
    assert torch.cat([batch.more[0] for batch in batches]).sort().values.tolist() == list(range(T * N))
    sizes = {len(batch.obs) for batch in batches}
    assert max(sizes) - min(sizes) <= 1


def test_all_tensors_of_a_step_stay_together_in_the_tree_that_was_given():
    for batch in shuffled_minibatches(numbered(), 3, generator()):
        place, later = batch.more
        assert isinstance(batch, Steps)
        assert batch.nothing == ()
        assert torch.equal(batch.obs, place[:, None].expand(-1, 3))
        assert torch.equal(later, place > 5)


def test_the_order_is_the_generators():
    first, again, other = (
        torch.cat([batch.more[0] for batch in shuffled_minibatches(numbered(), 2, generator(seed))])
        for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.tolist() != list(range(T * N))
