"""Trees of tensors, arrays and plain values, converted to JSON and named tensors, and back."""

import math
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wnrl.checkpoints.streams import Stream

__all__ = ["flatten", "layer_metadata", "plain_metadata", "put_tensor", "unflatten"]


def flatten(state: Mapping[Any, Any]) -> tuple[Any, dict[str, Tensor | Stream]]:
    """Convert a tree to JSON and named tensors.

    Args:
        state: dicts with str or int keys, lists and tuples of tensors, NumPy arrays and scalars, int of any size,
            float, str, bool, None, and streams. Of a module's state dict, plain values in the metadata are stored too.

    Returns:
        A value of JSON's types, and the tensors by their path in the tree: contiguous, on the CPU, sharing no memory;
        streams as they are.

    Raises:
        ValueError: the tree contains something else; the message gives its path.
    """
    tensors: dict[str, Tensor | Stream] = {}
    return _encode(state, "", tensors), tensors


def unflatten(tree: Any, tensors: Mapping[str, Tensor], device: torch.device | str = "cpu") -> dict[Any, Any]:
    """The inverse of `flatten`, with tensors on `device`.

    Raises:
        ValueError: `tree` is not one that `flatten` returns, or a tensor is missing.
    """
    try:
        return dict(_decode(tree, tensors, torch.device(device)))
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RuntimeError) as error:  # of any depth
        raise ValueError(f"not a tree of tensors and values: {error!r}") from error


def put_tensor(tensor: Tensor, name: str, tensors: dict[str, Tensor | Stream]) -> str:
    """Add a tensor to `tensors` as safetensors needs it: dense, on the CPU, with memory of its own.

    Args:
        tensor: any shape, real and dense, with values.
        name: of the tensor; primes are appended while it is taken.
        tensors: what it is added to; it is copied only if it shares memory with one of them.

    Returns:
        The name under which it was added.

    Raises:
        ValueError: it is no tensor, or a sparse, quantized or complex one, or on the meta device.
    """
    if not isinstance(tensor, Tensor):
        raise ValueError(f"cannot store {name}, a {type(tensor).__name__}: give a tensor")
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_complex() or tensor.is_meta:
        where = f"{tensor.layout}, {tensor.device}"
        raise ValueError(f"cannot store {name}, a {tensor.dtype} tensor ({where}): give a dense real one with values")
    name = _free(name, tensors)
    tensor = tensor.detach().cpu().contiguous().resolve_neg()
    memory = tensor.untyped_storage().data_ptr()
    others = (other for other in tensors.values() if isinstance(other, Tensor))
    shared = any(other.untyped_storage().data_ptr() == memory for other in others)
    tensors[name] = tensor.clone() if shared else tensor
    return name


def _free(name: str, tensors: Mapping[str, Any]) -> str:
    """A name that is not taken."""
    while name in tensors:
        name += "'"
    return name


def _encode(value: Any, place: str, tensors: dict[str, Tensor | Stream]) -> Any:
    """The JSON of `value`; its tensors are added to `tensors` by their paths, that of `value` is `place`."""
    if isinstance(value, Tensor):
        return {"$tensor": put_tensor(value, place, tensors)}
    if isinstance(value, Stream):
        tensors[name := _free(place, tensors)] = value
        return {"$tensor": name}
    if type(value) in (np.ndarray, np.memmap) or isinstance(value, np.generic):  # but no masked array
        tag = "$scalar" if isinstance(value, np.generic) else "$array"
        return {tag: put_tensor(_from_numpy(np.asarray(value), place), place, tensors)}
    if isinstance(value, Mapping):
        entries, metadata = _encode_mapping(value, place, tensors), plain_metadata(value)
        return {"$state_dict": entries, "metadata": metadata} if metadata else entries
    if type(value) in (list, tuple):
        items = [_encode(item, f"{place}/{index}", tensors) for index, item in enumerate(value)]
        return items if type(value) is list else {"$tuple": items}
    if type(value) is float and not math.isfinite(value):
        return {"$float": str(value)}
    if value is None or type(value) in (bool, int, float, str):
        return value
    raise ValueError(f"cannot store {place or 'the state'}, a {type(value).__name__}: give tensors or plain values")


def _encode_mapping(value: Mapping[Any, Any], place: str, tensors: dict[str, Tensor | Stream]) -> Any:
    """A JSON object if all keys are plain str, else a list of pairs."""
    for key in value:
        if type(key) not in (str, int):
            raise ValueError(f"cannot store {place or 'the state'}, it has the key {key!r}: use str or int")
    items = [(key, _encode(item, f"{place}/{_ascii(key)}", tensors)) for key, item in value.items()]
    plain = all(type(key) is str and not key.startswith("$") for key in value)
    return dict(items) if plain else {"$dict": items}


def plain_metadata(state: Mapping[Any, Any]) -> dict[str, dict[str, Any]]:
    """What a module's state dict says about its layers beyond their versions, such as the units of g."""
    found = {}
    for name, about in (getattr(state, "_metadata", None) or {}).items():
        found[name] = {key: value for key, value in about.items() if type(value) in (bool, int, float, str)}
    return found if any(about.keys() - {"version"} for about in found.values()) else {}


def layer_metadata(stored: Any) -> OrderedDict[str, dict[str, Any]]:
    """What `plain_metadata` returned, as a module's state dict has it; raises ValueError where it is something else."""
    if not isinstance(stored, dict) or not all(isinstance(about, dict) for about in stored.values()):
        raise ValueError("what it says about layers is no mapping of mappings")
    return OrderedDict(stored)


def _decode(node: Any, tensors: Mapping[str, Tensor], device: torch.device) -> Any:
    """The value that `_encode` converted to `node`."""
    if isinstance(node, list):
        return [_decode(item, tensors, device) for item in node]
    if not isinstance(node, dict):
        return node
    tag: str
    content: Any
    tag, content = next(iter(node.items()), ("", None))
    if tag == "$tensor":
        return tensors[content].to(device)
    if tag in ("$array", "$scalar"):
        array = tensors[content].numpy()
        return array if tag == "$array" else array[()]
    if tag == "$tuple":
        return tuple(_decode(content, tensors, device))
    if tag == "$float":
        return float(content)
    if tag == "$state_dict":
        state: Any = OrderedDict(_decode(content, tensors, device))
        state._metadata = layer_metadata(node["metadata"])
        return state
    pairs = content if tag == "$dict" else node.items()
    return {key: _decode(item, tensors, device) for key, item in pairs}


def _ascii(key: str | int) -> str:
    return str(key).encode("ascii", "backslashreplace").decode()


def _from_numpy(array: np.ndarray, place: str) -> Tensor:
    try:
        return torch.from_numpy(np.require(array, requirements=["C", "W"]))
    except (TypeError, ValueError) as error:
        raise ValueError(f"cannot store {place}, an array of {array.dtype}: give numbers or bool") from error
