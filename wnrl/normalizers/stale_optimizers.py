"""Errors for optimizers that lack parameters: from before `normalize`, or built from a part of a network.

`normalize` keeps each weight as the directions v, and adds lengths g. An optimizer from before it holds v but not g.
"""

from __future__ import annotations

import gc
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch._compile import _disable_dynamo  # as torch.compiler.disable, but without the import of dynamo before use
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from torch.utils.hooks import RemovableHandle

BUILD_AFTERWARDS = "build it from network.parameters() after normalize()"
_TOKEN = "_wnrl_watched"


def check_optimizer(optimizer: Optimizer, network: nn.Module) -> None:
    """Raise ValueError unless `optimizer` holds every trainable parameter of `network`."""
    held = _held_by(optimizer)
    names = dict(network.named_parameters(remove_duplicate=False))
    missing = [name for name, p in network.named_parameters() if p.requires_grad and id(p) not in held]
    if missing:
        directions = [v for name in missing if (v := _directions_of(name)) in names]
        held_alone = [v for v in directions if id(names[v]) in held]
        though = f", though it holds {', '.join(held_alone[:5])}" if held_alone else ""
        few = ", ".join(missing[:5])
        raise ValueError(f"the optimizer does not hold {few}, which would never learn{though}: {BUILD_AFTERWARDS}")


def watch(v: nn.Parameter, g: nn.Parameter) -> None:
    """From now on, the second step of an optimizer that holds v, while none that lives holds g, is a ValueError.

    The watch ends with the step of an optimizer that holds g, with `unwatch`, and when v or g is freed. A copy of v is
    not watched. There is no error while v or g requires no gradient, or if one of them is no longer in any module.

    Args:
        v: directions, of any shape: the parameter that was the weight.
        g: lengths `[out]`, a new parameter.
    """
    _WATCHER.watch(v, g)


def unwatch(v: nn.Parameter) -> None:
    """End the watch of v, if there is one."""
    _WATCHER.unwatch(v)


class _Pair:
    """A watched v and its g, known by their ids and by tokens that are freed with them.

    A weak reference to a parameter would make `torch.utils.swap_tensors` fail, hence `.to()` in swap mode. A swap moves
    the tokens away, which ends the watch. Parameters are pickled with their attributes: a token is of a plain type.
    """

    def __init__(self, v: nn.Parameter, g: nn.Parameter, discard: Callable[[_Pair], None]) -> None:
        self.v, self.g = id(v), id(g)
        self.tokens = []
        for parameter in (v, g):
            token = vars(parameter).setdefault(_TOKEN, OrderedDict())  # a g may belong to several v
            self.tokens.append(weakref.ref(token, lambda _: discard(self)))
        self.places: list[tuple[weakref.ref[nn.Module], str]] = []  # of v and g: a module and the name in it

    def learns(self) -> bool | None:
        """Whether both v and g require a gradient; None: not in the modules of `places`."""
        found = []
        for reference, name in self.places:
            module = reference()
            found.append(None if module is None else module._parameters.get(name))
        if [id(parameter) for parameter in found] != [self.v, self.g]:
            return None
        return all(parameter is not None and parameter.requires_grad for parameter in found)


class _Holding:
    """The watched pairs whose v an optimizer holds, each with whether it has stepped since."""

    def __init__(self, seen: tuple[int, ...]) -> None:
        self.seen = seen  # number of watches, and the sizes of the optimizer's groups
        self.stepped: dict[_Pair, bool] = {}


class _Watcher:
    """The pairs that no stepping optimizer has resolved; while there are any, every optimizer's step is hooked.

    An optimizer is looked through at its first step, and again only after another `watch` or if its groups have grown.
    Steps are counted when they end, since a `step` that calls its base class's may be hooked twice.
    """

    def __init__(self) -> None:
        self._pairs: dict[int, _Pair] = {}  # by the id of v
        self._watches = 0
        self._holdings: weakref.WeakKeyDictionary[Optimizer, _Holding] = weakref.WeakKeyDictionary()
        self._handles: dict[Callable[..., RemovableHandle], RemovableHandle] = {}
        self._lock = threading.RLock()  # parameters are freed in any thread, also while one is added

    def watch(self, v: nn.Parameter, g: nn.Parameter) -> None:
        with self._lock:
            self.unwatch(v)
            self._pairs[id(v)] = _Pair(v, g, self._discard)
            self._watches += 1
            hooks: dict[Callable[..., RemovableHandle], Callable[..., None]] = {
                register_optimizer_step_pre_hook: self._before_step,
                register_optimizer_step_post_hook: self._after_step,
            }
            for register, hook in hooks.items():
                if register not in self._handles:
                    self._handles[register] = register(hook)

    def unwatch(self, v: nn.Parameter) -> None:
        with self._lock:
            pair = self._pairs.get(id(v))
            if pair is not None:
                self._discard(pair)
            vars(v).pop(_TOKEN, None)

    def _discard(self, pair: _Pair) -> None:
        with self._lock:
            pair.tokens.clear()
            if self._is_open(pair):
                del self._pairs[pair.v]
            self._unhook_if_done()

    def _unhook_if_done(self) -> None:
        """Remove the hooks once nothing is watched.

        Another library's hook may be running now, in this thread or another, and torch iterates over the hooks
        themselves: ours are removed only while they are the only ones. They cost next to nothing.
        """
        if self._pairs:
            return
        self._holdings.clear()
        for register, handle in list(self._handles.items()):
            hooks = handle.hooks_dict_ref()
            if hooks is None or len(hooks) == 1:
                handle.remove()
                del self._handles[register]

    def _before_step(self, optimizer: Optimizer, *_: Any) -> None:
        if not _may_be_one_graph(optimizer):
            self._look_before(optimizer)

    def _after_step(self, optimizer: Optimizer, *_: Any) -> None:
        if not _may_be_one_graph(optimizer):
            self._look_after(optimizer)

    @_disable_dynamo
    def _look_before(self, optimizer: Optimizer) -> None:
        with self._lock:
            if not self._pairs:
                self._unhook_if_done()
                return
            holding = self._look_through(optimizer)
            again = [pair for pair, stepped in holding.stepped.items() if stepped and self._is_open(pair)]
            if again:
                self._refuse(optimizer, again)

    @_disable_dynamo
    def _look_after(self, optimizer: Optimizer) -> None:
        with self._lock:
            if not self._pairs:
                self._unhook_if_done()
            elif (holding := self._holdings.get(optimizer)) and holding.stepped:
                holding.stepped = {pair: True for pair in holding.stepped if self._is_open(pair)}

    def _is_open(self, pair: _Pair) -> bool:
        return self._pairs.get(pair.v) is pair

    def _look_through(self, optimizer: Optimizer) -> _Holding:
        """The open pairs whose v `optimizer` holds; those whose g it holds are open no more."""
        seen = (self._watches, *(len(group["params"]) for group in optimizer.param_groups))
        holding = self._holdings.get(optimizer)
        if holding is not None and holding.seen == seen:
            return holding
        stepped = {} if holding is None else holding.stepped
        holding = self._holdings[optimizer] = _Holding(seen)
        held = _held_by(optimizer)
        for pair in list(self._pairs.values()):
            if pair.g in held:
                self._discard(pair)
                for key in {pair.v, pair.g} & held.keys():
                    vars(held[key]).pop(_TOKEN, None)
            elif pair.v in held:
                holding.stepped[pair] = stepped.get(pair, False)
        return holding

    def _refuse(self, optimizer: Optimizer, pairs: list[_Pair]) -> None:
        """Raise ValueError if any of these can learn; pairs that came apart are watched no longer."""
        if apart := [pair for pair in pairs if pair.learns() is None]:
            _find_places(apart)
        for pair in apart:
            if pair.learns() is None:
                self._discard(pair)
        held = _held_by(optimizer)
        lacking = [pair for pair in pairs if pair.learns() and pair.v in held and pair.g not in held]
        elsewhere = _held_by_any() if lacking else set()
        for pair in lacking:
            if pair.g in elsewhere:  # of an optimizer that steps less often
                self._discard(pair)
        if count := sum(map(self._is_open, lacking)):
            raise ValueError(
                f"the optimizer holds v of {count} normalized weight{'s' * (count > 1)}, but not g, and the lengths"
                f" would never learn: {BUILD_AFTERWARDS}"
            )


def _may_be_one_graph(optimizer: Optimizer) -> bool:
    """Whether this step is traced, perhaps with fullgraph=True, where our hook would fail; torch's own never is."""
    return torch.compiler.is_compiling() and not type(optimizer).__module__.startswith("torch.optim")


def _find_places(pairs: Iterable[_Pair]) -> None:
    """Look for v and g in all modules that live; slow, and needed only where an error is likely."""
    places: dict[int, tuple[weakref.ref[nn.Module], str]] = {}
    wanted = {key for pair in pairs for key in (pair.v, pair.g)}
    for thing in gc.get_objects():
        if issubclass(type(thing), nn.Module):
            parameters = vars(thing).get("_parameters")
            for name, parameter in list(parameters.items()) if isinstance(parameters, dict) else ():
                if id(parameter) in wanted:
                    places[id(parameter)] = weakref.ref(thing), name
    for pair in pairs:
        pair.places = [places[key] for key in (pair.v, pair.g) if key in places]


def _held_by(optimizer: Optimizer) -> dict[int, nn.Parameter]:
    """The parameters of `optimizer` by id."""
    return {id(parameter): parameter for group in optimizer.param_groups for parameter in group["params"]}


def _held_by_any() -> set[int]:
    """The ids of the parameters of all optimizers that live; slow, and needed only before an error."""
    optimizers = [thing for thing in gc.get_objects() if issubclass(type(thing), Optimizer)]
    return {key for optimizer in optimizers if "param_groups" in vars(optimizer) for key in _held_by(optimizer)}


def _directions_of(name: str) -> str:
    """The name of the v of a g: `0.v_ih_l0` for `0.g_ih_l0`; empty for another parameter."""
    path, dot, own = name.rpartition(".")
    return f"{path}{dot}v{own[1:]}" if own == "g" or own.startswith("g_") else ""


_WATCHER = _Watcher()
