"""Weight-normalized recurrent layers and cells.

Salimans & Kingma 2016, section 5.3, normalize all weights of an LSTM. Every row of each matrix has its own length, so
each gate of each hidden unit has one. The initialization is the plain layer's, since the data-dependent one is not
meant for recurrent weights (section 3).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, cast

import torch
from torch import Tensor, nn

from wnrl.weight_norm.dense import (
    Units,
    check_units,
    constructor_attributes,
    copy_parameter,
    decompose_weight,
    effective_gain,
    plain_parameter,
    unit_scale,
)
from wnrl.weight_norm.formula import effective_weight
from wnrl.weight_norm.normalized_layer import NormalizedLayer
from wnrl.weight_norm.read_only_weight import READ_ONLY, read_only

if TYPE_CHECKING:
    from typing_extensions import Self

_CELL_NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
_OWN_SETTINGS = ("units", "plain_names")


class WeightNormRecurrent(NormalizedLayer):
    """Base class of the weight-normalized recurrent layers and cells: a subclass adds its plain class.

    Parameters: for each matrix of the plain layer, such as `weight_ih_l0` `[out, n]`, the lengths `g_ih_l0` `[out]` and
    the directions `v_ih_l0` `[out, n]`; biases keep their names. Units of `g`, with that matrix's n inputs a row: see
    `WeightNormLayer`. The attribute `weight_ih_l0` is the effective weight, differentiable in `g` and `v`, read-only
    (see `set_weight`).

    Raises:
        ValueError: unknown units, or a plain layer with a weight that is not a parameter, or with hooks.
    """

    plain_class: ClassVar[type[Any]]
    units: Units
    plain_names: tuple[str, ...]  # of the plain layer's parameters, in its order

    def __init__(self, *arguments: Any, units: Units = "sqrt", **keywords: Any) -> None:
        self._adopt(self.plain_class(*arguments, **keywords), units)

    @classmethod
    def from_plain(cls, layer: nn.Module, units: Units = "sqrt") -> Self:
        """The weight-normalized layer with the same function (`preserve`: v = w, g = ‖w‖), as a copy.

        A zero row of w gets the direction of ones and g = 0: the same function, and it can still learn.
        """
        if type(layer) is not cls.plain_class:
            raise TypeError(f"{cls.__name__} is made from a {cls.plain_class.__name__}, got {type(layer).__name__}")
        new = cls.__new__(cls)
        new._adopt(layer, units)
        return new

    def _adopt(self, plain: nn.Module, units: Units) -> None:
        check_units(units)
        nn.Module.__init__(self)
        names = tuple(vars(plain).get("_flat_weights_names", _CELL_NAMES))
        vars(self).update(constructor_attributes(plain), units=units, plain_names=names)
        for name in names:
            if self._is_weight(name):
                weight = plain_parameter(plain, name)
                v, g = decompose_weight(self, weight.detach(), units)
                self.register_parameter(_named("g", name), nn.Parameter(g, weight.requires_grad))
                self.register_parameter(_named("v", name), nn.Parameter(v, weight.requires_grad))
            else:
                self.register_parameter(name, copy_parameter(plain._parameters[name]))
        self.train(plain.training)

    def forward(self, input: Any, hx: Any = None) -> Any:
        """As the plain layer; each effective weight is computed once."""
        return self.plain_class.forward(self.with_weights_computed(), input, hx)

    def with_weights_computed(self) -> Self:
        """A twin to be called many times: its effective weights, differentiable in `g` and `v`, are computed now.

        It has this layer's parameters and hooks; later changes of a weight do not reach it. It can only be called.
        """
        if "_weights_computed" in vars(self):
            return self
        twin = object.__new__(type(self))  # the layer itself is not changed, since threads may share it
        vars(twin).update(vars(self), **self._computed(), _weights_computed=True)
        return twin

    def _computed(self) -> dict[str, Any]:
        """The attributes from which the plain layer's forward pass reads its weights."""
        return self.folded()

    def __getattr__(self, name: str) -> Any:
        """The effective weight `name`, or an attribute as of every module."""
        return read_only(self.effective_weight(name)) if self._is_weight(name) else super().__getattr__(name)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; the name of a weight raises AttributeError."""
        if self._is_weight(name):
            raise AttributeError(READ_ONLY)
        nn.Module.__setattr__(self, name, value)

    def effective_weight(self, name: str) -> Tensor:
        """The effective weight `name`, such as "weight_ih_l0", as an ordinary tensor `[out, n]`."""
        v, g = self._split(name)
        return effective_weight(v, effective_gain(g, self.units), unit_scale(v, self.units))

    @torch.no_grad()
    def set_weight(self, name: str, weight: Tensor) -> None:
        """Set the parameters of the weight `name`, in place, so that it is `weight` `[out, n]`."""
        v, g = self._split(name)
        if weight.shape != v.shape:
            raise ValueError(f"{name} has shape {tuple(v.shape)}, got {tuple(weight.shape)}")
        new_v, new_g = decompose_weight(self, weight, self.units)
        v.copy_(new_v)
        g.copy_(new_g)

    def reset_parameters(self) -> None:
        """Draw weights and biases again from the plain layer's default initialization."""
        plain = cast(Any, self.fold())
        plain.reset_parameters()
        self.unfold(dict(plain.named_parameters()))

    @torch.no_grad()
    def fold(self) -> nn.Module:
        """A new plain layer with the same function."""
        plain = object.__new__(self.plain_class)  # the constructor would draw weights and repeat its warnings
        nn.Module.__init__(plain)
        vars(plain).update(
            (name, value) for name, value in constructor_attributes(self).items() if name not in _OWN_SETTINGS
        )
        for name in self.plain_names:
            if self._is_weight(name):
                requires_grad = self._split(name)[0].requires_grad
                plain.register_parameter(name, nn.Parameter(self.effective_weight(name), requires_grad))
            else:
                plain.register_parameter(name, copy_parameter(getattr(self, name)))
        return plain.train(self.training)

    def folded(self) -> dict[str, Tensor]:
        """The plain layer's weights and biases, differentiable in this layer's parameters."""
        tensors = {name: self._plain_tensor(name) for name in self.plain_names}
        return {name: tensor for name, tensor in tensors.items() if tensor is not None}

    @torch.no_grad()
    def unfold(self, parameters: Mapping[str, Tensor]) -> None:
        """Set the parameters, in place, to those of a plain layer with these weights and biases."""
        for name in self.plain_names:
            if self._is_weight(name):
                self.set_weight(name, parameters[name])
            elif (bias := getattr(self, name)) is not None:
                bias.copy_(parameters[name])

    def extra_repr(self) -> str:
        """The constructor's arguments."""
        return f"{super().extra_repr()}, units={self.units!r}"

    def _is_weight(self, name: str) -> bool:
        return name.startswith("weight_") and name in vars(self).get("plain_names", ())

    def _plain_tensor(self, name: str) -> Tensor | None:
        return self.effective_weight(name) if self._is_weight(name) else getattr(self, name)

    def _split(self, name: str) -> tuple[Tensor, Tensor]:
        """Directions v `[out, n]` and g `[out]` of the weight `name`."""
        if not self._is_weight(name):
            known = ", ".join(filter(self._is_weight, self.plain_names))
            raise ValueError(f"no weight is called {name!r}: choose among {known}")
        return getattr(self, _named("v", name)), getattr(self, _named("g", name))


def _named(letter: str, weight: str) -> str:
    """`g_ih_l0` of "g" and "weight_ih_l0"."""
    return letter + weight.removeprefix("weight")


@lru_cache(maxsize=1)
def _untraced_forward() -> Callable[..., Any]:
    """For layers over time, which torch.compile does not support: it would split their forward pass into graphs."""
    return torch.compiler.disable(WeightNormRecurrent.forward)


class _Sequence(WeightNormRecurrent):
    """A layer over time. torch's class reads its weights from a list, `_flat_weights`, filled for each forward pass."""

    def _adopt(self, plain: nn.Module, units: Units) -> None:
        super()._adopt(plain, units)
        vars(self).update(_flat_weights=[], _flat_weight_refs=[])

    def forward(self, input: Any, hx: Any = None) -> Any:
        """As the plain layer; each effective weight is computed once."""
        run = WeightNormRecurrent.forward if torch.compiler.is_compiling() else _untraced_forward()
        return run(self, input, hx)

    def with_weights_computed(self) -> Self:
        """As in the base class; on CUDA its weights are in one block of memory, as cuDNN requires."""
        twin = super().with_weights_computed()
        if twin is not self and not torch.compiler.is_compiling():
            cast(Any, twin).flatten_parameters()
        return twin

    def _computed(self) -> dict[str, Any]:
        tensors = self.folded()
        for name, bias in tensors.items():
            if bias.is_cuda and not self._is_weight(name):
                tensors[name] = bias.clone()  # a copy that `flatten_parameters` may move
        return {"_flat_weights": list(tensors.values())}

    def fold(self) -> nn.Module:
        """A new plain layer with the same function."""
        plain = cast(Any, super().fold())
        plain._init_flat_weights()
        return plain

    def _init_flat_weights(self) -> None:
        """Called by torch after a change of device or dtype: nothing to do, since no weight is stored."""

    def _update_flat_weights(self) -> None:
        """Called by torch at the start of a forward pass, in case weights were replaced: nothing to do."""


class WeightNormLSTM(_Sequence, nn.LSTM):
    """A weight-normalized `torch.nn.LSTM`: `[T, B, in]` to `[T, B, out]` and the last states; same arguments.

    Initialized as the plain layer. Parameters, units of `g` and errors: see `WeightNormRecurrent`.
    """

    plain_class = nn.LSTM


class WeightNormGRU(_Sequence, nn.GRU):
    """A weight-normalized `torch.nn.GRU`: `[T, B, in]` to `[T, B, out]` and the last state; same arguments.

    Initialized as the plain layer. Parameters, units of `g` and errors: see `WeightNormRecurrent`.
    """

    plain_class = nn.GRU


class WeightNormRNN(_Sequence, nn.RNN):
    """A weight-normalized `torch.nn.RNN`: `[T, B, in]` to `[T, B, out]` and the last state; same arguments.

    Initialized as the plain layer. Parameters, units of `g` and errors: see `WeightNormRecurrent`.
    """

    plain_class = nn.RNN


class WeightNormLSTMCell(WeightNormRecurrent, nn.LSTMCell):
    """A weight-normalized `torch.nn.LSTMCell`: `[B, in]` to the states h and c `[B, H]`; same arguments.

    Initialized as the plain layer. Parameters, units of `g` and errors: see `WeightNormRecurrent`.
    """

    plain_class = nn.LSTMCell


class WeightNormGRUCell(WeightNormRecurrent, nn.GRUCell):
    """A weight-normalized `torch.nn.GRUCell`: `[B, in]` to the state `[B, H]`; same arguments.

    Initialized as the plain layer. Parameters, units of `g` and errors: see `WeightNormRecurrent`.
    """

    plain_class = nn.GRUCell


class WeightNormRNNCell(WeightNormRecurrent, nn.RNNCell):
    """A weight-normalized `torch.nn.RNNCell`: `[B, in]` to the state `[B, H]`; same arguments.

    Initialized as the plain layer. Parameters, units of `g` and errors: see `WeightNormRecurrent`.
    """

    plain_class = nn.RNNCell


RECURRENT_WEIGHT_NORM_LAYERS: dict[type[nn.Module], type[WeightNormRecurrent]] = {
    kind.plain_class: kind
    for kind in (WeightNormLSTM, WeightNormGRU, WeightNormRNN, WeightNormLSTMCell, WeightNormGRUCell, WeightNormRNNCell)
}
"""Recurrent layers and cells, by plain class."""


def with_weights_computed(layer: nn.Module) -> nn.Module:
    """What to call instead of `layer` when it is called for one time step after another.

    For a weight-normalized recurrent layer or cell, a twin whose effective weights are computed once (see
    `WeightNormRecurrent.with_weights_computed`); any other module is returned itself.
    """
    return layer.with_weights_computed() if isinstance(layer, WeightNormRecurrent) else layer
