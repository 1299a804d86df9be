"""Layers that a normalizer has converted in place: torch's own objects, of a subclass of their own class."""

from __future__ import annotations

import copy
import inspect
import weakref
from collections.abc import Callable, Collection, Iterable, Mapping, MutableMapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from wnrl.weight_norm.rows import torch_class
from wnrl.weight_norm.stored_weights import Entries, Stored, clean, formed, take, weights_in

_KEPT = ("_factors", "_kept", "_formed")  # attributes in which layers keep values that are computed
_KEEPING = ("_keeps_no_factors", "_owner_outdates")  # those which say where they may


class NormalizedLayer(nn.Module):
    """Mixed into the class of a layer, so that lists, hooks, bound methods and `isinstance` go on working.

    The methods of several mixins of one layer work together through `super()`; here are those of a plain layer.
    """

    plain_class: ClassVar[type[nn.Module]]
    """The class that the layer has without its normalizer."""
    _label: ClassVar[str] = ""  # in the names of classes; init functions look for "BatchNorm" there
    own_parts: ClassVar[tuple[str, ...]] = ()
    """Names of the submodules that belong to the normalizer."""

    @property
    def can_be_folded(self) -> bool:
        """Whether a plain layer can have the same function in evaluation mode."""
        return True

    def before_norm(self, *inputs: Any, **keywords: Any) -> Tensor:
        """The layer's output before its own normalization, if it has one."""
        return self.forward(*inputs, **keywords)

    def own_buffers(self) -> set[str]:
        """Names of the buffers that belong to the normalizer, and to pruned parameters."""
        return {name for name in self._buffers if f"{name.removesuffix('_mask')}_orig" in self._parameters}

    def holders(self) -> dict[str, nn.Parameter | None]:
        """The parameters that hold the plain layer's, by its names and in its order."""
        return dict(self._parameters)

    def folded(self) -> dict[str, Tensor]:
        """The parameters of `fold()` by name, differentiable."""
        own = {name: parameter for name, parameter in self._parameters.items() if parameter is not None}
        steps: Any = self._modules.get("parametrizations") or {}
        return own | {name: getattr(self, name) for name, one in steps.items() if one._parameters}

    @torch.no_grad()
    def unfold(self, parameters: Mapping[str, Tensor]) -> None:
        """Set the parameters, in place, so that `fold()` has these parameters."""
        for name, parameter in self._parameters.items():
            if parameter is not None and name in parameters:
                parameter.copy_(parameters[name])

    @torch.inference_mode(False)  # the copy is to be written to later
    def fold(self) -> nn.Module:
        """A copy with the same function in evaluation mode; plain wherever possible."""
        layer = copy.deepcopy(self)
        if self.can_be_folded:
            layer.become_plain(layer.plain_values())
        return layer

    def plain_values(self) -> dict[str, Tensor]:
        """`folded()`, detached; each value requires a gradient if what it is computed from does."""
        with torch.enable_grad():
            return {name: value.detach().requires_grad_(value.requires_grad) for name, value in self.folded().items()}

    @torch.no_grad()
    def become_plain(self, values: Mapping[str, Tensor], apart: Collection[str] = ()) -> None:
        """Give the layer its plain class back, with these parameters; hooks and parameters stay the same objects.

        Parametrizations become permanent. torch's class of parametrized layers, which copies share, stays as it is.

        Args:
            values: by the plain layer's names.
            apart: the names of those that may not be written into the parameter of this layer, which others share.
        """
        parametrizations: Any = self._modules.pop("parametrizations", None) or {}
        for name, steps in parametrizations.items():
            if steps._parameters:
                self._parameters[name] = steps._parameters.get("original")  # None: computed from several
            else:
                self._buffers[name] = steps()
        holders = self.holders()
        for name, value in values.items():
            holder = holders.get(name)
            if not isinstance(holder, nn.Parameter) or holder.shape != value.shape or name in apart:
                holders[name] = nn.Parameter(value, value.requires_grad)
            else:
                holder.copy_(value)
        for part in self.own_parts:
            del self._modules[part]
        for name in (*_KEPT, *_KEEPING):
            vars(self).pop(name, None)
        self._parameters.clear()
        self.__class__ = self.plain_class  # type: ignore[assignment]
        self._parameters.update(holders)

    def weights_in_state(self) -> dict[str, tuple[str, ...]]:
        """The plain layer's weights by name, each with the names under which a state dict of this layer has it.

        No names: what it is computed from is pruned or parametrized.
        """
        return {name: (name,) for name in weights_in(self)}

    def entries_of(self, name: str, stored: Stored, entries: Entries, assign: bool) -> Entries:
        """The entries, in a state dict of this layer, of a weight that is stored otherwise, with the same function.

        Args:
            name: of the plain layer's weight.
            stored: the weight.
            entries: the layer's other entries.
            assign: whether they replace the layer's parameters, so that they have to keep their dtype.

        Raises:
            ValueError: the layer cannot have this weight.
        """
        weight = formed(self, stored)
        return {name: weight.to(stored[0].dtype) if assign and isinstance(stored, tuple) else weight}

    def adapt_entries(self, name: str, entries: Entries, metadata: Mapping[str, Any]) -> None:
        """Convert, in place, the entries of a weight under their own names, such as g in other units."""

    def complete_entries(self, entries: Entries) -> None:
        """Convert, in place, the other entries of a plain layer."""

    def convert_entries(self, entries: Entries, metadata: Mapping[str, Any]) -> list[str]:
        """Convert this layer's entries of a state dict, in place: however its weights are stored, they become its own.

        Args:
            entries: by their names within the layer.
            metadata: the state dict's, of this layer; without `units` in it, g is in those of the layer.

        Returns:
            What could not be converted, a line each.
        """
        clean(self, entries)
        problems, weights = [], self.weights_in_state()
        for name, own in weights.items():
            try:
                stored = take(entries, name, own, metadata) if own else None
                if stored is None:
                    self.adapt_entries(name, entries, metadata)
                else:
                    assign = bool(metadata.get("assign_to_params_buffers"))
                    entries.update(self.entries_of(name, stored, entries, assign))
            except ValueError as error:
                problems.append(f"the {name} cannot be converted: {error}")
        missing = [name for name, own in weights.items() if not {*own} <= entries.keys()]
        if not missing and not problems:
            self.complete_entries(entries)
        return problems or self._unknown_entries(entries, weights)

    def _unknown_entries(self, entries: Entries, weights: Mapping[str, tuple[str, ...]]) -> list[str]:
        """A line for each weight that is in no known form, while other entries of the layer are there."""
        known = {name for name, _ in self.named_parameters(remove_duplicate=False)}
        known |= {name for name, _ in self.named_buffers(remove_duplicate=False)} | {"_extra_state"}
        direct = [key for key in entries if "." not in key or key.startswith("parametrizations.")]
        strange = sorted({*direct} - known)
        lines = []
        for name, own in weights.items():
            incomplete, absent = not own or not {*own} <= entries.keys(), own and not {*own} & entries.keys()
            if incomplete and (strange or (absent and direct)):
                found = ", ".join(strange or sorted(direct))
                lines.append(f"the {name} is in no known form, but there is {found}")
        return lines

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, local_metadata: dict[str, Any], *rest: Any
    ) -> None:
        entries = {key[len(prefix) :]: state_dict.pop(key) for key in list(state_dict) if key.startswith(prefix)}
        problems = self.convert_entries(entries, local_metadata)
        state_dict.update({f"{prefix}{name}": value for name, value in entries.items()})
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)
        *_, errors = rest
        errors += [f"layer {prefix[:-1]!r}: {problem}." for problem in problems]

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute."""
        self._forget_factors(value)
        super().__setattr__(name, value)

    def _forget_factors(self, value: Any) -> None:
        """Called when an attribute is set: FSDP exchanges parameters, and resizes their storages."""
        if isinstance(value, nn.Parameter):
            for name in _KEPT:
                vars(self).pop(name, None)
            if hasattr(value, "full_tensor"):
                vars(self)["_keeps_no_factors"] = True

    def _apply(self, fn: Callable[[Any], Any], recurse: bool = True) -> Any:
        for name in _KEPT:
            vars(self).pop(name, None)
        return super()._apply(fn, recurse)

    def __getstate__(self) -> Any:
        """Without what is kept between passes, and without the promise of this layer's owner to outdate it."""
        inherited: Any = getattr(super(), "__getstate__", lambda: vars(self))  # object has it from Python 3.11 on
        state = inherited()
        attributes, *slots = state if isinstance(state, tuple) else (state,)
        attributes = attributes.copy()  # at once, since another thread may be acting
        for name in (*_KEPT, "_owner_outdates"):
            attributes.pop(name, None)
        return (attributes, *slots) if slots else attributes

    def __prepare_scriptable__(self) -> nn.Module:
        """Called by torch.jit.script, which cannot compile properties that compute a weight."""
        raise TypeError("torch.jit.script cannot compile a normalized layer: script wnrl.fold(network), or trace it")

    def __reduce_ex__(self, protocol: Any) -> Any:
        """As of any module; a class that was made for the occasion is made again."""
        reduced: Any = super().__reduce_ex__(protocol)
        made_from = vars(type(self)).get("_made_from")
        return reduced if made_from is None else (rebuild_layer, made_from, *reduced[2:])


def converted_class(
    plain: type[nn.Module], before: tuple[type[NormalizedLayer], ...], after: type[NormalizedLayer] | None
) -> type[NormalizedLayer]:
    """The subclass of `plain` that a normalizer gives to its layers.

    Args:
        plain: the class of the layer.
        before: mixins, whose methods call those of `plain`.
        after: a weight-normalized class of torch's layer, whose methods those of `plain` call.
    """
    own = () if after is not None and after.plain_class is plain else (plain,)
    bases = (*before, *own, *(() if after is None else (after,)))
    if len(bases) == 1:
        return bases[0]
    made_from = (plain, before, after)
    known = _CLASSES.get(made_from)
    if known is not None:
        return known
    name = "".join(kind._label for kind in before) + ("WeightNorm" if after is not None else "") + plain.__name__
    contents = {
        "__doc__": f"`{plain.__module__}.{plain.__qualname__}`, normalized.",
        "__module__": plain.__module__,
        "plain_class": plain,
        "_made_from": made_from,
    }
    try:
        made = type(name, bases, contents)
    except TypeError as error:
        raise ValueError(f"no class can be derived from {plain.__name__}: {error}: leave it out by layers=") from error
    return _CLASSES.setdefault(made_from, made)


_CLASSES: MutableMapping[Any, type[NormalizedLayer]] = weakref.WeakValueDictionary()  # by what they are made from


def mix_in(layer: nn.Module, *mixins: type[NormalizedLayer]) -> None:
    """Give `layer` the class that `converted_class` makes of its own and these mixins.

    Raises:
        ValueError: the layer has an attribute which a mixin would hide.
    """
    kind = converted_class(type(layer), mixins, None)
    check_names_are_free(layer, kind)
    layer.__class__ = kind


def rebuild_layer(
    plain: type[nn.Module], before: tuple[type[NormalizedLayer], ...], after: type[NormalizedLayer] | None
) -> NormalizedLayer:
    """An empty layer of a class made by `converted_class`; pickles name this function, so its name stays."""
    kind = converted_class(plain, before, after)
    return kind.__new__(kind)


def check_names_are_free(layer: nn.Module, kind: type[nn.Module], new: Iterable[str] = ()) -> None:
    """Refuse a layer that has an attribute which its normalizer would hide.

    Args:
        layer: still plain.
        kind: its new class.
        new: names of its new parameters.

    Raises:
        ValueError: such an attribute.
    """
    ours = [cls for cls in kind.__mro__ if issubclass(cls, NormalizedLayer)]
    names = {name for cls in ours for name in (*vars(cls), *inspect.get_annotations(cls)) if name[:2] != "__"}
    names |= {*_KEPT, *_KEEPING, "_weights", "_effective"}
    names = (names | {*new, *getattr(kind, "own_parts", ())}) - {"bias"}
    taken = sorted(name for name in names if hasattr(layer, name) and not hasattr(torch_class(type(layer)), name))
    taken = [name for name in taken if not (name in layer._parameters and "weight" in name)]
    if taken:
        raise ValueError(f"{type(layer).__name__} has an attribute {taken[0]!r}, which its normalizer needs: rename it")


def replaced(entries: Mapping[str, Any], name: str, new: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """`entries` with others in place of the entry `name`."""
    items = [(pair,) if pair[0] != name else tuple(new) for pair in entries.items()]
    return {key: value for pairs in items for key, value in pairs}
