"""Weight-normalized dense layers, w = g v/‖v‖ (Salimans & Kingma 2016, equation 2), and the base of all such layers.

The layers hold `g` and `v` as ordinary parameters: they can be pickled, deep-copied and compiled, and an optimizer
built from `network.parameters()` gets both.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wnrl.weight_norm.formula import effective_weight, weight_norm_linear
from wnrl.weight_norm.normalized_layer import NormalizedLayer
from wnrl.weight_norm.read_only_weight import READ_ONLY, read_only
from wnrl.weight_norm.rows import row_norms, rows

if TYPE_CHECKING:
    from typing_extensions import Self

Units = Literal["sqrt", "paper", "log"]

_MODULE_STATE = frozenset(vars(nn.Module()))
_LEAST_LENGTH = 1e-12  # of a row, in units that store the logarithm


class WeightNormLayer(NormalizedLayer):
    """Base class of the weight-normalized layers: a subclass adds its plain class and its forward pass.

    Parameters: `g` `[out]`, `v` (the weight's shape), `bias` (or None). The length of a row is √n · g (`units="sqrt"`,
    n inputs a row: under Adam it then moves as fast as a plain layer's), g (`units="paper"`) or exp(g) (`units="log"`,
    the exponential parameterization of section 2, which the paper found no better and slightly slower).

    Raises:
        ValueError: unknown units, or a plain layer whose weight is not a parameter or that has hooks.
    """

    plain_class: ClassVar[type[nn.Module]]
    arguments: ClassVar[tuple[str, ...]]  # of the plain class's constructor, which are also attributes of the layer
    channel_dim: ClassVar[int]  # of the layer's output
    bias: nn.Parameter | None

    def __init__(self, plain: nn.Module, units: Units) -> None:
        super().__init__()
        check_units(units)
        weight = plain_parameter(plain, "weight")
        vars(self).update(constructor_attributes(plain))
        self.units: Units = units
        self.scale = unit_scale(rows(self, weight), units)
        v, g = decompose_weight(self, weight.detach(), units)
        self.g = nn.Parameter(g, requires_grad=weight.requires_grad)
        self.v = nn.Parameter(v, requires_grad=weight.requires_grad)
        self.register_parameter("bias", copy_parameter(plain.bias))
        self.train(plain.training)

    @classmethod
    def from_plain(cls, layer: nn.Module, units: Units = "sqrt") -> "Self":
        """The weight-normalized layer with the same function (`preserve`: v = w, g = ‖w‖), as a copy.

        A zero row of w gets the direction of ones and g = 0: the same function, and it can still learn.
        """
        if type(layer) is not cls.plain_class:
            raise TypeError(f"{cls.__name__} is made from a {cls.plain_class.__name__}, got {type(layer).__name__}")
        new = cls.__new__(cls)
        WeightNormLayer.__init__(new, layer, units)
        return new

    @property
    def weight(self) -> Tensor:
        """The effective weight w, differentiable in `g` and `v`, read-only (see `set_weight`)."""
        return read_only(self.effective_weight())

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; `weight` raises AttributeError."""
        if name == "weight":
            raise AttributeError(READ_ONLY)
        super().__setattr__(name, value)

    @torch.no_grad()
    def set_weight(self, weight: Tensor) -> None:
        """Set `v` and `g`, in place, so that the effective weight is `weight` (of the shape of `v`)."""
        if weight.shape != self.v.shape:
            raise ValueError(f"the weight has shape {tuple(self.v.shape)}, got {tuple(weight.shape)}")
        v, g = decompose_weight(self, weight, self.units)
        self.v.copy_(v)
        self.g.copy_(g)

    def reset_parameters(self) -> None:
        """Draw weight and bias again from the plain layer's default initialization."""
        plain = self._plain(self.v.device)
        self.set_weight(cast(Tensor, plain.weight))
        if self.bias is not None:
            self.bias.data.copy_(cast(Tensor, plain.bias))

    @torch.no_grad()
    def fold(self) -> nn.Module:
        """A new plain layer with the same function."""
        plain = self._plain(torch.device("meta"))
        plain.weight = nn.Parameter(self.effective_weight(), requires_grad=self.v.requires_grad)
        plain.register_parameter("bias", copy_parameter(self.bias))
        return plain.train(self.training)

    def folded(self) -> dict[str, Tensor]:
        """The plain layer's weight and bias."""
        weight = {"weight": self.effective_weight()}
        return weight if self.bias is None else {**weight, "bias": self.bias}

    @torch.no_grad()
    def unfold(self, parameters: Mapping[str, Tensor]) -> None:
        """Set the parameters, in place, to those of a plain layer with this weight and bias."""
        self.set_weight(parameters["weight"])
        if self.bias is not None:
            self.bias.copy_(parameters["bias"])

    def extra_repr(self) -> str:
        """The constructor's arguments."""
        values = [*((name, getattr(self, name)) for name in self.arguments), ("bias", self.bias is not None)]
        return ", ".join(f"{name}={value!r}" for name, value in [*values, ("units", self.units)])

    def effective_weight(self) -> Tensor:
        """The effective weight as an ordinary tensor, of the shape of `v`."""
        return effective_weight(self.v, self.gain(), self.scale)

    def gain(self) -> Tensor:
        """The rows' lengths `[out]` in units of `scale`: g, or exp(g)."""
        return effective_gain(self.g, self.units)

    @torch.no_grad()
    def set_lengths(self, lengths: Tensor) -> None:
        """Set `g`, in place, so that the rows of the effective weight have these lengths `[out]`."""
        self.g.copy_(_g_of_lengths(lengths, self.units, self.scale))

    def _plain(self, device: torch.device) -> nn.Module:
        values = {name: getattr(self, name) for name in self.arguments}
        return self.plain_class(**values, bias=self.bias is not None, device=device, dtype=self.v.dtype)


def check_units(units: str) -> None:
    """Raise ValueError unless `units` are units of g."""
    if units not in get_args(Units):
        raise ValueError(f"units must be one of {get_args(Units)}, got {units!r}")


def unit_scale(by_row: Tensor, units: Units) -> float:
    """The unit of g: √n for rows `[out, ...]` of n weights in "sqrt" units, otherwise 1."""
    return math.sqrt(math.prod(by_row.shape[1:])) if units == "sqrt" else 1.0


def effective_gain(g: Tensor, units: Units) -> Tensor:
    """The rows' lengths `[out]` in units of their scale: g, or exp(g)."""
    return g.exp() if units == "log" else g


def decompose_weight(layer: nn.Module, weight: Tensor, units: Units) -> tuple[Tensor, Tensor]:
    """Directions v (w itself; ones/√n for a zero row) and g `[out]` of the rows of `weight` of `layer`."""
    by_row, norm = rows(layer, weight), row_norms(layer, weight)
    column = norm.view(-1, *[1] * (by_row.ndim - 1))
    v = torch.where(column > 0, by_row, 1 / math.sqrt(by_row[0].numel()))
    return rows(layer, v), _g_of_lengths(norm, units, unit_scale(by_row, units)).to(weight.dtype)


def _g_of_lengths(lengths: Tensor, units: Units, scale: float) -> Tensor:
    """The inverse of `effective_gain`: g for rows of these lengths `[out]`."""
    return lengths.clamp(min=_LEAST_LENGTH).log() if units == "log" else lengths / scale


def plain_parameter(plain: nn.Module, name: str) -> nn.Parameter:
    """The parameter `name` of a plain layer; raises ValueError if it is not one, or if the layer has hooks."""
    parameter = plain._parameters.get(name)
    if parameter is None or isinstance(parameter, nn.UninitializedParameter):
        raise ValueError(f"the {name} of {plain} is not a parameter with a shape: remove its parametrization first")
    hooks = (plain._forward_hooks, plain._forward_pre_hooks, plain._backward_hooks, plain._backward_pre_hooks)
    if any(hooks):
        raise ValueError(f"{plain} carries hooks that would be lost: normalize first, then register them")
    return parameter


def constructor_attributes(layer: nn.Module) -> dict[str, Any]:
    """The attributes of a layer beyond those of every module: what its constructor set."""
    return {name: value for name, value in vars(layer).items() if name not in _MODULE_STATE}


def copy_parameter(bias: Tensor | nn.Module | None) -> nn.Parameter | None:
    """A copy of `bias` as a parameter; None if there is no bias."""
    if not isinstance(bias, Tensor):
        return None
    return nn.Parameter(bias.detach().clone(), requires_grad=bias.requires_grad)


class WeightNormLinear(WeightNormLayer):
    """A weight-normalized `torch.nn.Linear`: `[..., in_features]` to `[..., out_features]`; same arguments.

    Initialized as the plain layer. Units of `g`, parameters and errors: see `WeightNormLayer`.
    """

    plain_class = nn.Linear
    arguments = ("in_features", "out_features")
    channel_dim = -1
    in_features: int
    out_features: int

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        units: Units = "sqrt",
    ) -> None:
        super().__init__(nn.Linear(in_features, out_features, bias, device, dtype), units)

    def forward(self, x: Tensor) -> Tensor:
        """`[..., in_features]` to `[..., out_features]`."""
        return weight_norm_linear(x, self.v, self.gain(), self.bias, self.scale)


class WeightNormBilinear(WeightNormLayer):
    """A weight-normalized `torch.nn.Bilinear`: `[..., in1]` and `[..., in2]` to `[..., out]`; same arguments.

    An output unit's row is its matrix `[in1, in2]`. Everything else as in `WeightNormLinear`.
    """

    plain_class = nn.Bilinear
    arguments = ("in1_features", "in2_features", "out_features")
    channel_dim = -1

    def __init__(self, *arguments: Any, units: Units = "sqrt", **keywords: Any) -> None:
        super().__init__(nn.Bilinear(*arguments, **keywords), units)

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        """`[..., in1_features]` and `[..., in2_features]` to `[..., out_features]`."""
        return F.bilinear(x1, x2, self.effective_weight(), self.bias)
