"""Environments put into the state of a snapshot, see `envs.snapshots`, from any file: it runs no code of the state."""

from __future__ import annotations

import enum
import json
import random
from collections import deque
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

import gymnasium
import numpy as np

from envs.makers import one_line
from envs.snapshots import (
    BITS,
    CHECKERS,
    DTYPE,
    FIXED,
    MOST_BYTES,
    SCALARS,
    UNUSED,
    fixed,
    is_open,
    kind_of,
    name_of,
    packages_of,
)
from envs.stream import StateError

Updates = list[tuple[Any, dict[str, Any]]]
"""Objects, each with all its attributes."""
_DATA = frozenset({"none", "number", "text", "bytes", "t", "l", "d", "s", "q", "a"})


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
        packages = packages_of(envs)
        for env, action in zip(envs, actions, strict=True):
            env.reset(seed=0)
            kinds |= _kinds(env, packages)
            env.step(action)
        build = _Build(nodes, data, packages, kinds)
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
        for name in there.keys() - attributes.keys() - UNUSED:
            del there[name]
        there.update(attributes)


class _Build:
    """The values of a state, made new; objects are those that are there, whose attributes are collected.

    Args:
        nodes: of the state.
        data: of the state.
        packages: of objects.
        kinds: of attributes, by the `id` of their object, at another time: they fit too.

    Attributes:
        updates: the objects with all their attributes.
    """

    def __init__(
        self, nodes: list[Any], data: bytes, packages: frozenset[str], kinds: dict[int, dict[str, Any]]
    ) -> None:
        self._nodes, self._data, self._packages, self._kinds = nodes, data, packages, kinds
        self._left = len(data)
        self._made: dict[int, Any] = {}
        self._owners: dict[int, int] = {}  # numbers of objects, by their `id`
        self.updates: Updates = []

    def value(self, node: Any, live: Any) -> Any:
        """The value of a node; ``live``: what is there now, or None."""
        if type(node) in SCALARS:
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
        if tag == "e" and isinstance(live, enum.Enum) and name_of(type(live)) == rest[0]:
            return type(live).__members__[rest[1]]
        if tag == "x" and isinstance(live, FIXED) and fixed(live) == rest[0]:
            return live
        raise StateError(f"it has {str(rest[0])[:80]!r} where the environment has another thing")

    def _node(self, number: int, live: Any) -> Any:
        if number in self._made:
            made = self._made[number]
            if id(made) in self._owners and made is not live:
                raise StateError(f"it shares a {type(made).__name__} where the environment does not")
            return made
        tag, *rest = self._nodes[number]
        if tag == "o":
            return self._object(number, live, *rest)
        made = self._made[number] = self._new(tag, rest)
        if tag == "ts":
            made.extend(map(tuple, rest[0]))
            if not SCALARS.issuperset(map(type, chain(*made))):
                raise StateError("it has a table with other things than numbers")
        elif tag in "lq":
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
            bits: Any = BITS[state["bit_generator"]](sequence)
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
        if tag == "q":
            return deque(maxlen=rest[0])
        empty: Any = {"l": list, "ts": list, "d": dict, "s": set}[tag]
        return empty()

    def _object(self, number: int, live: Any, name: str, attributes: dict[str, Any]) -> Any:
        kind = type(live)
        if not is_open(live, self._packages) or name_of(kind) != name or id(live) in self._owners:
            raise StateError(f"it has a {name[:80]!r} where the environment has another thing")
        self._made[number], self._owners[id(live)] = live, number
        there, before = vars(live), self._kinds.get(id(live), {})
        if isinstance(live, CHECKERS):
            attributes = {"env": attributes["env"]}
        for attribute, node in attributes.items():
            if attribute not in there or attribute in UNUSED:
                raise StateError(f"{kind.__name__} has no {attribute[:80]!r}")
            found, now = self._kind(node), kind_of(there[attribute])
            if not _fits(found, now) and not _fits(found, before.get(attribute, now)):
                raise StateError(f"{kind.__name__}.{attribute} is of another kind")
        made = {attribute: self.value(node, there[attribute]) for attribute, node in attributes.items()}
        if isinstance(live, CHECKERS):
            made = {**there, **made}
        for attribute in there.keys() - made.keys() - UNUSED:
            if not _fits("none", kind_of(there[attribute])):
                raise StateError(f"it has no {kind.__name__}.{attribute}")
        self.updates.append((live, made))
        return live

    def _items(self, nodes: list[Any], live: Sequence[Any]) -> list[Any]:
        if SCALARS.issuperset(map(type, nodes)):
            return nodes
        there = [*live, *[None] * (len(nodes) - len(live))]
        return [self.value(node, now) for node, now in zip(nodes, there, strict=False)]

    def _kind(self, node: Any) -> Any:
        """What `kind_of` returns for the node's value."""
        if type(node) in SCALARS:
            return kind_of(node)
        tag, *rest = node if type(node[0]) is str else self._nodes[node[0]]
        if tag == "n":
            return {"S": "bytes", "U": "text"}.get(_checked_dtype(rest[0]).kind, "number")
        if tag == "a":
            return ("a", rest[0], tuple(rest[1]))
        if tag in ("o", "e", "x", "q"):
            return (tag, rest[0])
        return {"b": "bytes", "ts": "l"}.get(tag, tag)


def _fits(one: Any, other: Any) -> bool:
    """Whether an attribute can change from one kind to the other."""
    data = [kind in _DATA or kind[0] in "aq" for kind in (one, other)]
    return one == other or ("none" in (one, other) and all(data))


def _kinds(env: gymnasium.Env, packages: frozenset[str]) -> dict[int, dict[str, Any]]:
    """The kinds of the attributes of an environment and of the objects in them, by the `id` of their object."""
    found: dict[int, dict[str, Any]] = {}
    ahead: list[Any] = [env]
    while ahead:
        value = ahead.pop()
        if id(value) not in found:
            found[id(value)] = {name: kind_of(one) for name, one in vars(value).items()}
            ahead += [one for one in vars(value).values() if is_open(one, packages)]
    return found


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
    if not DTYPE.fullmatch(text):
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
