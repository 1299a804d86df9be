import numpy as np

from envs.generators import pack_generator, unpack_generator


def test_a_generator_goes_on_where_it_was_packed():
    rng = np.random.default_rng(3)
    rng.random(5)
    words = pack_generator(rng)
    assert (words.shape, words.dtype) == ((6,), np.uint64)
    np.testing.assert_array_equal(unpack_generator(words).random(20), rng.random(20))
    assert (unpack_generator(words).random(20) != rng.random(20)).any()


def test_a_spare_half_survives():
    rng = np.random.default_rng(0)
    rng.integers(0, 2, dtype=np.uint32)  # draws 64 bits and keeps 32 of them
    assert rng.bit_generator.state["has_uint32"] == 1
    assert unpack_generator(pack_generator(rng)).bit_generator.state == rng.bit_generator.state
