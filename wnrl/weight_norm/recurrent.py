"""Weight-normalized recurrent layers and cells.

Salimans & Kingma 2016, section 5.3, normalize all weights of an LSTM. Every row of each matrix has its own length, so
each gate of each hidden unit has one. The initialization is the plain layer's, since the data-dependent one is not
meant for recurrent weights (section 3).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, cast

import torch
from torch import nn

from wnrl.weight_norm.several_weights import SeveralWeights
from wnrl.weight_norm.weight_norm_layer import computed

if TYPE_CHECKING:
    from typing_extensions import Self


class WeightNormRecurrent(SeveralWeights):
    """Base class of the weight-normalized recurrent layers and cells: a subclass adds torch's class.

    Parameters: for each matrix of the plain layer, such as `weight_ih_l0` `[out, n]`, the lengths `g_ih_l0` `[out]` and
    the directions `v_ih_l0` `[out, n]`; biases keep their names. Units of `g`, with that matrix's n inputs a row: see
    `WeightNormLayer`. The attribute `weight_ih_l0` is the effective weight, differentiable in `g` and `v`; writing to
    it sets them.
    """

    _own_forward: ClassVar[Callable[..., Any]]  # of torch's class

    def forward(self, input: Any, hx: Any = None) -> Any:
        """As the plain layer; each effective weight is computed once."""
        layer = self if torch.compiler.is_compiling() else self.with_weights_computed()  # none compiles the twin
        return layer._own_forward(input, hx)  # nor, in torch 2.15, type(self)

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw weights and biases again from the plain layer's default initialization."""
        bound = 1.0 / self.hidden_size**0.5 if self.hidden_size else 0.0
        for name, parameter in self.holders().items():
            if name in self.weight_names:
                drawn = torch.empty_like(self.pair(name)[0])
                self.write(name, drawn.uniform_(-bound, bound))
            elif parameter is not None:
                parameter.uniform_(-bound, bound)


class _Sequence(WeightNormRecurrent):
    """A layer over time. torch's class reads its weights from a list, `_flat_weights`, filled for each forward pass."""

    @classmethod
    def names_in(cls, layer: nn.Module) -> tuple[str, ...]:
        return tuple(name for name in cast(Any, layer)._flat_weights_names if name.startswith("weight"))

    def _adopt(self, *arguments: Any) -> None:
        super()._adopt(*arguments)
        vars(self).pop("_flat_weights", None)
        vars(self)["_flat_weight_refs"] = []

    def become_plain(self, values: Any, apart: Collection[str] = ()) -> None:
        """Give the layer its plain class back; its list of weights is filled."""
        super().become_plain(values, apart)
        cast(Any, self)._init_flat_weights()

    def forward(self, input: Any, hx: Any = None) -> Any:
        """As the plain layer; each effective weight is computed once."""
        run = WeightNormRecurrent.forward if torch.compiler.is_compiling() else _untraced_forward()
        return run(self, input, hx)

    def with_weights_computed(self) -> Self:
        """As in the base class; on CUDA its weights are in one block of memory, as cuDNN requires."""
        twin = SeveralWeights.with_weights_computed(self)  # torch 2.15 cannot compile super() here
        if twin is not self and not torch.compiler.is_compiling():
            cast(Any, twin).flatten_parameters()
        return twin

    def _computed(self) -> dict[str, Any]:
        known = {**self._parameters, **self.computed_weights()}
        names = cast(Any, self)._flat_weights_names
        tensors = [known[name] if name in known else getattr(self, name) for name in names]  # if parametrized
        for index, tensor in enumerate(tensors):
            if tensor is not None and tensor.is_cuda and isinstance(tensor, nn.Parameter):
                tensors[index] = tensor.clone()  # a copy that `flatten_parameters` may move
        return {"_flat_weights": tensors}

    def __getattr__(self, name: str) -> Any:
        """The effective weight `name`, torch's list of all weights, or an attribute as of every module."""
        # self.__dict__, since torch 2.8 cannot compile vars(self)
        if name in self.__dict__.get("weight_names", ()):
            return self.shown_weight(name)
        if name == "_flat_weights" and "weight_names" in self.__dict__:
            return self._computed()[name]
        return super().__getattr__(name)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; a weight sets g and v."""
        if name in vars(self).get("weight_names", ()):
            super().__setattr__(name, value)
        else:
            self._forget_factors(value)
            nn.Module.__setattr__(self, name, value)  # torch's class would look for it in its list of weights

    def _replicate_for_data_parallel(self) -> Any:
        """Called by torch's DataParallel, as of any module; the replica has no parameters yet."""
        return cast(Any, nn.Module)._replicate_for_data_parallel(self)

    def _init_flat_weights(self) -> None:
        """Called by torch after a change of device or dtype: nothing to do, since no weight is stored."""

    def _update_flat_weights(self) -> None:
        """Called by torch at the start of a forward pass, in case weights were replaced: nothing to do."""


@lru_cache(maxsize=1)
def _untraced_forward() -> Callable[..., Any]:
    """For layers over time, which torch.compile does not support: it would split their forward pass into graphs."""
    return torch.compiler.disable(WeightNormRecurrent.forward)


class WeightNormLSTM(_Sequence, nn.LSTM):
    """A weight-normalized `torch.nn.LSTM`: `[T, B, in]` to `[T, B, out]` and the last states; same arguments.

    Initialized as the plain layer. Parameters, units of `g` and errors: see `WeightNormRecurrent`.
    """

    plain_class = nn.LSTM
    _own_forward = nn.LSTM.forward


class WeightNormGRU(_Sequence, nn.GRU):
    """A weight-normalized `torch.nn.GRU`: `[T, B, in]` to `[T, B, out]` and the last state; same arguments.

    Initialized as the plain layer. Parameters, units of `g` and errors: see `WeightNormRecurrent`.
    """

    plain_class = nn.GRU
    _own_forward = nn.GRU.forward


class WeightNormRNN(_Sequence, nn.RNN):
    """A weight-normalized `torch.nn.RNN`: `[T, B, in]` to `[T, B, out]` and the last state; same arguments.

    Initialized as the plain layer. Parameters, units of `g` and errors: see `WeightNormRecurrent`.
    """

    plain_class = nn.RNN
    _own_forward = nn.RNN.forward


class _Cell(WeightNormRecurrent):
    weight_names = ("weight_ih", "weight_hh")
    weight_ih = computed("weight_ih")
    weight_hh = computed("weight_hh")


class WeightNormLSTMCell(_Cell, nn.LSTMCell):
    """A weight-normalized `torch.nn.LSTMCell`: `[B, in]` to the states h and c `[B, H]`; same arguments.

    Initialized as the plain layer. Parameters, units of `g` and errors: see `WeightNormRecurrent`.
    """

    plain_class = nn.LSTMCell
    _own_forward = nn.LSTMCell.forward


class WeightNormGRUCell(_Cell, nn.GRUCell):
    """A weight-normalized `torch.nn.GRUCell`: `[B, in]` to the state `[B, H]`; same arguments.

    Initialized as the plain layer. Parameters, units of `g` and errors: see `WeightNormRecurrent`.
    """

    plain_class = nn.GRUCell
    _own_forward = nn.GRUCell.forward


class WeightNormRNNCell(_Cell, nn.RNNCell):
    """A weight-normalized `torch.nn.RNNCell`: `[B, in]` to the state `[B, H]`; same arguments.

    Initialized as the plain layer. Parameters, units of `g` and errors: see `WeightNormRecurrent`.
    """

    plain_class = nn.RNNCell
    _own_forward = nn.RNNCell.forward


def with_weights_computed(layer: nn.Module) -> nn.Module:
    """What to call instead of `layer` when it is called for one time step after another.

    For a weight-normalized recurrent layer or cell, a twin whose effective weights are computed once (see
    `SeveralWeights.with_weights_computed`); any other module is returned itself, and a layer with forward pre-hooks,
    which may set its weights at each call, as pruning does.
    """
    if layer._forward_pre_hooks or not isinstance(layer, WeightNormRecurrent):
        return layer
    return layer.with_weights_computed()
