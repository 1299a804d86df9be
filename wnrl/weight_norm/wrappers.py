"""Names in the state dicts of networks that torch.compile or DistributedDataParallel wrapped when they were saved."""

from __future__ import annotations

from typing import Any

from torch import nn

_WRAPPERS = ("module", "_orig_mod")


def strip_wrappers(module: nn.Module, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
    """Rename, in place, entries such as `module._orig_mod.0.weight` to those of `module` itself, `0.weight`.

    A child of `module` with a wrapper's name keeps its entries. Usable as a load_state_dict pre-hook; pickles name this
    function, so its name stays.
    """
    while any(_stripped(module, state_dict, prefix, f"{prefix}{name}.") for name in _WRAPPERS):
        pass


def _stripped(module: nn.Module, state_dict: dict[str, Any], prefix: str, wrapped: str) -> bool:
    """Whether entries began with `wrapped`, which they do no longer."""
    keys = {key: prefix + key.removeprefix(wrapped) for key in state_dict if key.startswith(wrapped)}
    is_child = wrapped[len(prefix) : -1] in module._modules
    if not keys or is_child or any(new in state_dict for new in keys.values()):
        return False
    for key, new in keys.items():
        state_dict[new] = state_dict.pop(key)
    return True


def unwrapped(name: str) -> str:
    """A module's name without wrappers: `0` for `module._orig_mod.0`."""
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)


def register_stripping(network: nn.Module) -> None:
    """From now on `network` loads states with the names of wrapped networks; once."""
    if not any(getattr(hook, "hook", None) is strip_wrappers for hook in network._load_state_dict_pre_hooks.values()):
        network.register_load_state_dict_pre_hook(strip_wrappers)


def unregister_stripping(network: nn.Module) -> None:
    """Undo `register_stripping`, if it was done."""
    for key, hook in list(network._load_state_dict_pre_hooks.items()):
        if getattr(hook, "hook", None) is strip_wrappers:
            del network._load_state_dict_pre_hooks[key]
