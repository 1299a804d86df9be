"""The base of all weight-normalized layers, w = s·g·v/‖v‖ (Salimans & Kingma 2016, equation 2).

A weight-normalized layer is torch's own layer, of a subclass of its class: `v` is the parameter that `weight` was, `g`
is a new one, and `weight` is computed from them. It can be pickled, deep-copied and compiled, and an optimizer built
from `network.parameters()` gets both parameters.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from wnrl.weight_norm.effective_weight import EffectiveWeight, writable
from wnrl.weight_norm.factors import Factors, outdate
from wnrl.weight_norm.formula import LEAST_WEIGHTS, effective_weight, row_norm
from wnrl.weight_norm.normalized_layer import NormalizedLayer, check_names_are_free, converted_class, replaced
from wnrl.weight_norm.rows import row_norms, rows, watched_entries
from wnrl.weight_norm.stored_weights import Entries, OwnPair, Pair, Stored, formed, kept_pair, letter, units_in
from wnrl.weight_norm.units import Units, check_units, convert_g, g_of_lengths, gain_of_g, unit_scale
from wnrl.weight_norm.wrappers import unwrapped

if TYPE_CHECKING:
    from typing_extensions import Self

_ROW_DIMS = (..., ..., (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4))  # by the number of dimensions
_LEAST_NORM, _GREATEST_NORM = 2.0**-50, 2.0**50  # whose squares and sums of squares every dtype can hold

Lengths = dict[nn.Parameter, nn.Parameter]  # g by v


class WeightNormLayer(NormalizedLayer):
    """Base class of the weight-normalized layers: a subclass adds torch's class after it, and names its weights.

    Parameters: for the plain layer's `weight`, the lengths `g` `[out]` and the directions `v` (of the weight's shape);
    for a `weight_ih_l0`, `g_ih_l0` and `v_ih_l0`. The length of a row is g (`units="paper"`), √n · g (`units="sqrt"`, n
    inputs a row: under Adam it then moves as fast as a plain layer's) or exp(g) (`units="log"`, the exponential
    parameterization of section 2, which the paper found no better and slightly slower).

    `weight` is differentiable in g and v, and writing to it sets them. With a `ballast` c, w = s·g·v/√(‖v‖² + c²):
    weight normalization of a row with one more weight c, whose input is 0.

    Raises:
        ValueError: unknown units, a negative ballast, or a layer whose weight is not a parameter with a shape.
    """

    channel_dim: ClassVar[int] = -1  # of the layer's output
    _rows_first: ClassVar[bool] = True  # whether the rows of v are along dimension 0
    weight_names: tuple[str, ...] = ("weight",)  # of the plain layer's weights, which are computed here
    units: Units
    _ballast: float
    _scales: dict[str, float]  # the unit of g by the name of the weight
    _factors: dict[str, Factors]

    def __init__(self, *arguments: Any, units: Units = "paper", ballast: float = 0.0, **keywords: Any) -> None:
        kind = type(self)
        self.__class__ = kind.plain_class  # type: ignore[assignment]  # torch's constructor makes a plain layer
        kind.plain_class.__init__(self, *arguments, **keywords)
        self.__class__ = kind
        self._adopt(units, ballast, {})

    @classmethod
    def from_plain(cls, layer: nn.Module, units: Units = "paper", ballast: float = 0.0) -> Self:
        """A weight-normalized copy of `layer` with the same function (`preserve`: v = w, g = ‖w‖).

        A zero row of w gets the direction of ones and g = 0: the same function, and it can still learn.
        """
        if not isinstance(layer, cls.plain_class) or isinstance(layer, NormalizedLayer):
            raise TypeError(f"{cls.__name__} is made from a {cls.plain_class.__name__}, got {type(layer).__name__}")
        return cls.convert(copy.deepcopy(layer), units, ballast)

    @classmethod
    def convert(
        cls,
        layer: nn.Module,
        units: Units = "paper",
        ballast: float = 0.0,
        lengths: Lengths | None = None,
        before: tuple[type[NormalizedLayer], ...] = (),
    ) -> Self:
        """Turn the plain `layer`, of torch's class or a subclass, into a weight-normalized one, in place.

        Args:
            layer: keeps its function.
            units: of g.
            ballast: c.
            lengths: g by v, of layers converted before, with which this one may share its weight.
            before: further mixins of its new class.

        Returns:
            The layer.
        """
        cls.check_plain(layer)
        plain, kind = layer.__class__, converted_class(type(layer), before, cls)
        check_names_are_free(layer, kind, cls.new_names_in(layer))
        layer.__class__ = kind
        try:
            cast(WeightNormLayer, layer)._adopt(units, ballast, {} if lengths is None else lengths)
        except BaseException:
            layer.__class__ = plain
            raise
        return cast("Self", layer)

    @classmethod
    def check_plain(cls, layer: nn.Module) -> None:
        """Raise ValueError unless the weights of the plain `layer` are parameters with a shape."""
        for name in cls.names_in(layer):
            parameter = layer._parameters.get(name)
            if parameter is None or isinstance(parameter, nn.UninitializedParameter):
                raise ValueError(
                    f"the {name} of {layer} is not a parameter with a shape: remove its parametrization first"
                )

    @classmethod
    def names_in(cls, layer: nn.Module) -> tuple[str, ...]:
        """The names of the weights of the plain `layer`."""
        return cls.weight_names

    @classmethod
    def new_names_in(cls, layer: nn.Module) -> list[str]:
        """The names of g and v of the weights of the plain `layer`."""
        return [letter(which, name) for name in cls.names_in(layer) for which in "gv"]

    @classmethod
    def check_rows(cls, layer: nn.Module, units: Units, ballast: float) -> None:
        """Raise ValueError if rows of the plain `layer` have no lengths in these units."""
        for name in cls.names_in(layer):
            weight = cast(Tensor, layer._parameters[name]).detach()
            cls._decomposed(cast("Self", layer), weight, units, unit_scale(rows(layer, weight), units), ballast)

    def _adopt(self, units: Units, ballast: float, lengths: Lengths) -> None:
        """Replace each weight by g and v; nothing is changed if there is an error."""
        check_units(units)
        if not 0.0 <= ballast < math.inf:
            raise ValueError(f"ballast must be 0 or more and finite, got {ballast}")
        names, parameters, scales = self.names_in(self), dict(self._parameters), {}
        new: list[tuple[nn.Parameter, Tensor]] = []
        for name in names:
            v = cast(nn.Parameter, parameters[name])
            scales[name] = unit_scale(rows(self, v.detach()), units)
            if v not in lengths:
                directions, g = self._decomposed(v.detach(), units, scales[name], ballast)
                new.append((v, directions))
                lengths[v] = nn.Parameter(g, requires_grad=v.requires_grad)
            parameters = replaced(parameters, name, [(letter("g", name), lengths[v]), (letter("v", name), v)])
        with torch.no_grad():
            for v, directions in new:
                if directions.data_ptr() != v.data_ptr():
                    v.copy_(directions)
        self._parameters.clear()
        self._parameters.update(parameters)
        vars(self).update(units=units, _ballast=float(ballast), _scales=scales, weight_names=names)

    def _decomposed(self, weight: Tensor, units: str, scale: float, ballast: float) -> tuple[Tensor, Tensor]:
        """Directions v (w itself; ones/√n for a zero row) and g `[out]` of the rows of `weight`."""
        by_row, unit = rows(self, weight), scale or 1.0
        lengths = row_norm(by_row, unit)
        if ballast:
            lengths = torch.hypot(lengths, lengths.new_tensor(ballast / unit))
        elif by_row.numel() and (by_row.is_meta or bool((lengths == 0).any())):
            column = lengths.view(-1, *[1] * (by_row.ndim - 1))
            weight = rows(self, torch.where(column > 0, by_row, 1 / math.sqrt(by_row[0].numel())))
        g = g_of_lengths(lengths, units, 1.0).to(weight.dtype)
        if not g.is_meta and bool(g.isinf().any()) and bool(weight.isfinite().all()):
            raise ValueError(f"a row is longer than {g.dtype} can say: take another dtype, or units='sqrt'")
        return weight, g

    def pair(self, name: str = "weight") -> tuple[nn.Parameter, nn.Parameter]:
        """Directions v and lengths g `[out]` of the weight `name`; tensors if these are computed from others.

        Raises:
            ValueError: the layer has no weight of this name.
        """
        if name not in self.weight_names:
            raise ValueError(f"no weight is called {name!r}: choose among {', '.join(self.weight_names)}")
        v, g = self._parameters.get(letter("v", name)), self._parameters.get(letter("g", name))
        return (getattr(self, letter("v", name)) if v is None else v), (
            getattr(self, letter("g", name)) if g is None else g
        )

    def pair_names(self, name: str) -> tuple[str, str]:
        """The names of v and g of the weight `name`."""
        return letter("v", name), letter("g", name)

    def effective_weight(self, name: str = "weight") -> Tensor:
        """The effective weight as an ordinary tensor, of the shape of v."""
        v, g = self.pair(name)
        return effective_weight(v, gain_of_g(g, self.units), self._scales[name], ballast=self._ballast)

    def shown_weight(self, name: str) -> Tensor:
        """The effective weight as the attribute `name` shows it: writing to it sets g and v."""
        traced = torch.compiler.is_compiling()
        with torch.set_grad_enabled(traced or not torch.is_inference_mode_enabled()):  # as for a parameter
            weight = self.effective_weight(name)
        g_and_v = letter("g", name), letter("v", name)
        return writable(weight, partial(self.write, name), g_and_v, partial(self.effective_weight, name))

    def set_weight(self, weight: Tensor) -> None:
        """Set `v` and `g`, in place, so that the effective weight is `weight` (of the shape of `v`)."""
        self.write("weight", weight)

    @torch.no_grad()
    def write(self, name: str, weight: Tensor) -> None:
        """Set v and g of the weight `name`, in place; if v is pruned, to `weight` under its mask.

        Raises:
            ValueError: another shape, or a v or g that is computed from others and cannot be set.
        """
        v, _ = self.pair(name)
        if weight.shape != v.shape:
            what = f"{name} has" if name != "weight" else "the weight has"
            raise ValueError(f"{what} shape {tuple(v.shape)}, got {tuple(weight.shape)}")
        mask = self._buffers.get(f"{letter('v', name)}_mask")
        weight = weight.to(v) if mask is None else weight.to(v) * mask
        new_v, new_g = self._decomposed(weight, self.units, self._scales[name], self._ballast)
        self._put(letter("v", name), new_v)
        self._put(letter("g", name), new_g)

    def _put(self, name: str, value: Tensor) -> None:
        """Set the parameter `name`, or what it is computed from."""
        own, pruned = self._parameters.get(name), self._parameters.get(f"{name}_orig")
        if own is not None:
            own.copy_(value)
        elif pruned is not None:
            pruned.copy_(value)
            vars(self)[name] = pruned * cast(Tensor, self._buffers[f"{name}_mask"])
        else:
            try:
                setattr(self, name, value)  # a parametrization inverts it
            except (NotImplementedError, RuntimeError) as error:
                raise ValueError(f"{name} is parametrized and cannot be set: {error}") from error
            if not torch.allclose(getattr(self, name), value, rtol=1e-3, atol=1e-6):
                raise ValueError(f"{name} is parametrized, and its parametrization cannot have this value")

    @torch.no_grad()
    def set_lengths(self, lengths: Tensor) -> None:
        """Set `g`, in place, so that the rows of the effective weight have these lengths `[out]`."""
        norm = row_norms(self, self.v)
        if self._ballast:
            lengths = lengths * torch.hypot(norm, norm.new_tensor(self._ballast)) / norm
        self._put("g", g_of_lengths(lengths, self.units, self._scales["weight"]))

    def holders(self) -> dict[str, nn.Parameter | None]:
        """The parameters that hold the plain layer's: v for a weight."""
        holders = super().holders()
        for name in self.weight_names:
            holders.pop(letter("g", name), None)
            holders = replaced(holders, letter("v", name), [(name, holders.get(letter("v", name)))])
        return holders

    def folded(self) -> dict[str, Tensor]:
        """The plain layer's parameters, differentiable in this layer's."""
        own = super().folded()
        for name in self.weight_names:
            if letter("g", name) not in own or letter("v", name) not in own:  # pruned or parametrized
                own.pop(f"{letter('v', name)}_orig", None)
                own = {letter("g", name): self.pair(name)[1], letter("v", name): self.pair(name)[0], **own}
            del own[letter("g", name)]
            own = replaced(own, letter("v", name), [(name, self.effective_weight(name))])
        return own

    def unfold(self, parameters: Mapping[str, Tensor]) -> None:
        """Set the parameters, in place, to those of a plain layer."""
        for name in self.weight_names:
            self.write(name, parameters[name])
        super().unfold(parameters)

    def become_plain(self, values: Mapping[str, Tensor], apart: Collection[str] = ()) -> None:
        """Give the layer its plain class back; pruning of v and g becomes permanent, and so do parametrizations."""
        for name in (letter(which, weight) for weight in self.weight_names for which in "vg"):
            if f"{name}_orig" in self._parameters:
                prune.remove(self, name)
        super().become_plain(values, apart)
        for name in ("units", "weight_names", "_ballast", "_scales"):
            vars(self).pop(name, None)

    def pass_with(self, kept: Factors, product: Callable[[Tensor, Tensor | None], Tensor]) -> Tensor:
        """The layer's output from what is kept.

        Args:
            kept: w or the factors.
            product: of a weight with the input, plus a bias.
        """
        parameters, k = self._parameters, kept.factor
        bias = parameters["bias"] if "bias" in parameters else cast("Tensor | None", self.bias)
        if k.ndim == kept.v.ndim:
            return product(k, bias)
        t = product(kept.v, None).mul_(k)  # over positions in two passes: addcmul does not vectorize them
        return t if bias is None else t.add_(bias if k.ndim == 1 else bias.view(k.shape))

    def factor(self, name: str, v: Tensor, g: Tensor) -> Tensor | None:
        """What is kept of a weight: w itself of a small one, whose product costs least, otherwise k = s·g/‖v‖.

        k is `[out, 1, ...]`, of the shape that multiplies the layer's output, and 0 for a zero row; None for rows with
        which v·x might over- or underflow.
        """
        if v.numel() < LEAST_WEIGHTS:
            return self._small_weight(name, v, g)
        gain, scale = (g.exp() if self.units == "log" else g), self._scales[name]
        norm = self._divisors(v)
        if norm is None:
            return None
        k = torch.div(gain, norm, out=norm) if gain.dtype is norm.dtype else gain / norm
        k = k if scale == 1.0 else k.mul_(scale)
        return k if self.channel_dim == -1 else k.view(-1, *[1] * (-1 - self.channel_dim))

    def _small_weight(self, name: str, v: Tensor, g: Tensor) -> Tensor:
        """w, by the shortest way where its rows have ordinary norms."""
        if self._rows_first and v.device.type == "cpu" and v.is_contiguous() and not self._ballast:
            scale = self._scales[name]
            gain = g.exp() if self.units == "log" else g if scale == 1.0 else g * scale
            weight, norm = torch._weight_norm_interface(v, gain.view(-1, *[1] * (v.ndim - 1)), 0)
            low, high = norm.aminmax()
            if low.item() > _LEAST_NORM and high.item() < _GREATEST_NORM:
                return weight
        return self.effective_weight(name)

    def _divisors(self, v: Tensor) -> Tensor | None:
        """√(‖v‖² + c²) of each row `[out]`; infinite for a zero row without ballast, None for rows of extreme size."""
        if not self._ballast and v.device.type == "cpu":
            norm = torch.linalg.vector_norm(v, dim=_ROW_DIMS[v.ndim])
            low, high = norm.aminmax()
            if low.item() > _LEAST_NORM and high.item() < _GREATEST_NORM:
                return norm
        norm = row_norm(v)
        if v.device.type == "cpu" and bool(((norm < _LEAST_NORM) & (norm > 0) | (norm > _GREATEST_NORM)).any()):
            return None
        norm = torch.hypot(norm, norm.new_tensor(self._ballast)) if self._ballast else norm
        return norm.masked_fill_(norm == 0, math.inf)

    def watched_entries(self, name: str) -> Tensor:
        """One entry of each row of v, as a view."""
        return watched_entries(self, self.pair(name)[0].detach())

    def weights_in_state(self) -> dict[str, tuple[str, ...]]:
        """As in the base class: g and v."""
        pairs = {name: (letter("g", name), letter("v", name)) for name in self.weight_names}
        return {name: pair if {*pair} <= self._parameters.keys() else () for name, pair in pairs.items()}

    def entries_of(self, name: str, stored: Stored, entries: Entries, assign: bool) -> Entries:
        """g and v: exactly those that are stored where their rows are this layer's, otherwise v = w."""
        (own_v, own_g), (v, *_) = self.pair(name), (stored if isinstance(stored, tuple) else (stored,))
        g_name, v_name = letter("g", name), letter("v", name)
        if v.shape != own_v.shape:
            return {g_name: own_g, v_name: v}  # torch reports the shape of v
        kept = kept_pair(self, stored, self.units, self._ballast) if isinstance(stored, (Pair, OwnPair)) else None
        if kept is None:
            weight = formed(self, stored)
            weight = weight.to(v.dtype if assign else torch.promote_types(weight.dtype, own_v.dtype))
            kept = self._decomposed(weight.detach(), self.units, self._scales[name], self._ballast)
        return {g_name: kept[1].to(v.dtype) if assign else kept[1], v_name: kept[0]}

    def adapt_entries(self, name: str, entries: Entries, metadata: Mapping[str, Any]) -> None:
        """Convert g, in place, if it is in other units or of another ballast."""
        g_name, v_name = letter("g", name), letter("v", name)
        g, v, units = entries.get(g_name), entries.get(v_name), units_in(metadata)
        if not isinstance(g, Tensor) or units is None:
            return
        ballast = float(metadata.get("ballast", 0.0))
        if (units, ballast) == (self.units, self._ballast):
            return
        if isinstance(v, Tensor):
            assign = bool(metadata.get("assign_to_params_buffers"))
            entries.update(self.entries_of(name, OwnPair(v, g, units, ballast), entries, assign))
        elif ballast != self._ballast:
            raise ValueError(f"its ballast is {ballast}, and without v it cannot become {self._ballast}")
        else:
            scale = unit_scale(rows(self, self.pair(name)[0]), units)
            entries[g_name] = convert_g(g.detach(), scale, units, self.units, self._scales[name])

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        """As of any module; the units of g, and a ballast, are named in the state dict's metadata."""
        super()._save_to_state_dict(destination, prefix, keep_vars)
        metadata = getattr(destination, "_metadata", None)
        if metadata is not None:
            named = {"units": self.units, **({"ballast": self._ballast} if self._ballast else {})}
            metadata.setdefault(prefix[:-1], {}).update(named)
            bare = metadata.setdefault(unwrapped(prefix[:-1]), {})  # to be found where the wrappers are gone
            bare.update(named | bare)

    def extra_repr(self) -> str:
        """As torch's, and the units of g."""
        ballast = f", ballast={self._ballast}" if self._ballast else ""
        return f"{super().extra_repr()}, units={self.units}{ballast}".removeprefix(", ")

    def register_parameter(self, name: str, param: nn.Parameter | None) -> None:
        """As of any module; torch's pruning and weight norm of a computed weight are refused."""
        for weight in self.weight_names:
            if name in (f"{weight}_orig", f"{weight}_g", f"{weight}_v"):
                v = letter("v", weight)
                raise ValueError(f"{weight} is computed from g and v: prune or parametrize {v!r} instead of {weight!r}")
        super().register_parameter(name, param)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; a weight sets g and v."""
        if name not in self.weight_names:
            super().__setattr__(name, value)
        elif not isinstance(value, Tensor):
            raise TypeError(f"{name} is computed from g and v: it cannot be set to {type(value).__name__}")
        elif not isinstance(value, EffectiveWeight) and value.requires_grad and not value.is_leaf:
            raise RuntimeError(f"{name} is computed from g and v, so gradients would not reach this tensor: detach it")
        else:
            self.write(name, value.detach())

    def __getattr__(self, name: str) -> Any:
        """As of any module; `scale`, the unit of g, gives way to an attribute of this name."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "scale" and "_scales" in vars(self):
                return next(iter(self._scales.values()))
            raise


def called_as_a_whole(layer: nn.Module, *inputs: Any) -> Any:
    """What torch.fx.symbolic_trace records for the call of a layer, as for torch's own: nothing of what is inside."""
    tracer = inputs[0].tracer
    return tracer.create_proxy("call_module", tracer.path_of_module(layer), inputs, {})


def computed(name: str) -> Any:
    """A property: the weight `name` of a weight-normalized layer."""

    def read(self: WeightNormLayer) -> Tensor | None:
        stored = self.__dict__.get("_weights")  # not vars(self), which torch 2.8 cannot compile
        if stored is not None:
            return stored.get(name)
        return self.shown_weight(name) if name in self.weight_names else None

    def delete(self: WeightNormLayer) -> None:
        raise AttributeError(f"{name} is computed from g and v and cannot be deleted: call wnrl.remove(network) first")

    return property(read, fdel=delete, doc="The effective weight, differentiable in g and v; writing to it sets them.")


@torch.no_grad()
def change_units(layers: Iterable[WeightNormLayer], units: Units) -> None:
    """Store the g of these layers in other units, in place: the weights stay the same, up to rounding.

    Args:
        layers: those that share a g have to be changed together.
        units: see `WeightNormLayer`.

    Raises:
        ValueError: unknown units, or a length of 0 or less in "log" units.
    """
    check_units(units)
    changed: set[Tensor] = set()
    for layer in layers:
        for name in layer.weight_names:
            v, g = layer.pair(name)
            scale = unit_scale(rows(layer, v), units)
            if g not in changed:
                g.copy_(convert_g(g, layer._scales[name], layer.units, units, scale))
                changed.add(g)
            layer._scales[name] = scale
        layer.units = units
        outdate(layer)
