"""What layers keep from one pass without gradients to the next: the factors s·g/‖v‖ of their rows, or a small weight w.

Acting asks for them at every layer of every step, so that each call and attribute counts here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from wnrl.weight_norm.weight_norm_layer import WeightNormLayer

_READABLE = (torch.float32, torch.float64)  # as NumPy arrays
_is_grad_enabled, _is_compiling, _is_tracing = torch.is_grad_enabled, torch.compiler.is_compiling, torch._C._is_tracing
_transforms, _modes = torch._C._are_functorch_transforms_active, torch._C._len_torch_dispatch_stack


class Factors:
    """The factors of one weight, and by what it is seen that they are outdated."""

    __slots__ = (
        *("v", "v_name", "v_storage", "v_version", "v_bytes", "entries"),
        *("g", "g_name", "g_storage", "g_version", "g_bytes", "array", "factor", "held"),
    )

    v: nn.Parameter
    g: nn.Parameter
    v_name: str
    g_name: str
    v_storage: int
    g_storage: int
    v_version: int
    g_version: int
    v_bytes: bytes | None
    g_bytes: bytes | None
    held: Any
    """Tensors with the storages of v and g: while these are held, no other parameter can get their addresses."""
    factor: Tensor
    """k = s·g/‖v‖, shaped for multiplying the layer's output; w itself if it is small, or one of several."""
    array: Any  # np.ndarray or None
    """A view of g; None on devices that the host would have to wait for."""
    entries: Any
    """A view of one entry of each row of v."""


def kept_factors(layer: WeightNormLayer, name: str = "weight") -> Factors | None:
    """The factors of a weight of the layer, computed again if v or g has changed; None if it may not use any now.

    It may in passes without gradients that nothing records. A change is seen by another parameter, another storage,
    another version counter and, on the CPU, by other bytes in g or in one entry of each row of v: whole rows that are
    written through `.data` move no counter. On other devices it may only after `keep_on_any_device`.
    """
    if _is_compiling():  # before the attributes are touched: older compilers cannot follow that
        return None
    attributes = layer.__dict__
    if _is_grad_enabled():
        attributes.pop("_factors", None)
        return None
    if _is_tracing() or _transforms() or _modes() or "_keeps_no_factors" in attributes:
        return None
    kept = attributes.get("_factors", _NONE).get(name)
    if kept is None:
        return _make(layer, name)
    parameters, v, g, array = attributes["_parameters"], kept.v, kept.g, kept.array
    if array is None and not _may_keep(attributes, v):
        return None
    if (
        parameters.get(kept.v_name) is not v
        or parameters.get(kept.g_name) is not g
        or v.data_ptr() != kept.v_storage
        or g.data_ptr() != kept.g_storage
    ):
        return _make(layer, name)
    if (
        v._version == kept.v_version
        and g._version == kept.g_version
        and (array is None or (array.tobytes() == kept.g_bytes and kept.entries.tobytes() == kept.v_bytes))
    ):
        return kept
    return _computed(layer, name, kept)


_NONE: dict[str, Factors] = {}


def is_compared(tensor: Tensor) -> bool:
    """Whether values of the tensor are compared from pass to pass: on other devices the host would have to wait."""
    return tensor.device.type == "cpu"


def is_captured(tensor: Tensor) -> bool:
    """Whether a CUDA graph is being made of operations on the tensor."""
    return tensor.is_cuda and torch.cuda.is_current_stream_capturing()


def _may_keep(attributes: dict[str, Any], tensor: Tensor) -> bool:
    """Whether a layer with these attributes may keep what it computes from the tensor, and use it."""
    return is_compared(tensor) or ("_owner_outdates" in attributes and not is_captured(tensor))


def _make(layer: WeightNormLayer, name: str) -> Factors | None:
    """New factors; None if their changes could not be seen."""
    v, g = layer.pair(name)
    if not (type(v) is type(g) is nn.Parameter and v.dtype in _READABLE and v.numel()):
        return None
    if v.is_inference() or g.is_inference() or not _may_keep(layer.__dict__, v):
        return None
    made = Factors()
    made.v, made.g, made.v_name, made.g_name = v, g, *layer.pair_names(name)
    made.v_storage, made.g_storage, made.held = v.data_ptr(), g.data_ptr(), (v.detach(), g.detach())
    made.array = made.entries = made.g_bytes = made.v_bytes = None
    if is_compared(v):
        made.array, made.entries = g.detach().numpy(), layer.watched_entries(name).numpy()
    return _computed(layer, name, made)


def _computed(layer: WeightNormLayer, name: str, old: Factors) -> Factors | None:
    """Factors of the current values, for the same storages as the old ones; None if the layer has none for them."""
    new = Factors()
    new.v, new.g, new.v_name, new.g_name = v, g, _, _ = old.v, old.g, old.v_name, old.g_name
    new.v_storage, new.g_storage, new.array, new.entries = old.v_storage, old.g_storage, old.array, old.entries
    new.held = old.held
    # read before the values are: another thread may be writing
    new.v_version, new.g_version, new.g_bytes, new.v_bytes = v._version, g._version, None, None
    if new.array is not None:
        new.g_bytes, new.v_bytes = new.array.tobytes(), new.entries.tobytes()
    factor = layer.factor(name, v, g)
    if factor is None:
        return None
    new.factor = factor
    layer.__dict__.setdefault("_factors", {})[name] = new
    return new


class Kept:
    """Values that a layer computes from some tensors and keeps from one pass without gradients to the next.

    Their changes are seen as those of g and v are (see `kept_factors`).

    Args:
        tensors: from which the values are computed.
        entries: those entries of each tensor, as views, that are compared; none where the host would have to wait.
    """

    def __init__(self, tensors: tuple[Tensor, ...], entries: tuple[Tensor, ...]) -> None:
        self._tensors, self._storages = tensors, [t.data_ptr() for t in tensors]
        self._held = [t.detach() for t in tensors]
        self.entries = [t.detach() for t in entries]
        self._last: Any = None, [], None  # versions, entries and the value; replaced at once, as threads share it

    def read(self, compute: Callable[[], Any]) -> Any:
        """The value, computed again if a tensor has changed."""
        versions = [t._version for t in self._tensors]
        seen, copies, value = self._last
        if versions != seen or not all(map(torch.equal, self.entries, copies)):
            copies = [t.clone() for t in self.entries]
            value = compute()
            self._last = versions, copies, value
        return value

    def is_of(self, tensors: tuple[Tensor, ...]) -> bool:
        """Whether these are the tensors, with the storages that they had."""
        pairs = zip(tensors, self._tensors, self._storages, strict=True)
        return all(t is own and t.data_ptr() == storage for t, own, storage in pairs)


def keep(
    layer: nn.Module, tensors: tuple[Any, ...], entries: Callable[[], tuple[Tensor, ...]], compute: Callable[[], Any]
) -> Any:
    """What `compute` returns, or what it returned last if nothing has changed; None where nothing may be kept now."""
    if _is_compiling():
        return None
    attributes = layer.__dict__
    if _is_grad_enabled():
        attributes.pop("_kept", None)
        return None
    if _is_tracing() or _transforms() or _modes() or "_keeps_no_factors" in attributes:
        return None
    kept = attributes.get("_kept")
    if kept is None or not kept.is_of(tensors):
        if not all(type(t) in (Tensor, nn.Parameter) and t.dtype in _READABLE and t.numel() for t in tensors):
            return None
        if any(t.is_inference() for t in tensors) or not _may_keep(attributes, tensors[0]):
            return None
        kept = Kept(tensors, entries() if is_compared(tensors[0]) else ())
        attributes["_kept"] = kept
    elif not (kept.entries or _may_keep(attributes, tensors[0])):
        return None
    return kept.read(compute)


def drop(layer: nn.Module) -> None:
    """Compute again, in the next pass, what `keep` returns for the layer."""
    if not _is_compiling():  # compiled passes count what they write
        layer.__dict__.pop("_kept", None)


def outdate(network: nn.Module) -> None:
    """Make the layers of `network` compute their factors again at their next pass.

    To be called after single entries of `g` or `v` were written through `tensor.data` on the CPU, which layers that act
    without gradients may not see. On other devices only the policies of `wnrl.sb3` keep factors, to be outdated after
    writes that move no version counter: any through `.data`, collectives of `torch.distributed`, replays of a graph.
    """
    for module in network.modules():
        vars(module).pop("_factors", None)
        vars(module).pop("_kept", None)


def keep_on_any_device(layer: nn.Module) -> None:
    """Let `layer` keep its factors off the CPU too, where it sees a change by version counters and storages alone.

    Its owner has to call `outdate` after any other write. Copies and pickles of the layer have to be allowed it again.
    """
    vars(layer)["_owner_outdates"] = True
