"""Weight-normalized dense and bilinear layers."""

from __future__ import annotations

from functools import partial
from threading import get_ident
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.fx import Proxy
from torch.nn import functional as F

from wnrl.weight_norm.factors import kept_factors
from wnrl.weight_norm.formed_weights import form_weights
from wnrl.weight_norm.formula import weight_norm_linear
from wnrl.weight_norm.units import gain_of_g
from wnrl.weight_norm.weight_norm_layer import WeightNormLayer, called_as_a_whole, computed

_is_compiling, _is_grad_enabled = torch.compiler.is_compiling, torch.is_grad_enabled
_NOTHING = 0, None  # no thread's


class WeightNormLinear(WeightNormLayer, nn.Linear):
    """A weight-normalized `torch.nn.Linear`: `[..., in_features]` to `[..., out_features]`; same arguments.

    Initialized as the plain layer. Units of `g`, parameters and errors: see `WeightNormLayer`.
    """

    plain_class = nn.Linear
    weight = computed("weight")
    takes_formed_weight: ClassVar[bool] = True
    """Whether its forward pass uses a weight that `FormedWeights` has formed."""

    def forward(self, input: Tensor) -> Tensor:
        """`[..., in_features]` to `[..., out_features]`."""
        if isinstance(input, Proxy):
            return called_as_a_whole(self, input)
        if _is_grad_enabled() and not _is_compiling():
            parameters, attributes = self._parameters, self.__dict__
            thread, weight = attributes.pop("_formed", _NOTHING)  # see `FormedWeights`
            if thread != get_ident():
                attributes.pop("_factors", None)
                (weight,) = form_weights((self,))
            if weight is not None:
                bias = parameters["bias"] if "bias" in parameters else self.bias  # noqa: SIM401  # which takes longer
                return F.linear(input, weight, bias)
        kept = None if input.is_nested else kept_factors(self)
        if kept is not None:
            return self.pass_with(kept, partial(F.linear, input))
        v, g = self.pair()
        gain, scale = gain_of_g(g, self.units), self._scales["weight"]
        return weight_norm_linear(input, v, gain, self.bias, scale, ballast=self._ballast)


class WeightNormBilinear(WeightNormLayer, nn.Bilinear):
    """A weight-normalized `torch.nn.Bilinear`: `[..., in1]` and `[..., in2]` to `[..., out]`; same arguments.

    An output unit's row is its matrix `[in1, in2]`. Everything else as in `WeightNormLinear`.
    """

    plain_class = nn.Bilinear
    weight = computed("weight")

    def forward(self, input1: Tensor, input2: Tensor) -> Tensor:
        """`[..., in1_features]` and `[..., in2_features]` to `[..., out_features]`."""
        if isinstance(input1, Proxy):
            return called_as_a_whole(self, input1, input2)
        kept = kept_factors(self)
        if kept is not None:
            return self.pass_with(kept, lambda weight, bias: F.bilinear(input1, input2, weight, bias))
        return F.bilinear(input1, input2, self.effective_weight(), self.bias)
