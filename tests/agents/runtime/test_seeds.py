import itertools

import numpy as np
import pytest

from agents.runtime.seeds import Purpose, generator, integer, process_seed, sequence


def test_runs_of_one_seed_are_reproduced_by_later_versions():
    assert integer(0, Purpose.NETWORK) == 1_317_536_309_490_288_386
    assert [purpose.value for purpose in Purpose] == list(range(10))
    assert generator(3, Purpose.AGENT).integers(1_000, size=3).tolist() == [724, 305, 396]


def test_nothing_is_shared_between_seeds_purposes_and_indices():
    """Seeds of 32 bits and more beside each other and beside small ones too."""
    seeds = [*range(20), 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**32 + 1, 2**64 - 1]
    drawn = [integer(*key) for key in itertools.product(seeds, Purpose, [0, 1, 250_000, 10_000_000, 2**32])]
    assert len(set(drawn)) == len(seeds) * len(Purpose) * 5
    assert np.mean(drawn) == pytest.approx(2**62, rel=0.05)


def test_a_sequence_is_spawned_from_that_of_the_run():
    spawned = np.random.SeedSequence(7).spawn(5)[Purpose.EVALUATION].spawn(3)[2]
    assert sequence(7, Purpose.EVALUATION, 2).generate_state(4).tolist() == spawned.generate_state(4).tolist()
    same = np.random.default_rng(spawned).integers(2**62, size=3)
    assert generator(7, Purpose.EVALUATION, 2).integers(2**62, size=3).tolist() == same.tolist()


@pytest.mark.parametrize("bits", [31, 32, 63])
def test_an_integer_has_so_many_bits(bits):
    drawn = [integer(seed, Purpose.MODEL, bits=bits) for seed in range(200)]
    assert min(drawn) >= 0
    assert 2 ** (bits - 1) < max(drawn) < 2**bits


def test_processes_have_seeds_of_their_own_and_the_first_one_that_of_the_run():
    assert process_seed(5, 0) == 5
    assert len({process_seed(seed, rank) for seed in range(20) for rank in range(8)}) == 160
