"""The changing state of environments as arrays, exactly: plain data alone, and restoring it runs no code of a state.

A snapshot is a graph: attributes of each wrapper down to the environment itself, and in them numbers, text, containers,
arrays, random generators and objects of the environment's own package. What two attributes share stays shared. Values
stand in the JSON ``tree``, the bytes of arrays in ``data``.
"""

from __future__ import annotations

import enum
import functools
import json
import logging
import pathlib
import random
import re
import types
from collections import deque
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec
from gymnasium.wrappers import PassiveEnvChecker

from envs.guard import Guard
from envs.stream import StateError

MOST_VALUES = 60_000
"""Values of one environment that are looked at: Taxi has 20,000 in its table of transitions."""
MOST_BYTES = {"tree": 8 * 2**20, "data": 64 * 2**20}
"""Bytes of a snapshot of all environments."""
_DEEPEST = 60
SCALARS = frozenset({type(None), bool, int, float, str})
"""What stands in the tree as it is."""
DTYPE = re.compile(r"[<>|=][biufcSU]\d+")
"""Those of arrays, without Python's objects."""
FIXED = (
    type,
    types.FunctionType,
    types.BuiltinFunctionType,
    types.MethodType,
    types.ModuleType,
    functools.partial,
    np.ufunc,
    np.dtype,
    range,
    logging.Logger,
    pathlib.PurePath,
    spaces.Space,
    EnvSpec,
)
"""What does not change inside: it is left as it is, and must be the same where a state is restored."""
UNUSED = frozenset({"_saved_kwargs", "spec", "_cached_spec"})
"""Attributes that steps do not depend on."""
CHECKERS = (Guard, PassiveEnvChecker)
"""Wrappers that only look at what passes."""
BITS: dict[str, Any] = {
    "PCG64": np.random.PCG64,
    "PCG64DXSM": np.random.PCG64DXSM,
    "MT19937": np.random.MT19937,
    "Philox": np.random.Philox,
    "SFC64": np.random.SFC64,
}
"""Bit generators by name."""


class _Open:
    """An object without anything but attributes."""


def capture(envs: Sequence[gymnasium.Env]) -> dict[str, np.ndarray]:
    """The state of environments, as uint8 arrays ``tree`` and ``data``.

    Raises:
        StateError: something in them is no plain data, or there is too much of it.
    """
    return pack(Graph(envs))


def pack(graph: Graph) -> dict[str, np.ndarray]:
    """What `capture` returns and raises, from the graph of the environments."""
    try:
        text = json.dumps({"nodes": graph.nodes, "roots": graph.roots}, separators=(",", ":")).encode()
    except ValueError as error:  # an int of thousands of digits
        raise StateError(str(error)) from error
    state = {"tree": np.frombuffer(text, np.uint8), "data": np.frombuffer(b"".join(graph.data), np.uint8)}
    for name, array in state.items():
        if len(array) > MOST_BYTES[name]:
            raise StateError(f"the environments' state has {len(array):,} bytes of {name}, too many")
    return state


class Graph:
    """What environments hold, as values of JSON.

    Args:
        envs: the environments, which share one numbering.

    Attributes:
        nodes: everything that can change in place, by its number, where it is first met.
        roots: the environments.
        data: bytes of the arrays.
        numbers: of those in ``nodes``, with themselves, by `id`.

    Raises:
        StateError: as `capture`.
    """

    def __init__(self, envs: Iterable[gymnasium.Env]) -> None:
        self.nodes: list[Any] = []
        self.data: list[bytes] = []
        self.numbers: dict[int, tuple[int, Any]] = {}
        self._size, self._memory, self._left = 0, set[int](), 0
        envs = list(envs)
        self._packages = packages_of(envs)
        self.roots = [self._root(env) for env in envs]

    def _root(self, env: gymnasium.Env) -> Any:
        self._left = MOST_VALUES
        return self._value(env, 0)

    def _value(self, value: Any, depth: int) -> Any:
        kind = type(value)
        if kind in SCALARS:
            return value
        if depth > _DEEPEST:
            raise StateError("it is nested too deep")
        if kind is tuple:
            return ["t", self._items(value, depth)]
        if id(value) in self.numbers:
            return [self.numbers[id(value)][0]]
        if kind in NODES:
            number = self._number(value)
            self.nodes[number] = NODES[kind](self, value, depth)
            return [number]
        if isinstance(value, np.generic):
            return ["n", _dtype(value.dtype), value.tobytes().hex()]
        if kind is bytes:
            return ["b", value.hex()]
        if isinstance(value, enum.Enum) and value.name in kind.__members__:
            return ["e", name_of(kind), value.name]
        if isinstance(value, FIXED):
            return ["x", fixed(value)]
        if is_open(value, self._packages):
            number = self._number(value)
            self.nodes[number] = ["o", name_of(kind), self._attributes(value, depth)]
            return [number]
        raise StateError(f"a {name_of(kind)} cannot be saved")

    def _number(self, value: Any) -> int:
        self.numbers[id(value)] = len(self.nodes), value
        self.nodes.append(None)
        return len(self.nodes) - 1

    def _attributes(self, value: Any, depth: int) -> dict[str, Any]:
        if isinstance(value, CHECKERS):
            return {"env": self._value(value.env, depth + 1)}
        attributes = {name: value for name, value in vars(value).items() if name not in UNUSED}
        return dict(zip(attributes, self._items(attributes.values(), depth), strict=True))

    def _items(self, values: Iterable[Any], depth: int) -> list[Any]:
        values = list(values)
        self._left -= len(values) + 1
        if self._left < 0:
            raise StateError(f"an environment has more than {MOST_VALUES:,} values")
        if SCALARS.issuperset(map(type, values)):
            return values
        return [self._value(value, depth + 1) for value in values]

    def _list(self, value: list[Any], depth: int) -> Any:
        if value and all(type(item) is tuple for item in value) and SCALARS.issuperset(map(type, chain(*value))):
            self._left -= sum(map(len, value)) + len(value)
            return ["ts", list(map(list, value))]  # as tables of transitions have many
        return ["l", self._items(value, depth)]

    def _dict(self, value: dict[Any, Any], depth: int) -> Any:
        return ["d", self._items(value, depth), self._items(value.values(), depth)]

    def _set(self, value: set[Any], depth: int) -> Any:
        items = list(value)
        if list(set(items)) != items:
            raise StateError("a set whose order depends on what it held before cannot be saved")
        return ["s", self._items(items, depth)]

    def _deque(self, value: deque[Any], depth: int) -> Any:
        return ["q", value.maxlen, self._items(value, depth)]

    def _array(self, value: np.ndarray, depth: int) -> Any:
        owner: Any = value
        while isinstance(owner.base, np.ndarray):
            owner = owner.base
        if owner.base is not None or id(owner) in self._memory or not (value.flags.forc):
            raise StateError("an array that shares its memory cannot be saved")
        self._memory.add(id(owner))
        order: Any = "C" if value.flags.c_contiguous else "F"
        self.data.append(value.tobytes(order))
        self._size += value.nbytes
        return ["a", _dtype(value.dtype), list(value.shape), order, self._size - value.nbytes]

    def _generator(self, value: np.random.Generator, depth: int) -> Any:
        bits: Any = value.bit_generator
        sequence = getattr(bits, "seed_seq", None)
        seeds = None
        if type(sequence) is np.random.SeedSequence:
            seeds = (sequence.entropy, sequence.spawn_key, sequence.pool_size, sequence.n_children_spawned)
        if type(bits).__name__ not in BITS:
            raise StateError(f"a generator {name_of(type(bits))} cannot be saved")
        return ["g", self._value(bits.state, depth + 1), self._value(seeds, depth + 1)]

    def _random_state(self, value: np.random.RandomState, depth: int) -> Any:
        return ["m", self._value(value.get_state(legacy=False), depth + 1)]

    def _random(self, value: random.Random, depth: int) -> Any:
        return ["r", self._value(value.getstate(), depth + 1)]


NODES: dict[type, Any] = {
    list: Graph._list,
    dict: Graph._dict,
    set: Graph._set,
    deque: Graph._deque,
    np.ndarray: Graph._array,
    np.random.Generator: Graph._generator,
    np.random.RandomState: Graph._random_state,
    random.Random: Graph._random,
}
"""What can change in place, and what is saved of it."""
_TAGS = dict(zip(NODES, "ldsqagmr", strict=True))


def kind_of(value: Any) -> Any:
    """The kind of an attribute: what `_fits` compares."""
    kind = type(value)
    if value is None:
        return "none"
    if kind is str or kind is np.str_:
        return "text"
    if kind is bytes or kind is np.bytes_:
        return "bytes"
    if kind is np.ndarray:
        return ("a", value.dtype.str, value.shape)
    if kind is deque:
        return ("q", value.maxlen)
    if isinstance(value, enum.Enum):
        return ("e", name_of(kind))
    if isinstance(value, FIXED):
        return ("x", fixed(value))
    if kind in (bool, int, float) or isinstance(value, np.generic):
        return "number"
    return "t" if kind is tuple else _TAGS.get(kind, ("o", name_of(kind)))


def packages_of(envs: Iterable[gymnasium.Env]) -> frozenset[str]:
    """The packages of environments and their wrappers: objects of others are not looked into."""
    kinds: set[type] = {gymnasium.Env}
    for env in envs:
        kinds |= {*type(env).__mro__}
        while isinstance(env, gymnasium.Wrapper):
            env = env.env
            kinds |= {*type(env).__mro__}
    return frozenset(kind.__module__.partition(".")[0] for kind in kinds) - {"builtins", "typing", "abc"}


def is_open(value: Any, packages: frozenset[str]) -> bool:
    """Whether that is an environment, a wrapper, or an object of these packages that is nothing but its attributes."""
    kind = type(value)
    if kind in NODES or isinstance(value, gymnasium.Env):
        return kind not in NODES
    if kind.__module__.partition(".")[0] not in packages or isinstance(value, (*FIXED, enum.Enum)):
        return False
    return bool(kind.__flags__ & 1 << 9) and kind.__basicsize__ == _Open.__basicsize__ and hasattr(value, "__dict__")


def fixed(value: Any) -> str:
    """What has to be the same of a thing that does not change inside."""
    if isinstance(value, np.dtype | range | pathlib.PurePath):
        return str(value)
    return str(getattr(value, "__qualname__", None) or name_of(type(value)))


def name_of(kind: type) -> str:
    """The name of a class with its module."""
    return f"{kind.__module__}.{kind.__qualname__}"


def _dtype(dtype: np.dtype) -> str:
    if not DTYPE.fullmatch(dtype.str):
        raise StateError(f"an array of {dtype} cannot be saved")
    return dtype.str
