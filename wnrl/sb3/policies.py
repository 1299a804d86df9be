"""The mixin that turns a policy class of stable-baselines3 into one with normalized networks."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Collection, Mapping
from typing import Any, cast

from stable_baselines3.common.policies import BaseModel, BasePolicy
from torch import nn
from torch.optim import SGD, Optimizer

from wnrl.initialization.initialize import FROM_DATA, INITIALIZATIONS, initialize
from wnrl.normalizers.conversions import NORMALIZERS
from wnrl.normalizers.describe import remember_reasons
from wnrl.normalizers.folding import normalized_layers
from wnrl.normalizers.layer_kinds import unknown_name
from wnrl.normalizers.normalize import normalize
from wnrl.normalizers.projection import project, projections
from wnrl.normalizers.refusals import can_be_normalized
from wnrl.sb3.learner import optimizers
from wnrl.sb3.loading import accept_other_states, with_own_layout
from wnrl.sb3.outputs import Roles, find_roles, learner_name
from wnrl.sb3.parts import normalize_parts
from wnrl.weight_norm.factors import keep_on_any_device, outdate
from wnrl.weight_norm.formed_weights import form_together
from wnrl.weight_norm.normalized_layer import NormalizedLayer
from wnrl.weight_norm.units import Units, check_units
from wnrl.weight_norm.weight_norm_layer import WeightNormLayer, change_units

_OF_ITS_ALGORITHM = "each algorithm takes the policies of its own module, wnrl.sb3.ALGORITHM"
_READ_BY_ALGORITHMS = re.compile(  # what not all policies have
    "(actor|critic|q_net|quantile_net)(_target)?|lstm_actor|n_quantiles"
    "|evaluate_actions|get_distribution|predict_values|reset_noise"
)
Layers = Collection[str] | Callable[[str, nn.Module], bool]


class NormalizedPolicy(BasePolicy):
    """Mixed in before a policy class of stable-baselines3: the host builds its networks, then they are converted.

    Otherwise the host's policy stays the same. Its initialization (orthogonal or not) is that of the effective weights,
    its optimizers get the new parameters, and its target networks are converted too, so that its algorithm can copy and
    average them: g and v, and rows of `projected` layers, whose averages are not projected and a little shorter than 1.
    A layer that cannot be normalized, such as one under torch's `spectral_norm`, stays plain, with a warning; one that
    is normalized already, of a trained features extractor, stays as it is.

    States of plain models, and of models with a normalized policy layer, can be loaded: weights are converted.

    Args:
        arguments: of the host's policy.
        norm: a name in `wnrl.NORMALIZERS`; `none` leaves the host's policy unchanged.
        init: `preserve` (the host's initialization), `analytic` or `he`, see `wnrl.initialize`.
        normalize_output: whether output layers are normalized too; None: as in the paper that introduced it, but not
            the policy layer of actor-critics, `action_net`, under `weight` and `mean-batch`.
        layers: names of the layers to normalize, as in `policy.named_modules()`, or a predicate of name and layer, as
            in `wnrl.normalize`; None: all that the normalizer's source converts. Those of a target network are those of
            its learner.
        outputs: names of the output layers, or one name, for networks of your own; None: they are found.
        units: of g, see `wnrl.WeightNormLinear`; None: "paper" for SGD and its subclasses, under which a step of g in
            units of √n would be n times as long, "sqrt" for every other optimizer.
        keywords: of the host's policy.

    Raises:
        ValueError: an unknown name, or a named layer that cannot be normalized.
        TypeError: an argument that the host's policy does not take, as when the algorithm has other policies.
    """

    def __init__(
        self,
        *arguments: Any,
        norm: str = "weight",
        init: str = "preserve",
        normalize_output: bool | None = None,
        layers: Layers | None = None,
        outputs: str | Collection[str] | None = None,
        units: Units | None = None,
        **keywords: Any,
    ) -> None:
        _check_names(norm, init, units)
        try:
            super().__init__(*arguments, **keywords)
        except TypeError as error:
            if not self._refused_an_argument(error):
                raise
            raise TypeError(f"{type(self).__module__}: {error}; {_OF_ITS_ALGORITHM}") from error
        self._chose_units = units is None
        if units is None:
            units = "paper" if any(isinstance(one, SGD) for one in optimizers(self)) else "sqrt"
        self._output_names: dict[str, list[str]] | None = None
        self._normalization: dict[str, Any] = {
            "norm": norm,
            "init": init,
            "normalize_output": normalize_output,
            "layers": layers,
            "outputs": outputs,
            "units": units,
        }
        if norm != "none":
            self._normalize_networks()
        if init != "preserve":
            initialize(self, init)
            self.equalize_targets()

    def _refused_an_argument(self, error: TypeError) -> bool:
        """Whether the error is that of the constructor of a policy, not of what it builds."""
        kinds = [kind for kind in type(self).__mro__ if issubclass(kind, BaseModel)]
        return str(error).startswith(tuple(f"{kind.__qualname__}.__init__()" for kind in kinds))

    def _normalize_networks(self) -> None:
        """Convert the layers, and what refers to them."""
        known = set(self.parameters())
        roles = self._find_roles()
        donors = {*normalized_layers(self).values()}
        _convert(self, self._normalization, roles.last_hidden | roles.outputs)
        if self._chose_units:
            new = {name: layer for name, layer in self.named_modules() if layer not in donors}
            weighted = {name: layer for name, layer in new.items() if isinstance(layer, WeightNormLayer)}
            change_units([layer for name, layer in weighted.items() if self._in_paper_units(name)], "paper")
        normalize_parts(self)
        form_together(self)
        added = {*self.parameters()} - known
        self._added_names = frozenset(name for name, parameter in self.named_parameters() if parameter in added)
        for optimizer in optimizers(self):
            _hold_the_new_parameters(optimizer, known, self)
        self._accept_other_states()
        for name, layer in normalized_layers(self).items():
            if learner_name(self, name) != name:
                vars(layer)["_keeps_no_factors"] = True  # the host averages them through `.data`
            else:
                keep_on_any_device(layer)  # its optimizers count their writes
        self._built: tuple[nn.Module, ...] | None = tuple(_layers(self).values())

    def _accept_other_states(self) -> None:
        """Let the optimizers take states of other models; copies of optimizers have lost that."""
        parameters = dict(self.named_parameters())
        added = {parameters[name] for name in self._added_names if name in parameters}
        policy_layers = [layer for layer in self._wnrl_policy_layers if not isinstance(layer, NormalizedLayer)]
        for optimizer in optimizers(self):
            accept_other_states(optimizer, added, policy_layers)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """As of every module, for `copy` and `pickle`."""
        super().__setstate__(state)
        if "_added_names" in vars(self):
            self._accept_other_states()

    @property
    def _wnrl_output_layers(self) -> tuple[nn.Module, ...]:
        """The output layers of the networks."""
        return self._outputs_of("outputs")

    @property
    def _wnrl_policy_layers(self) -> tuple[nn.Module, ...]:
        """Those of them that compute the policy of an actor-critic."""
        return self._outputs_of("policy")

    def _find_roles(self) -> Roles:
        """The roles of all layers; the names of output layers are kept."""
        roles = find_roles(self, self._normalization["outputs"])
        names = {module: name for name, module in self.named_modules()}
        layers = {"outputs": roles.outputs, "policy": roles.policy}
        self._output_names = {role: [name for m, name in names.items() if m in of] for role, of in layers.items()}
        return roles

    def _outputs_of(self, role: str) -> tuple[nn.Module, ...]:
        if self._output_names is None:
            self._find_roles()
        modules = dict(self.named_modules())
        return tuple(modules[name] for name in cast(Any, self._output_names)[role] if name in modules)

    def __getattr__(self, name: str) -> Any:
        """As of every module; for what an algorithm looks for in its own policies, the error has advice."""
        try:
            return super().__getattr__(name)
        except AttributeError as error:
            if not _READ_BY_ALGORITHMS.fullmatch(name):
                raise
            raise AttributeError(f"{type(self).__module__}: {error}; {_OF_ITS_ALGORITHM}") from None

    def equalize_targets(self) -> None:
        """Copy the parameters and buffers of each learner to its target network."""
        networks = dict(self.named_children())
        for name, target in networks.items():
            if (learner := learner_name(self, name)) != name:
                target.load_state_dict(networks[learner].state_dict())

    def set_training_mode(self, mode: bool) -> None:
        """As the host's; going into training mode, projections are set up."""
        if not mode and _is_evaluating(self):  # the usual case; setting every module's mode costs more than acting
            return
        super().set_training_mode(mode)
        outdate(self)
        if mode:
            _project_after_steps(self)
            self._warn_of_later_layers()

    def load_state_dict(self, state_dict: Mapping[str, Any], *arguments: Any, **keywords: Any) -> Any:
        """As the host's, also of states of other models, see `NormalizedPolicy`.

        Where `units` are not given, a g that names none is in those of older versions, "sqrt".
        """
        if "_normalization" not in vars(self):  # while the host builds its networks
            return super().load_state_dict(state_dict, *arguments, **keywords)
        units = "sqrt" if self._chose_units else self._normalization["units"]
        return super().load_state_dict(with_own_layout(self, state_dict, units), *arguments, **keywords)

    def load_from_vector(self, vector: Any) -> None:
        """As the host's, which writes through `.data`."""
        super().load_from_vector(vector)
        outdate(self)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {**super()._get_constructor_parameters(), **self._normalization}

    def _in_paper_units(self, name: str) -> bool:
        """Whether that layer has g in the paper's units, where none are given, whatever the optimizer."""
        return False

    def _warn_of_later_layers(self) -> None:
        """Once, if a subclass built layers after this class had normalized the others."""
        before, self._built = vars(self).get("_built"), None
        if before is None:
            return
        plain = {name: layer for name, layer in _layers(self).items() if not isinstance(layer, NormalizedLayer)}
        later = {name: layer for name, layer in plain.items() if layer not in before}
        for layer in later.values():
            remember_reasons(layer, {layer: "it was built after the policy was normalized"}, ())
        if later:
            warnings.warn(
                f"{', '.join(later)} of {type(self).__name__} stay plain, since they were built after "
                "super().__init__() had normalized the others: build them in a method that it calls, such as _build, "
                "or call wnrl.normalize before you build the optimizer",
                stacklevel=3,
            )


def _is_evaluating(module: nn.Module) -> bool:
    if module.training:
        return False
    return all(child is None or _is_evaluating(child) for child in module._modules.values())


def _check_names(norm: str, init: str, units: str | None) -> None:
    if norm not in NORMALIZERS:
        raise unknown_name("norm", str(norm), NORMALIZERS)
    if init in FROM_DATA:
        given = "" if init == "data" else f"init={init!r}"
        raise ValueError(
            f"init {init!r} needs observations: train with callback=wnrl.sb3.DataDependentInit({given}) instead"
        )
    if init not in INITIALIZATIONS:
        raise unknown_name("init", str(init), INITIALIZATIONS)
    if units is not None:
        check_units(units)


def _convert(policy: nn.Module, normalization: dict[str, Any], last: set[nn.Module]) -> None:
    """Normalize the layers that are chosen; a predicate in `layers` becomes the names of those that it chose."""
    layers: Any = normalization["layers"]
    learners = {module: learner_name(policy, name) for name, module in policy.named_modules()}
    keywords = {name: normalization[name] for name in ("norm", "normalize_output", "units")}
    before = set(normalized_layers(policy).values())
    if callable(layers):
        predicate = layers
        normalize(policy, layers=lambda _, layer: predicate(learners[layer], layer), strict=False, **keywords)
        normalization["layers"] = [
            name for name, m in normalized_layers(policy).items() if m not in before and learners[m] == name
        ]
    elif layers is not None:
        names = {layers} if isinstance(layers, str) else {*layers}
        followers = [name for name, module in policy.named_modules() if learners[module] in names]
        normalize(policy, layers=names.union(followers), **keywords)
    elif NORMALIZERS[normalization["norm"]].last_hidden_only:
        normalize(policy, layers=lambda _, layer: layer in last, strict=False, **keywords)
    else:
        normalize(policy, strict=False, **keywords)


def _layers(policy: nn.Module) -> dict[str, nn.Module]:
    """Layers that are or can be normalized."""
    return {name: module for name, module in policy.named_modules() if can_be_normalized(module)}


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
    if optimizer.state:  # made by the constructor, as Adagrad's
        new = [parameter for group in optimizer.param_groups for parameter in group["params"] if parameter not in known]
        kind = next((one for one in type(optimizer).__mro__ if one.__module__.startswith("torch.optim")), Optimizer)
        if new and kind is not Optimizer:
            optimizer.state.update(kind(new, **optimizer.defaults).state)


def _project_after_steps(policy: nn.Module) -> None:
    """Make each optimizer project its layers after every step; copies of optimizers have no such hook."""
    layers = projections(policy)
    for optimizer in optimizers(policy) if layers else []:
        if "_wnrl_projects" not in vars(optimizer):
            held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
            moved = nn.ModuleList(layer for layer in layers if id(next(layer.parameters())) in held)
            optimizer.register_step_post_hook(lambda *_, moved=moved: project(moved))
            optimizer._wnrl_projects = True  # type: ignore[attr-defined]
