"""The weight that a weight-normalized layer shows: computed from g and v, but read and written like a parameter."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import Any, NoReturn

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._pytree import tree_map

_IN_PLACE_OPERATORS = {"__setitem__"} | {
    f"__i{operator}__"
    for operator in ("add", "and", "div", "floordiv", "lshift", "mod", "mul", "or", "pow", "rshift", "sub", "xor")
}
_READING = dict.fromkeys(  # frequent functions that neither write nor return views: the shortest way
    (
        *(F.linear, F.bilinear, F.conv1d, F.conv2d, F.conv3d),
        *(F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d, Tensor.size, Tensor.dim, Tensor.numel),
        *(
            getattr(Tensor, name).__get__
            for name in ("shape", "ndim", "dtype", "device", "requires_grad", "is_leaf", "_base")
        ),
    )
)
"""No set, since torch 2.8 cannot compile whether one contains a function."""
_ACCESSORS = {"__get__", "__set__", "__delete__"}  # of properties
_EXCHANGING = (  # instead of values they change the tensor's memory, shape or names
    *("resize", "resize_", "resize_as", "resize_as_", "resize_as_sparse_", "sparse_resize_", "share_memory_"),
    *("sparse_resize_and_clear_", "rename_", "names.__set__", "t_", "transpose_", "swapaxes_", "swapdims_", "squeeze_"),
    *("unsqueeze_", "as_strided_"),
)
_OF_GRADIENT = (
    *("grad.__get__", "grad.__set__", "grad.__delete__", "retain_grad"),
    *("register_hook", "register_post_accumulate_grad_hook"),
)


def writable(
    weight: Tensor,
    write: Callable[[Tensor], None],
    parameters: tuple[str, str] = ("g", "v"),
    read: Callable[[], Tensor] | None = None,
) -> Tensor:
    """`weight` as an `EffectiveWeight`; under torch.compile, export, tracing and torch.func's transforms as it is.

    Writes to what these read are lost: they have to set the layer's parameters themselves.

    Args:
        weight: the computed weight, differentiable in the layer's parameters.
        write: called without gradients after a write, with the weight's new values, which it must not keep.
        parameters: the names of g and v in the layer, for error messages.
        read: computes the weight again. Without it, writing to a weight that was read before the layer last changed
            undoes that change.
    """
    if torch.compiler.is_compiling() or torch.jit.is_tracing() or torch._C._are_functorch_transforms_active():
        return weight
    with torch.set_grad_enabled(weight.requires_grad):  # or it would be a view that was made without gradients
        shown = weight.as_subclass(EffectiveWeight)
    shown._source, shown._whole = _Source(weight, write, parameters, read), True
    return shown


class EffectiveWeight(Tensor):
    """What `layer.weight` returns: writing to it, or to a view of it, sets the layer's parameters.

    Results of operations are ordinary tensors, except views of the same memory. With gradients enabled, a write is
    refused as for a parameter. Copies, pickles and `nn.Parameter(w)` are ordinary and independent of the layer.

    Raises:
        RuntimeError: the weight's own gradient, hooks or `requires_grad` are asked for or set, or an operation would
            exchange its memory or shape.
    """

    _source: _Source
    _whole: bool = False  # returned by `writable`, not a view of that

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        """An ordinary tensor; as of any tensor, RuntimeError unless it is detached."""
        return copy.deepcopy(self.as_subclass(Tensor), memo)

    def __copy__(self) -> Tensor:
        """A view, as of any tensor."""
        return self.view_as(self)

    def __reduce_ex__(self, protocol: Any) -> Any:
        """As an ordinary tensor, so that torch.load needs to know no other class."""
        return self.as_subclass(Tensor).__reduce_ex__(protocol)

    def __format__(self, format_spec: str) -> str:
        """As of an ordinary tensor."""
        return format(self.as_subclass(Tensor), format_spec)

    def set_(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refused; torch would not call `__torch_function__`."""
        _refuse_exchange(Tensor.set_, self)

    def _use_count(self) -> int:
        """Called by `torch.utils.swap_tensors`, which is refused."""
        _refuse_exchange(torch.utils.swap_tensors, self)

    @property
    def _is_param(self) -> bool:
        return False

    @_is_param.setter
    def _is_param(self, value: bool) -> None:
        """Set by `nn.Parameter(w)` on a detached view of w: make it an ordinary parameter with memory of its own."""
        with torch._C.DisableTorchFunctionSubclass():
            self.data = self.data.clone()
        vars(self).clear()
        self.__class__ = nn.Parameter  # type: ignore[assignment]

    @property
    def real(self) -> Tensor:
        """The tensor itself; torch's setter would not call `__torch_function__`."""
        return self

    @real.setter
    def real(self, value: Tensor) -> None:
        self.copy_(value)

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run `func` on ordinary tensors; what it writes to an effective weight is written to the layer."""
        kwargs = kwargs or {}
        if func in _READING and len(types) == 1:
            return _plainly(func, *args, **kwargs)
        run = _run_uncompiled if torch.compiler.is_compiling() else _run
        return run(func, types, args, kwargs)


class _Source:
    """The plain tensor of which the shown tensors are views, and the layer's functions that write and read it."""

    def __init__(
        self,
        tensor: Tensor,
        write: Callable[[Tensor], None],
        parameters: tuple[str, str],
        read: Callable[[], Tensor] | None,
    ) -> None:
        self.tensor, self.write, self.parameters, self.read = tensor, write, parameters, read
        self.known = tensor  # the layer's weight when `tensor` was last equal to it, but for rounding

    @torch.no_grad()
    def refresh(self) -> None:
        """Before a write: take over what changed in the layer since `tensor` was read or written."""
        if self.read is not None:
            current = self.read().to(self.tensor)
            self.tensor.data.copy_(torch.where(current == self.known, self.tensor, current))

    @torch.no_grad()
    def commit(self) -> None:
        """After a write: set the layer's parameters."""
        self.write(self.tensor.detach())
        if self.read is not None:
            self.known = self.read().to(self.tensor)


def _run(func: Callable[..., Any], types: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run `func`; what it writes to effective weights, or to views of them, is written to their layers."""
    name = getattr(func, "__name__", "").partition(".")[0]  # of an overload such as "mul_.Scalar"
    if name in _ACCESSORS:
        name = f"{getattr(func.__self__, '__name__', '')}.{name}"  # type: ignore[attr-defined]
    if name in _SPECIAL and args and isinstance(args[0], EffectiveWeight):
        return _SPECIAL[name](func, *args, **kwargs)
    written: Any = kwargs.get("out")  # what is known to be written; the rest is seen by its `_version`
    if written is None and (_is_in_place(name) or kwargs.get("inplace") is True):
        written = args[0] if args else next(iter(kwargs.values()))
    foreign = len(types) > 1 and any(kind not in (EffectiveWeight, Tensor) for kind in types)
    if written is not None or foreign:
        return _run_substituted(func, args, kwargs, written, foreign)
    found = _effective_weights((*args, *kwargs.values()) if kwargs else args)
    with torch._C.DisableTorchFunctionSubclass():
        before = _versions(found)
        result = func(*args, **kwargs)
        if before != (after := _versions(found)):
            _commit(weight for weight, old, new in zip(found, before, after, strict=True) if old != new)
        return _show(result, found, {})


_run_uncompiled = torch._disable_dynamo(_run)


def _is_in_place(name: str) -> bool:
    return name[-1:] == "_" and (name[-2:] != "__" or name in _IN_PLACE_OPERATORS)


def _run_substituted(
    func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], written: Any, foreign: bool
) -> Any:
    """Run `func` on ordinary tensors instead of effective weights, and on leaves instead of those in `written`.

    Of a leaf torch itself refuses, with gradients enabled, what it refuses of a parameter.
    """
    targets, found = _effective_weights((written,)), _effective_weights((*args, *kwargs.values()))
    plain = {id(weight): weight.as_subclass(Tensor) for weight in found} | {id(w): _leaf(w) for w in targets}
    for source in {weight._source for weight in targets}:
        source.refresh()

    def substitute(value: Any) -> Any:
        return plain.get(id(value), value)

    stand_ins = [plain[id(weight)] for weight in found]
    before = _versions(stand_ins)
    with nullcontext() if foreign else torch._C.DisableTorchFunctionSubclass():
        result = func(*tree_map(substitute, args), **tree_map(substitute, kwargs))
    after = _versions(stand_ins)
    if any(plain[id(weight)].shape != weight.shape for weight in targets):
        _refuse_exchange(func, targets[0])
    changed = [weight for weight, old, new in zip(found, before, after, strict=False) if old != new]
    _commit([*targets, *changed])
    return _show(result, found, {id(plain[id(weight)]): weight for weight in found})


def _leaf(weight: EffectiveWeight) -> Tensor:
    """The weight's memory as a leaf, or as a view of a leaf."""
    leaf = weight.as_subclass(Tensor).detach().requires_grad_(weight.requires_grad)
    return leaf if weight._whole else leaf.view_as(leaf)


def _versions(tensors: list[Any]) -> list[int]:
    """How often each was written to; empty if one is an inference tensor, which does not count that."""
    try:
        return [tensor._version for tensor in tensors]
    except RuntimeError:
        return []


def _effective_weights(values: Iterable[Any]) -> list[EffectiveWeight]:
    """The effective weights among `values`, also in lists and tuples."""
    found = []
    for value in values:
        if isinstance(value, EffectiveWeight):
            found.append(value)
        elif isinstance(value, (list, tuple)):
            found += _effective_weights(value)
    return found


def _commit(written: Iterable[EffectiveWeight]) -> None:
    for source in {weight._source for weight in written}:
        source.commit()


def _show(result: Any, found: list[EffectiveWeight], originals: dict[int, EffectiveWeight]) -> Any:
    """`result` with effective weights instead of their stand-ins (`originals`, by id) and of views of them."""
    if type(result) is Tensor:
        if originals and id(result) in originals:
            return originals[id(result)]
        for weight in found:
            if torch._C._is_alias_of(result, weight):  # type: ignore[attr-defined]
                view = result.as_subclass(EffectiveWeight)
                view._source = weight._source
                return view
    elif isinstance(result, (list, tuple)) and not isinstance(result, torch.Size):
        return type(result)([_show(one, found, originals) for one in result])
    return result


def _refuse_exchange(func: Callable[..., Any], weight: EffectiveWeight, *args: Any, **kwargs: Any) -> NoReturn:
    raise RuntimeError(
        f"{getattr(func, '__name__', func)} would change the memory, shape or graph of this tensor, not of the layer, "
        f"whose weight is computed from {_names(weight)}: call layer.set_weight(tensor), or clone() the weight for an "
        f"ordinary tensor"
    )


def _detach_in_place(func: Callable[..., Any], weight: EffectiveWeight) -> EffectiveWeight:
    return _refuse_exchange(func, weight) if weight.requires_grad else weight


def _gradient(func: Callable[..., Any], weight: EffectiveWeight, *args: Any, **kwargs: Any) -> Any:
    """Gradients and hooks: refused, except of a leaf such as `w.detach().requires_grad_()`."""
    if getattr(func, "__name__", "") == "__get__" and torch._guards.TracingContext.try_get() is not None:
        return None  # torch.compile asks for the gradients of its inputs
    if weight._whole or not weight.is_leaf:
        gradients = _names(weight, "layer.{}.grad")
        raise RuntimeError(
            f"the weight is computed from {_names(weight)}: its gradients are in {gradients}, and hooks are registered "
            f"there; clone() the weight for an ordinary tensor"
        )
    return _plainly(func, weight, *args, **kwargs)


def _require_gradient(
    func: Callable[..., Any], weight: EffectiveWeight, requires_grad: bool = True
) -> EffectiveWeight | None:
    if weight._whole and requires_grad != weight.requires_grad:
        calls = _names(weight, f"layer.{{}}.requires_grad_({requires_grad})")
        raise RuntimeError(f"the weight is computed from {_names(weight)}: call {calls}")
    return _plainly(func, weight, requires_grad)


def _set_data(func: Callable[..., Any], weight: EffectiveWeight, value: Tensor) -> None:
    """`w.data = value`, as a copy of the values."""
    expected, got = ((x.shape, x.dtype, x.device) for x in (weight, value))
    if expected != got:
        raise RuntimeError(
            f"the weight is {weight.dtype} {[*weight.shape]} on {weight.device}, got {value.dtype} {[*value.shape]} on "
            f"{value.device}: convert the layer itself"
        )
    weight.data.copy_(value.detach())


def _read_only_array(func: Callable[..., Any], weight: EffectiveWeight, *args: Any, **kwargs: Any) -> Any:
    array = _plainly(func, weight, *args, **kwargs)
    array.flags.writeable = False
    return array


def _export_copy(func: Callable[..., Any], weight: EffectiveWeight, *args: Any, **kwargs: Any) -> Any:
    return func(weight.clone(), *args, **kwargs)


def _names(weight: EffectiveWeight, form: str = "{}") -> str:
    """The layer's parameters, as "g and v"."""
    return " and ".join(form.format(name) for name in dict.fromkeys(weight._source.parameters))


def _plainly(func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """`func` as on an ordinary tensor."""
    with torch._C.DisableTorchFunctionSubclass():
        return func(*args, **kwargs)


_SPECIAL: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(_EXCHANGING, _refuse_exchange),
    **dict.fromkeys(_OF_GRADIENT, _gradient),
    "requires_grad_": _require_gradient,
    "requires_grad.__set__": _require_gradient,
    "detach_": _detach_in_place,
    "data.__set__": _set_data,
    "numpy": _read_only_array,
    "__array__": _read_only_array,
    "__dlpack__": _export_copy,
}
