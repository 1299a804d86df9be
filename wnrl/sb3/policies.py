"""What turns a policy class of stable-baselines3 into one with normalized networks."""

from __future__ import annotations

import re
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy
from torch import nn
from torch.optim import Optimizer

from wnrl.initialization import INITIALIZATIONS, initialize
from wnrl.layer_kinds import is_dense, unknown_name
from wnrl.normalizers import NORMALIZERS, normalize
from wnrl.projection import ProjectedLayer, project
from wnrl.sb3.acting import Acting
from wnrl.weight_norm import Units

# The last dense layer of a module of such a name makes an output, in every policy of the host.
_OUTPUTS = re.compile(r"(.*\.)?(action_net|value_net|q_net|q_net_target|quantile_net|mu|log_std|qf\d+)")


class NormalizedPolicy(BasePolicy):
    """Mixed in before a policy class of stable-baselines3: the host builds its networks, then they are converted.

    The host's policy does all that it did. Its initialization (orthogonal or not) is that of the effective weights, its
    optimizers hold the new parameters, and its target networks are converted too, so that its algorithm can copy and
    average them. In evaluation mode, without gradients, a policy acts with folded layers.

    Args:
        arguments: of the host's policy.
        norm: a name in `wnrl.NORMALIZERS`; `none` leaves the host's policy as it is.
        init: `preserve` (the host's own), `analytic` or `he`, see `wnrl.initialize`.
        normalize_output: whether output layers are normalized too; None does as the normalizer's source does.
        units: of g, see `wnrl.weight_norm`.
        keywords: of the host's policy.

    Raises:
        ValueError: an unknown name, or an algorithm that has other policies.
    """

    def __init__(
        self,
        *arguments: Any,
        norm: str = "weight",
        init: str = "preserve",
        normalize_output: bool | None = None,
        units: Units = "sqrt",
        **keywords: Any,
    ) -> None:
        _check_names(norm, init)
        _check_algorithm(type(self))
        super().__init__(*arguments, **keywords)
        self._normalization = {"norm": norm, "init": init, "normalize_output": normalize_output, "units": units}
        self._acting = Acting(self)
        if norm != "none":
            names = {id(parameter): name for name, parameter in self.named_parameters()}
            normalize(self, norm, normalize_output=normalize_output, units=units)
            for optimizer in _optimizers(self):
                _hold_the_new_parameters(optimizer, names, self)
        if init != "preserve":
            initialize(self, init)
            self.equalize_targets()

    @property
    def output_layers(self) -> tuple[nn.Module, ...]:
        """The layers that make the outputs of the host's networks."""
        return tuple(_last_dense(module) for name, module in self.named_modules() if _OUTPUTS.fullmatch(name))

    def equalize_targets(self) -> None:
        """Give each target network the parameters of its learner."""
        modules = dict(self.named_modules())
        for name, target in modules.items():
            if name.endswith("_target"):
                target.load_state_dict(modules[name.removesuffix("_target")].state_dict())

    def set_training_mode(self, mode: bool) -> None:
        """As the host's; before training, what it takes is made ready."""
        super().set_training_mode(mode)
        if mode:
            self._acting.forget()
            _project_after_steps(self)

    # What the host calls to act; each acts with folded layers where it can.

    def forward(self, *arguments: Any, **keywords: Any) -> Any:
        """As the host's."""
        with self._folded():
            return super().forward(*arguments, **keywords)

    def _predict(self, *arguments: Any, **keywords: Any) -> Any:
        with self._folded():
            return super()._predict(*arguments, **keywords)  # type: ignore[safe-super]

    def predict_values(self, *arguments: Any, **keywords: Any) -> Any:
        """As the host's."""
        with self._folded():
            return super().predict_values(*arguments, **keywords)  # type: ignore[misc]

    def get_distribution(self, *arguments: Any, **keywords: Any) -> Any:
        """As the host's."""
        with self._folded():
            return super().get_distribution(*arguments, **keywords)  # type: ignore[misc]

    def _folded(self) -> AbstractContextManager[None]:
        return nullcontext() if self.training or torch.is_grad_enabled() else self._acting

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {**super()._get_constructor_parameters(), **self._normalization}


def _check_names(norm: str, init: str) -> None:
    if norm not in NORMALIZERS:
        raise unknown_name("norm", norm, NORMALIZERS)
    if init == "data":
        raise ValueError("init 'data' needs observations: train with callback=wnrl.sb3.DataDependentInit() instead")
    if init not in INITIALIZATIONS:
        raise unknown_name("init", init, INITIALIZATIONS)


def _check_algorithm(policy: type[NormalizedPolicy]) -> None:
    """Refuse a policy of another algorithm than that which is making it."""
    algorithm = _calling_algorithm()
    hosts = list(algorithm.policy_aliases.values()) if algorithm is not None else []
    own = [kind for kind in policy.__mro__ if issubclass(kind, BasePolicy) and not issubclass(kind, NormalizedPolicy)]
    if hosts and own[0] not in hosts:
        name = type(algorithm).__name__
        raise ValueError(f"{policy.__module__}.{policy.__name__} is no policy of {name}: take one made for {name}")


def _calling_algorithm() -> BaseAlgorithm | None:
    """The algorithm whose set-up makes a policy now; the host does not tell the policy."""
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
        if frame.f_code.co_name == "_setup_model" and isinstance(frame.f_locals.get("self"), BaseAlgorithm):
            return frame.f_locals["self"]
    return None


def _last_dense(module: nn.Module) -> nn.Module:
    return [part for part in module.modules() if is_dense(part)][-1]


def _optimizers(policy: nn.Module) -> list[Optimizer]:
    """Those of the policy and of its parts; the host keeps them in attributes of this name."""
    held = (vars(module).get("optimizer") for module in policy.modules())
    return [optimizer for optimizer in held if isinstance(optimizer, Optimizer)]


def _hold_the_new_parameters(optimizer: Optimizer, names: dict[int, str], policy: nn.Module) -> None:
    """Put the parameters of converted layers in the places of those that the host's optimizer was built with."""
    current = dict(policy.named_parameters())
    for group in optimizer.param_groups:
        new: dict[int, nn.Parameter] = {}
        for old in group["params"]:
            name = names[id(old)]
            layer = name.rpartition(".")[0] + "."
            found = [current[name]] if current.get(name) is old else [
                parameter for other, parameter in current.items() if other.startswith(layer)
            ]  # fmt: skip
            new |= {id(parameter): parameter for parameter in found}
        group["params"] = list(new.values())


def _project_after_steps(policy: nn.Module) -> None:
    """Let each optimizer project the projected layers that it moves after its steps; copies of optimizers forget it."""
    layers = [module for module in policy.modules() if isinstance(module, ProjectedLayer)]
    for optimizer in _optimizers(policy) if layers else []:
        if "_wnrl_projects" not in vars(optimizer):
            held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
            moved = nn.ModuleList(layer for layer in layers if id(next(layer.parameters())) in held)
            optimizer.register_step_post_hook(lambda *_, moved=moved: project(moved))
            optimizer._wnrl_projects = True  # type: ignore[attr-defined]
