"""The mixin that turns a policy class of stable-baselines3 into one with normalized networks."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

from stable_baselines3.common.policies import BaseModel, BasePolicy
from torch import nn
from torch.optim import SGD, Optimizer

from wnrl.initialization.initialize import INITIALIZATIONS, initialize
from wnrl.normalizers.folding import normalized_layers
from wnrl.normalizers.layer_kinds import is_dense, unknown_name
from wnrl.normalizers.normalize import NORMALIZERS, normalize
from wnrl.normalizers.projection import project, projections
from wnrl.sb3.learner import optimizers
from wnrl.sb3.parts import normalize_parts
from wnrl.weight_norm.factors import outdate
from wnrl.weight_norm.units import Units, check_units
from wnrl.weight_norm.weight_norm_layer import WeightNormLayer

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

    Args:
        arguments: of the host's policy.
        norm: a name in `wnrl.NORMALIZERS`; `none` leaves the host's policy unchanged.
        init: `preserve` (the host's initialization), `analytic` or `he`, see `wnrl.initialize`.
        normalize_output: whether output layers are normalized too; None: as in the paper that introduced it.
        units: of g, see `wnrl.WeightNormLinear`; None: "paper" for SGD and its subclasses, under which a step of g in
            units of √n would be n times as long, "sqrt" for every other optimizer.
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
        units: Units | None = None,
        **keywords: Any,
    ) -> None:
        _check_names(norm, init, units)
        try:
            super().__init__(*arguments, **keywords)
        except TypeError as error:
            raise TypeError(f"{type(self).__module__}: {error}; {_OF_ITS_ALGORITHM}") from error
        self._chose_units = units is None
        if units is None:
            units = "paper" if issubclass(self.optimizer_class, SGD) else "sqrt"
        self._normalization = {"norm": norm, "init": init, "normalize_output": normalize_output, "units": units}
        if norm != "none":
            known = set(self.parameters())
            layers = _last_hidden_layers(self) if NORMALIZERS[norm].last_hidden_only else None
            normalize(self, norm, normalize_output=normalize_output, layers=layers, units=units)
            normalize_parts(self)
            for optimizer in optimizers(self):
                _hold_the_new_parameters(optimizer, known, self)
                if optimizer.state:  # made by the constructor (Adagrad's) for the replaced parameters: construct again
                    options = {"lr": optimizer.defaults["lr"], **self.optimizer_kwargs}
                    optimizer.__init__(optimizer.param_groups, **options)  # type: ignore[misc]
            for name, module in self.named_modules():
                if isinstance(module, WeightNormLayer) and name.partition(".")[0].endswith("_target"):
                    vars(module)["_keeps_no_factors"] = True  # the host averages them through `.data`
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
        """As the host's; going into training mode, projections are set up."""
        if not mode and _is_evaluating(self):  # the usual case; setting every module's mode costs more than acting
            return
        super().set_training_mode(mode)
        outdate(self)
        if mode:
            _project_after_steps(self)

    def load_state_dict(self, state_dict: Mapping[str, Any], *arguments: Any, **keywords: Any) -> Any:
        """As the host's; where `units` are not given, a g that names none is in those of older versions, "sqrt"."""
        metadata = getattr(state_dict, "_metadata", None)
        if metadata is not None and self._chose_units:
            layers = [name for name, module in self.named_modules() if isinstance(module, WeightNormLayer)]
            state_dict = OrderedDict(state_dict)
            named = {name: {"units": "sqrt", **metadata.get(name, {})} for name in layers}
            cast(Any, state_dict)._metadata = {**metadata, **named}
        return super().load_state_dict(state_dict, *arguments, **keywords)

    def load_from_vector(self, vector: Any) -> None:
        """As the host's, which writes through `.data`."""
        super().load_from_vector(vector)
        outdate(self)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {**super()._get_constructor_parameters(), **self._normalization}


def _is_evaluating(module: nn.Module) -> bool:
    if module.training:
        return False
    return all(child is None or _is_evaluating(child) for child in module._modules.values())


def _check_names(norm: str, init: str, units: str | None) -> None:
    if norm not in NORMALIZERS:
        raise unknown_name("norm", str(norm), NORMALIZERS)
    if init == "data":
        raise ValueError("init 'data' needs observations: train with callback=wnrl.sb3.DataDependentInit() instead")
    if init not in INITIALIZATIONS:
        raise unknown_name("init", str(init), INITIALIZATIONS)
    if units is not None:
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


def _hold_the_new_parameters(optimizer: Optimizer, known: set[nn.Parameter], policy: nn.Module) -> None:
    """Add the parameters that the layers got to the groups of their weights: g before v, those of a norm after it.

    Args:
        optimizer: holds parameters of the policy.
        known: those that the policy had when the optimizer was built.
        policy: normalized since.
    """
    together: dict[nn.Parameter, list[nn.Parameter]] = {}
    for layer in normalized_layers(policy).values():
        weight = next(layer.parameters(recurse=False))
        if isinstance(layer, WeightNormLayer):
            for v, g in map(layer.pair, layer.weight_names):
                weight, together[v] = v, [g, v]
        parts = (layer.get_submodule(part).parameters() for part in layer.own_parts)
        added = [parameter for part in parts for parameter in part if parameter not in known]
        together[weight] = [*together.get(weight, [weight]), *added]
    seen: set[nn.Parameter] = set()
    for group in optimizer.param_groups:
        found = dict.fromkeys(new for old in group["params"] for new in together.get(old, [old]))
        group["params"] = [parameter for parameter in found if parameter not in seen]
        seen.update(found)


def _project_after_steps(policy: nn.Module) -> None:
    """Make each optimizer project its layers after every step; copies of optimizers have no such hook."""
    layers = projections(policy)
    for optimizer in optimizers(policy) if layers else []:
        if "_wnrl_projects" not in vars(optimizer):
            held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
            moved = nn.ModuleList(layer for layer in layers if id(next(layer.parameters())) in held)
            optimizer.register_step_post_hook(lambda *_, moved=moved: project(moved))
            optimizer._wnrl_projects = True  # type: ignore[attr-defined]
