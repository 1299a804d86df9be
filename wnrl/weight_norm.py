"""Weight normalization, w = g v/‖v‖ (Salimans & Kingma 2016, equation 2), as layers of PyTorch.

The layers hold `g` and `v` as ordinary parameters: they pickle, deep-copy and compile, and an optimizer built from
`network.parameters()` finds both.
"""

import math
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wnrl.formulas import READ_ONLY, EffectiveWeight, effective_weight

if TYPE_CHECKING:
    from typing_extensions import Self

Units = Literal["sqrt", "paper"]

_MODULE_STATE = frozenset(vars(nn.Module()))


class WeightNormLayer(nn.Module):
    """Base of the weight-normalized layers: a kind of layer adds its plain class and its forward pass.

    Parameters: `g` `[out]`, `v` (the weight's shape), `bias` (or None). `g` is stored in units of √n (`units="sqrt"`,
    n inputs a row: under Adam a row's length then moves as fast as a plain layer's) or of 1 (`units="paper"`).

    Raises:
        ValueError: unknown units, or a plain layer whose weight is not a parameter or that carries hooks.
    """

    plain_class: ClassVar[type[nn.Module]]
    arguments: ClassVar[tuple[str, ...]]  # of the plain class's constructor, attributes of the layer
    output_dim: ClassVar[int] = 0  # of the weight
    channel_dim: ClassVar[int]  # of the layer's output
    bias: nn.Parameter | None

    def __init__(self, plain: nn.Module, units: Units) -> None:
        super().__init__()
        if units not in get_args(Units):
            raise ValueError(f"units must be one of {get_args(Units)}, got {units!r}")
        weight = _plain_weight(plain)
        vars(self).update((name, value) for name, value in vars(plain).items() if name not in _MODULE_STATE)
        self.units: Units = units
        self.scale = math.sqrt(weight.numel() / weight.shape[self.output_dim]) if units == "sqrt" else 1.0
        v, g = self._split(weight.detach())
        self.g = nn.Parameter(g, requires_grad=weight.requires_grad)
        self.v = nn.Parameter(v, requires_grad=weight.requires_grad)
        self.register_parameter("bias", _copy(plain.bias))
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
        weight = self.effective_weight()
        return weight if torch.compiler.is_compiling() else weight.as_subclass(EffectiveWeight)

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
        v, g = self._split(weight)
        self.v.copy_(v)
        self.g.copy_(g)

    def reset_parameters(self) -> None:
        """Draw weight and bias anew from the plain layer's own default initialization."""
        plain = self._plain(self.v.device)
        self.set_weight(cast(Tensor, plain.weight))
        if self.bias is not None:
            self.bias.data.copy_(cast(Tensor, plain.bias))

    @torch.no_grad()
    def fold(self) -> nn.Module:
        """A plain layer with the same function and parameters of its own."""
        plain = self._plain(torch.device("meta"))
        plain.weight = nn.Parameter(self.effective_weight(), requires_grad=self.v.requires_grad)
        plain.register_parameter("bias", _copy(self.bias))
        return plain.train(self.training)

    def extra_repr(self) -> str:
        """The constructor's arguments."""
        values = [*((name, getattr(self, name)) for name in self.arguments), ("bias", self.bias is not None)]
        return ", ".join(f"{name}={value!r}" for name, value in [*values, ("units", self.units)])

    def effective_weight(self) -> Tensor:
        """The effective weight as an ordinary tensor, of the shape of `v`."""
        return effective_weight(self.v, self.g, self.scale, self.output_dim)

    def _plain(self, device: torch.device) -> nn.Module:
        values = {name: getattr(self, name) for name in self.arguments}
        return self.plain_class(**values, bias=self.bias is not None, device=device, dtype=self.v.dtype)

    def _split(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Directions v (w itself; ones/√n for a zero row) and lengths g of the rows of `weight`."""
        dims = [dim for dim in range(weight.ndim) if dim != self.output_dim]
        at_least_float32 = torch.promote_types(weight.dtype, torch.float32)
        norm = torch.linalg.vector_norm(weight, dim=dims, keepdim=True, dtype=at_least_float32)
        ones = math.sqrt(weight.shape[self.output_dim] / weight.numel())
        return torch.where(norm > 0, weight, ones).to(weight.dtype), (norm / self.scale).flatten().to(weight.dtype)


def _plain_weight(plain: nn.Module) -> nn.Parameter:
    weight = plain._parameters.get("weight")
    if weight is None or isinstance(weight, nn.UninitializedParameter):
        raise ValueError(f"the weight of {plain} is not a parameter with a shape: remove its parametrization first")
    if plain._forward_hooks or plain._forward_pre_hooks or plain._backward_hooks:
        raise ValueError(f"{plain} carries hooks that would be lost: normalize first, then register them")
    return weight


def _copy(bias: Tensor | nn.Module | None) -> nn.Parameter | None:
    if not isinstance(bias, Tensor):
        return None
    return nn.Parameter(bias.detach().clone(), requires_grad=bias.requires_grad)


class WeightNormLinear(WeightNormLayer):
    """A weight-normalized `torch.nn.Linear`: `[..., in_features]` to `[..., out_features]`; same arguments and start.

    Units of `g`, parameters and errors: see `WeightNormLayer`.
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
        return F.linear(x, self.effective_weight(), self.bias)


class WeightNormConv2d(WeightNormLayer):
    """A weight-normalized `torch.nn.Conv2d`: `[B, in, H, W]` to `[B, out, H', W']`; same arguments and start.

    Units of `g`, parameters and errors: see `WeightNormLayer`.
    """

    plain_class = nn.Conv2d
    arguments = (
        "in_channels",
        "out_channels",
        "kernel_size",
        "stride",
        "padding",
        "dilation",
        "groups",
        "padding_mode",
    )
    channel_dim = -3
    in_channels: int
    out_channels: int

    def __init__(self, *arguments: Any, units: Units = "sqrt", **keywords: Any) -> None:
        super().__init__(nn.Conv2d(*arguments, **keywords), units)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, in_channels, H, W]` to `[B, out_channels, H', W']`."""
        return nn.Conv2d._conv_forward(cast(nn.Conv2d, self), x, self.effective_weight(), self.bias)
