"""Weight-normalized layers with several weights, such as those of an LSTM."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

from wnrl.weight_norm.factors import kept_factors
from wnrl.weight_norm.weight_norm_layer import WeightNormLayer

if TYPE_CHECKING:
    from typing_extensions import Self


class SeveralWeights(WeightNormLayer):
    """Base class of layers with several weights, each of which has its own g and v."""

    def set_weight(self, name: str, weight: Tensor) -> None:  # type: ignore[override]
        """Set g and v of the weight `name`, in place, so that the effective weight is `weight` `[out, n]`."""
        self.write(name, weight)

    def with_weights_computed(self) -> Self:
        """A twin to be called many times: its effective weights, differentiable in `g` and `v`, are computed now.

        It has this layer's parameters; later changes of a weight do not reach it. It can only be called.
        """
        if "_computed_once" in self.__dict__:  # not vars(self), which torch 2.8 cannot compile
            return self
        twin = object.__new__(type(self))  # the layer itself is not changed, since threads may share it
        twin.__dict__.update(self.__dict__, **self._computed(), _computed_once=True)
        return twin

    def _computed(self) -> dict[str, Any]:
        """The attributes from which the plain layer's forward pass reads its weights."""
        return {"_weights": self.computed_weights()}

    def computed_weights(self) -> dict[str, Tensor]:
        """The effective weights by name; without gradients those of the last pass, if g and v have not changed."""
        kept = {name: kept_factors(self, name) for name in self.weight_names}
        return {name: self.effective_weight(name) if own is None else own.factor for name, own in kept.items()}

    def factor(self, name: str, v: Tensor, g: Tensor) -> Tensor:
        """What is kept of a weight: w itself."""
        return self.effective_weight(name)
