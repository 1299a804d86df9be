"""States of random generators as arrays."""

from __future__ import annotations

import numpy as np

_WORD = (1 << 64) - 1


def pack_generator(rng: np.random.Generator) -> np.ndarray:
    """The state of a PCG64 generator as ``[6]`` uint64: state and increment, high word first, and its buffer."""
    s = rng.bit_generator.state
    state, inc = s["state"]["state"], s["state"]["inc"]
    words = [state >> 64, state & _WORD, inc >> 64, inc & _WORD, s["has_uint32"], s["uinteger"]]
    return np.array(words, np.uint64)


def unpack_generator(words: np.ndarray) -> np.random.Generator:
    """A generator in the state that `pack_generator` packed into ``words`` ``[6]``."""
    high, low, inc_high, inc_low, has_uint32, uinteger = (int(w) for w in words)
    bits = np.random.PCG64()
    bits.state = {
        "bit_generator": "PCG64",
        "state": {"state": high << 64 | low, "inc": inc_high << 64 | inc_low},
        "has_uint32": has_uint32,
        "uinteger": uinteger,
    }
    return np.random.Generator(bits)
