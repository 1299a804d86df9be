"""The mixin that turns a policy class of stable-baselines3 into one with normalized networks."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from stable_baselines3.common.policies import BaseModel, BasePolicy
from torch import nn
from torch.optim import Optimizer

from wnrl.initialization.initialize import INITIALIZATIONS, initialize
from wnrl.normalizers.layer_kinds import is_dense, unknown_name
from wnrl.normalizers.normalize import NORMALIZERS, normalize
from wnrl.normalizers.projection import ProjectedLayer, project
from wnrl.sb3.acting import Acting
from wnrl.sb3.learner import optimizers
from wnrl.sb3.parts import normalize_parts
from wnrl.weight_norm.dense import Units, check_units

# In every network of the host, the last dense layer of a part with such a name is an output layer.
_HEADS = re.compile(r"action_net|value_net|q_net|quantile_net|mu|log_std|qf\d+")
# The parts before each head, in the order of the forward pass, in actor-critic policies and in other networks.
_BEFORE_HEADS = {
    "action_net": ("pi_features_extractor", "mlp_extractor.policy_net"),
    "value_net": ("vf_features_extractor", "critic", "mlp_extractor.value_net"),
}
_BEFORE_OTHERS = ("features_extractor", "latent_pi")
_OF_ITS_ALGORITHM = "each algorithm takes the policies of its own module, wnrl.sb3.ALGORITHM"


class NormalizedPolicy(BasePolicy):
    """Mixed in before a policy class of stable-baselines3: the host builds its networks, then they are converted.

    Otherwise the host's policy stays the same. Its initialization (orthogonal or not) is that of the effective weights,
    its optimizers get the new parameters, and its target networks are converted too, so that its algorithm can copy and
    average them: g and v, and rows of `projected` layers, whose averages are not projected and a little shorter than 1.
    In evaluation mode, without gradients, a policy acts with folded layers.

    Args:
        arguments: of the host's policy.
        norm: a name in `wnrl.NORMALIZERS`; `none` leaves the host's policy unchanged.
        init: `preserve` (the host's initialization), `analytic` or `he`, see `wnrl.initialize`.
        normalize_output: whether output layers are normalized too; None: as in the paper that introduced it.
        units: of g, see `wnrl.weight_norm.dense`.
        keywords: of the host's policy.

    Raises:
        ValueError: an unknown name.
        TypeError: an argument that the host's policy does not take, as when the algorithm has other policies.
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
        _check_names(norm, init, units)
        try:
            super().__init__(*arguments, **keywords)
        except TypeError as error:
            raise TypeError(f"{type(self).__module__}: {error}; {_OF_ITS_ALGORITHM}") from error
        self._normalization = {"norm": norm, "init": init, "normalize_output": normalize_output, "units": units}
        self._acting = Acting(getattr(self, "actor", self))  # a separate critic does not act
        if norm != "none":
            names = {id(parameter): name for name, parameter in self.named_parameters()}
            layers = _last_hidden_layers(self) if NORMALIZERS[norm].last_hidden_only else None
            normalize(self, norm, normalize_output=normalize_output, layers=layers, units=units)
            normalize_parts(self)
            for optimizer in optimizers(self):
                _hold_the_new_parameters(optimizer, names, self)
                if optimizer.state:  # made by the constructor (Adagrad's) for the replaced parameters: construct again
                    options = {"lr": optimizer.defaults["lr"], **self.optimizer_kwargs}
                    optimizer.__init__(optimizer.param_groups, **options)  # type: ignore[misc]
        if init != "preserve":
            initialize(self, init)
            self.equalize_targets()

    @property
    def output_layers(self) -> tuple[nn.Module, ...]:
        """The output layers of the host's networks."""
        return tuple(layers[-1] for layers in _paths(self))

    def __getattr__(self, name: str) -> Any:
        """As of every module; the error is that of an algorithm which looks for networks of its own policies."""
        try:
            return super().__getattr__(name)
        except AttributeError as error:
            raise AttributeError(f"{type(self).__module__}: {error}; {_OF_ITS_ALGORITHM}") from None

    def equalize_targets(self) -> None:
        """Copy the parameters and buffers of each learner to its target network."""
        networks = dict(self.named_children())
        for name, target in networks.items():
            if name.endswith("_target"):
                target.load_state_dict(networks[name.removesuffix("_target")].state_dict())

    def set_training_mode(self, mode: bool) -> None:
        """As the host's; going into training mode, twins are marked stale and projections are set up."""
        if not mode and _is_evaluating(self):  # the usual case; setting every module's mode costs more than acting
            return
        super().set_training_mode(mode)
        if mode:
            self._acting.outdate()
            if self._normalization["norm"] == "projected":
                _project_after_steps(self)

    def load_state_dict(self, *arguments: Any, **keywords: Any) -> Any:
        """As the host's."""
        self._acting.forget()  # assign=True replaces parameters
        return super().load_state_dict(*arguments, **keywords)

    def load_from_vector(self, vector: Any) -> None:
        """As the host's."""
        super().load_from_vector(vector)
        self._acting.outdate()

    # The methods by which the host acts; each uses folded layers where possible.

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


def _is_evaluating(module: nn.Module) -> bool:
    if module.training:
        return False
    return all(child is None or _is_evaluating(child) for child in module._modules.values())


def _check_names(norm: str, init: str, units: str) -> None:
    if norm not in NORMALIZERS:
        raise unknown_name("norm", str(norm), NORMALIZERS)
    if init == "data":
        raise ValueError("init 'data' needs observations: train with callback=wnrl.sb3.DataDependentInit() instead")
    if init not in INITIALIZATIONS:
        raise unknown_name("init", str(init), INITIALIZATIONS)
    check_units(units)


def _paths(policy: nn.Module) -> Iterator[list[nn.Module]]:
    """The dense layers from the observation to each output of the host's networks."""
    for network in policy.modules():
        if isinstance(network, BaseModel):
            parts = dict(network.named_modules(remove_duplicate=False))
            for name, head in network.named_children():
                if _HEADS.fullmatch(name) and not isinstance(head, BaseModel) and any(map(is_dense, head.modules())):
                    before = [parts[part] for part in _BEFORE_HEADS.get(name, _BEFORE_OTHERS) if part in parts]
                    yield [layer for part in (*before, head) for layer in part.modules() if is_dense(layer)]


def _last_hidden_layers(policy: nn.Module) -> Callable[[str, nn.Module], bool]:
    """Selects the layers for a normalizer that is applied to one hidden layer, the last, of each network."""
    taken = {layer for layers in _paths(policy) for layer in layers[-2:]}
    return lambda name, layer: layer in taken


def _hold_the_new_parameters(optimizer: Optimizer, names: dict[int, str], policy: nn.Module) -> None:
    """Replace the parameters with which the host built `optimizer` by those of the converted layers."""
    current = dict(policy.named_parameters())
    seen: set[int] = set()
    for group in optimizer.param_groups:
        new: list[nn.Parameter] = []
        for old in group["params"]:
            name = names[id(old)]
            layer = name.rpartition(".")[0] + "."
            found = [current[name]] if current.get(name) is old else [
                parameter for other, parameter in current.items() if other.startswith(layer)
            ]  # fmt: skip
            new += [parameter for parameter in found if id(parameter) not in seen]
            seen |= {id(parameter) for parameter in found}
        group["params"] = new


def _project_after_steps(policy: nn.Module) -> None:
    """Make each optimizer project its projected layers after every step; copies of optimizers have no such hook."""
    layers = [module for module in policy.modules() if isinstance(module, ProjectedLayer)]
    for optimizer in optimizers(policy) if layers else []:
        if "_wnrl_projects" not in vars(optimizer):
            held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
            moved = nn.ModuleList(layer for layer in layers if id(next(layer.parameters())) in held)
            optimizer.register_step_post_hook(lambda *_, moved=moved: project(moved))
            optimizer._wnrl_projects = True  # type: ignore[attr-defined]
