"""Weight normalization for deep reinforcement learning in PyTorch.

- `normalize(network, "weight")` converts the layers of a network in place; `remove` undoes it, `describe` shows it.
- `data_init`, `lsuv_init`, `within_layer_init`, `analytic_init`, `he_uniform_`: initial weights, plain or normalized.
- `fold`, `refresh`, `polyak`, `unfold`: copies with plain layers, for acting and for targets.
- `project`: to be called after each step of the optimizer under the normalizers that need it.
- `convert_state_dict`, `torch_state_dict`: checkpoints of torch's weight norm and of plain networks, in and out.
- `parameter_groups`, `check_optimizer`, `outdate`, `NormDiagnostics`.
- `WeightNormLinear`, `WeightNormConv2d`, …: the layers themselves.

Policies for stable-baselines3 are in `wnrl.sb3`, networks for agents in `wnrl.networks`. docs/weight-norm.md explains.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wnrl.api import *  # noqa: F403

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """A public name, or `__all__`: all of them come, and torch with them, when the first is used."""
    if name.startswith("__") and name != "__all__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    api = importlib.import_module("wnrl.api")
    globals().update({kind.__name__: kind for kind in api.IN_PICKLES}, __all__=[*api.__all__])
    globals().update({public: getattr(api, public) for public in api.__all__})
    if name not in globals():
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *__getattr__("__all__")})
