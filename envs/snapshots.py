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
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec
from gymnasium.wrappers import PassiveEnvChecker

from envs.guard import Guard
from envs.makers import one_line
from envs.stream import StateError

MOST_VALUES = 60_000
"""Values of one environment that are looked at: Taxi has 20,000 in its table of transitions."""
MOST_BYTES = {"tree": 8 * 2**20, "data": 64 * 2**20}
"""Bytes of a snapshot of all environments."""
_DEEPEST = 60
_SCALARS = frozenset({type(None), bool, int, float, str})
_DTYPE = re.compile(r"[<>|=][biufcSU]\d+")
_FIXED = (
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
_UNUSED = frozenset({"_saved_kwargs", "spec", "_cached_spec"})
_CHECKERS = (Guard, PassiveEnvChecker)  # which only look at what passes
_BITS: dict[str, Any] = {
    "PCG64": np.random.PCG64,
    "PCG64DXSM": np.random.PCG64DXSM,
    "MT19937": np.random.MT19937,
    "Philox": np.random.Philox,
    "SFC64": np.random.SFC64,
}
Updates = list[tuple[Any, dict[str, Any]]]
"""Objects, each with all its attributes."""


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


def restore(envs: Sequence[gymnasium.Env], state: dict[str, Any], actions: Iterable[Any]) -> Updates:
    """Put environments into the state that `capture` took of as many others.

    They are reset and stepped once, so that they have all their attributes. Each of the state's must be there, of the
    same kind, and an array of the same dtype and shape; kinds may also be those of after the reset, and None may stand
    for a number, a text, an array or a container. Nothing is set unless all fits.

    Args:
        envs: that none steps.
        state: what `capture` returned, from any file.
        actions: for each, one that it can take.

    Returns:
        What their attributes were before, after the step, for `put`.

    Raises:
        StateError: the state does not fit them.
    """
    try:
        nodes, roots, data = _parsed(state)
        if len(roots) != len(envs):
            raise StateError(f"it is of {len(roots)} environments, these are {len(envs)}")
        kinds: dict[int, dict[str, Any]] = {}
        for env, action in zip(envs, actions, strict=True):
            env.reset(seed=0)
            kinds |= _kinds(env)
            env.step(action)
        build = _Build(nodes, data, kinds)
        for root, env in zip(roots, envs, strict=True):
            build.value(root, env)
    except Exception as error:  # whatever a file can hold, and an environment can do
        text = "" if isinstance(error, StateError) else f"{type(error).__name__}: "
        raise StateError(f"{text}{one_line(error)[:300]}") from error
    before = [(live, dict(vars(live))) for live, _ in build.updates]
    put(build.updates)
    return before


def put(updates: Updates) -> None:
    """Give objects the attributes that stand beside them."""
    for live, attributes in updates:
        there = live.__dict__
        for name in there.keys() - attributes.keys() - _UNUSED:
            del there[name]
        there.update(attributes)


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
        self.roots = [self._root(env) for env in envs]

    def _root(self, env: gymnasium.Env) -> Any:
        self._left = MOST_VALUES
        return self._value(env, 0)

    def _value(self, value: Any, depth: int) -> Any:
        kind = type(value)
        if kind in _SCALARS:
            return value
        if depth > _DEEPEST:
            raise StateError("it is nested too deep")
        if kind is tuple:
            return ["t", self._items(value, depth)]
        if id(value) in self.numbers:
            return [self.numbers[id(value)][0]]
        if kind in _NODES:
            number = self._number(value)
            self.nodes[number] = _NODES[kind](self, value, depth)
            return [number]
        if isinstance(value, np.generic):
            return ["n", _dtype(value.dtype), value.tobytes().hex()]
        if kind is bytes:
            return ["b", value.hex()]
        if isinstance(value, enum.Enum) and value.name in kind.__members__:
            return ["e", _name(kind), value.name]
        if isinstance(value, _FIXED):
            return ["x", _fixed(value)]
        if _is_open(value):
            number = self._number(value)
            self.nodes[number] = ["o", _name(kind), self._attributes(value, depth)]
            return [number]
        raise StateError(f"a {_name(kind)} cannot be saved")

    def _number(self, value: Any) -> int:
        self.numbers[id(value)] = len(self.nodes), value
        self.nodes.append(None)
        return len(self.nodes) - 1

    def _attributes(self, value: Any, depth: int) -> dict[str, Any]:
        if isinstance(value, _CHECKERS):
            return {"env": self._value(value.env, depth + 1)}
        attributes = {name: value for name, value in vars(value).items() if name not in _UNUSED}
        return dict(zip(attributes, self._items(attributes.values(), depth), strict=True))

    def _items(self, values: Iterable[Any], depth: int) -> list[Any]:
        values = list(values)
        self._left -= len(values) + 1
        if self._left < 0:
            raise StateError(f"an environment has more than {MOST_VALUES:,} values")
        if _SCALARS.issuperset(map(type, values)):
            return values
        return [self._value(value, depth + 1) for value in values]

    def _list(self, value: list[Any], depth: int) -> Any:
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
        if type(bits).__name__ not in _BITS:
            raise StateError(f"a generator {_name(type(bits))} cannot be saved")
        return ["g", self._value(bits.state, depth + 1), self._value(seeds, depth + 1)]

    def _random_state(self, value: np.random.RandomState, depth: int) -> Any:
        return ["m", self._value(value.get_state(legacy=False), depth + 1)]

    def _random(self, value: random.Random, depth: int) -> Any:
        return ["r", self._value(value.getstate(), depth + 1)]


_NODES: dict[type, Any] = {
    list: Graph._list,
    dict: Graph._dict,
    set: Graph._set,
    deque: Graph._deque,
    np.ndarray: Graph._array,
    np.random.Generator: Graph._generator,
    np.random.RandomState: Graph._random_state,
    random.Random: Graph._random,
}
_TAGS = dict(zip(_NODES, "ldsqagmr", strict=True))
_DATA = frozenset({"none", "number", "text", "bytes", "t", "l", "d", "s", "q", "a"})


class _Build:
    """The values of a state, made new; objects are those that are there, whose attributes are collected.

    Args:
        nodes: of the state.
        data: of the state.
        kinds: of attributes, by the `id` of their object, at another time: they fit too.

    Attributes:
        updates: the objects with all their attributes.
    """

    def __init__(self, nodes: list[Any], data: bytes, kinds: dict[int, dict[str, Any]]) -> None:
        self._nodes, self._data, self._kinds = nodes, data, kinds
        self._left = len(data)
        self._made: dict[int, Any] = {}
        self._owners: dict[int, int] = {}  # numbers of objects, by their `id`
        self.updates: Updates = []

    def value(self, node: Any, live: Any) -> Any:
        """The value of a node; ``live``: what is there now, or None."""
        if type(node) in _SCALARS:
            return node
        tag, *rest = node
        if type(tag) is int:
            return self._node(tag, live)
        if tag == "t":
            return tuple(self._items(rest[0], live if type(live) is tuple else ()))
        if tag == "n":
            return _copied(rest[0], (), bytes.fromhex(rest[1]))[()]
        if tag == "b":
            return bytes.fromhex(rest[0])
        if tag == "e" and isinstance(live, enum.Enum) and _name(type(live)) == rest[0]:
            return type(live).__members__[rest[1]]
        if tag == "x" and isinstance(live, _FIXED) and _fixed(live) == rest[0]:
            return live
        raise StateError(f"it has {str(rest[0])[:80]!r} where the environment has another thing")

    def _node(self, number: int, live: Any) -> Any:
        if number in self._made:
            made = self._made[number]
            if _is_open(made) and made is not live:
                raise StateError(f"it shares a {type(made).__name__} where the environment does not")
            return made
        tag, *rest = self._nodes[number]
        if tag == "o":
            return self._object(number, live, *rest)
        made = self._made[number] = self._new(tag, rest)
        if tag in "lq":
            made.extend(self._items(rest[-1], live if type(live) in (list, deque) else ()))
        elif tag == "s":
            made.update(self._items(rest[0], ()))
        elif tag == "d":
            there = live if type(live) is dict else {}
            keys = self._items(rest[0], ())
            made.update((key, self.value(item, there.get(key))) for key, item in zip(keys, rest[1], strict=True))
        return made

    def _new(self, tag: str, rest: list[Any]) -> Any:
        """The value of a node, containers empty."""
        if tag == "a":
            dtype, shape, order, offset = rest
            array = _copied(dtype, shape, self._data, offset, order)
            self._left -= array.nbytes
            if self._left < 0:
                raise StateError("its arrays are larger than its data")
            return array
        if tag == "g":
            state, seeds = _checked_bits(self.value(rest[0], None)), self.value(rest[1], None)
            sequence: Any = 0
            if seeds is not None:
                entropy, key, size, children = seeds
                if not 4 <= size <= 64:
                    raise StateError(f"it has a pool of {size} random words")
                sequence = np.random.SeedSequence(entropy, spawn_key=key, pool_size=size, n_children_spawned=children)
            bits: Any = _BITS[state["bit_generator"]](sequence)
            bits.state = state
            return np.random.Generator(bits)
        if tag == "m":
            legacy = np.random.RandomState(0)
            legacy.set_state(_checked_bits(self.value(rest[0], None)))
            return legacy
        if tag == "r":
            python = random.Random(0)
            python.setstate(self.value(rest[0], None))
            return python
        kinds: dict[str, Callable[[], Any]] = {"l": list, "d": dict, "s": set, "q": lambda: deque(maxlen=rest[0])}
        return kinds[tag]()

    def _object(self, number: int, live: Any, name: str, attributes: dict[str, Any]) -> Any:
        kind = type(live)
        if live is None or not _is_open(live) or _name(kind) != name or id(live) in self._owners:
            raise StateError(f"it has a {name[:80]!r} where the environment has another thing")
        self._made[number], self._owners[id(live)] = live, number
        there, before = vars(live), self._kinds.get(id(live), {})
        if isinstance(live, _CHECKERS):
            attributes = {"env": attributes["env"]}
        for attribute, node in attributes.items():
            if attribute not in there or attribute in _UNUSED:
                raise StateError(f"{kind.__name__} has no {attribute[:80]!r}")
            found, now = self._kind(node), _kind_of(there[attribute])
            if not _fits(found, now) and not _fits(found, before.get(attribute, now)):
                raise StateError(f"{kind.__name__}.{attribute} is of another kind")
        made = {attribute: self.value(node, there[attribute]) for attribute, node in attributes.items()}
        if isinstance(live, _CHECKERS):
            made = {**there, **made}
        for attribute in there.keys() - made.keys() - _UNUSED:
            if not _fits("none", _kind_of(there[attribute])):
                raise StateError(f"it has no {kind.__name__}.{attribute}")
        self.updates.append((live, made))
        return live

    def _items(self, nodes: list[Any], live: Sequence[Any]) -> list[Any]:
        if _SCALARS.issuperset(map(type, nodes)):
            return nodes
        there = [*live, *[None] * (len(nodes) - len(live))]
        return [self.value(node, now) for node, now in zip(nodes, there, strict=False)]

    def _kind(self, node: Any) -> Any:
        """What `_kind_of` returns for the node's value."""
        if type(node) in _SCALARS:
            return _kind_of(node)
        tag, *rest = node if type(node[0]) is str else self._nodes[node[0]]
        if tag == "n":
            return {"S": "bytes", "U": "text"}.get(_checked_dtype(rest[0]).kind, "number")
        if tag == "a":
            return ("a", rest[0], tuple(rest[1]))
        return (tag, rest[0]) if tag in "oexq" else "bytes" if tag == "b" else tag


def _kind_of(value: Any) -> Any:
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
        return ("e", _name(kind))
    if isinstance(value, _FIXED):
        return ("x", _fixed(value))
    if kind in (bool, int, float) or isinstance(value, np.generic):
        return "number"
    return "t" if kind is tuple else _TAGS.get(kind, ("o", _name(kind)))


def _fits(one: Any, other: Any) -> bool:
    """Whether an attribute can change from one kind to the other."""
    data = [kind in _DATA or kind[0] in "aq" for kind in (one, other)]
    return one == other or ("none" in (one, other) and all(data))


def _kinds(env: gymnasium.Env) -> dict[int, dict[str, Any]]:
    """The kinds of the attributes of an environment and of the objects in them, by the `id` of their object."""
    found: dict[int, dict[str, Any]] = {}
    ahead: list[Any] = [env]
    while ahead:
        value = ahead.pop()
        if id(value) not in found:
            found[id(value)] = {name: _kind_of(one) for name, one in vars(value).items()}
            ahead += [one for one in vars(value).values() if type(one) not in _NODES and _is_open(one)]
    return found


def _is_open(value: Any) -> bool:
    """Whether that is an environment, a wrapper, or an object of a package that is not a library of other things."""
    kind = type(value)
    if isinstance(value, gymnasium.Env):
        return True
    plain = kind.__flags__ & 1 << 9 and kind.__basicsize__ == _Open.__basicsize__ and hasattr(value, "__dict__")
    return bool(plain) and not isinstance(value, (*_FIXED, enum.Enum))


def _fixed(value: Any) -> str:
    """What has to be the same of a thing that does not change inside."""
    if isinstance(value, np.dtype | range | pathlib.PurePath):
        return str(value)
    return str(getattr(value, "__qualname__", None) or _name(type(value)))


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _dtype(dtype: np.dtype) -> str:
    if not _DTYPE.fullmatch(dtype.str):
        raise StateError(f"an array of {dtype} cannot be saved")
    return dtype.str


def _copied(dtype: str, shape: Sequence[int], data: bytes, offset: int = 0, order: Any = "C") -> np.ndarray:
    """A copy of an array that lies in ``data``; below 0 NumPy would read beside it."""
    if any(type(number) is not int or number < 0 for number in (*shape, offset)):
        raise StateError(f"it has an array {shape} at {offset}")
    array = np.ndarray(shape, _checked_dtype(dtype), data, offset, order=order)
    return (array.view(np.uint8) != 0) if array.dtype == np.bool_ else array.copy(order)


def _checked_bits(state: Any) -> Any:
    """The state of a bit generator, whose places in its own arrays NumPy does not check."""
    places = [(state["state"].get("pos", 0), 624), (state.get("buffer_pos", 0), 4)]
    if any(type(place) is not int or not 0 <= place <= most for place, most in places):
        raise StateError("it has a random generator that reads beyond its numbers")
    return state


def _checked_dtype(text: str) -> np.dtype:
    if not _DTYPE.fullmatch(text):
        raise StateError(f"it has an array of {text[:80]!r}")
    return np.dtype(text)


def _parsed(state: dict[str, Any]) -> tuple[list[Any], list[Any], bytes]:
    """Nodes, roots and data of a state."""
    for name, most in MOST_BYTES.items():
        array = state.get(name)
        if not isinstance(array, np.ndarray) or array.dtype != np.uint8 or array.ndim != 1 or len(array) > most:
            raise StateError(f"{name} must be uint8 of at most {most:,} bytes")
    tree = json.loads(state["tree"].tobytes())
    return tree["nodes"], tree["roots"], state["data"].tobytes()
