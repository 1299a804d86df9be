"""Weights that are projected, or clipped, after each update of the optimizer.

Not weight normalization, which learns the lengths of the rows and lets ‖v‖ grow (Salimans & Kingma 2016, section 2.1,
makes that distinction), although some of the literature on continuous control calls it so.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from wnrl.normalizers.batch_norm import BatchNorm
from wnrl.weight_norm.normalized_layer import NormalizedLayer, mix_in
from wnrl.weight_norm.rows import row_norms, scale_rows

if TYPE_CHECKING:
    from typing_extensions import Self

CLIP = 3.0
"""κ of `weight-clip`: the default of the authors' code for reinforcement learning."""


class Projection(NormalizedLayer):
    """A layer whose parameters `project` brings back after each step of the optimizer; otherwise it is plain."""

    @classmethod
    def convert(cls, layer: nn.Module) -> Self:
        """Turn a plain layer into such a layer, in place."""
        mix_in(layer, cls)
        cast(Projection, layer).start()
        return cast("Self", layer)

    def start(self) -> None:
        """Called when the layer is converted, and after its weights were set: projects them."""
        self.project()

    def project(self) -> None:
        """Bring the parameters back, in place."""
        raise NotImplementedError

    def reset_parameters(self) -> None:
        """Draw weights and biases again from the plain layer's default initialization; they are projected."""
        reset: Any = getattr(super(), "reset_parameters", None)
        (reset or cast(Any, self)._reset_parameters)()  # attention has only this
        self.start()

    def unfold(self, parameters: Mapping[str, Tensor]) -> None:
        """Copy a plain layer's parameters; they are projected."""
        super().unfold(parameters)
        self.start()

    def _weights(self) -> Iterator[Tensor]:
        """The weight matrices of the layer."""
        return (p for name, p in self._parameters.items() if "weight" in name and p is not None and p.ndim > 1)


class ProjectedLayer(Projection):
    """A layer whose rows `project` scales to unit norm; biases are free.

    For dense, convolutional and recurrent layers (there, each gate of each hidden unit has a row in each matrix). It
    changes the network's function. CrossQ + WN (Palenicek et al. 2025) projects rows so, with batch normalization after
    them (`batch+projected`).
    """

    _label = "Projected"

    @torch.no_grad()
    def project(self) -> None:
        """Divide each row by its norm, in place; a zero row stays."""
        for weight in self._weights():
            norm = row_norms(self, weight)
            weight.copy_(scale_rows(self, weight, torch.where(norm > 0, 1 / norm, 1.0)))


class ProjectedBeforeBatchNorm(ProjectedLayer):
    """A layer whose rows are projected, before its batch normalization, which undoes any factor of a row."""

    norm: BatchNorm

    @torch.no_grad()
    def start(self) -> None:
        """Project; the running statistics are scaled with the rows, so that evaluation mode keeps its function."""
        norms = row_norms(self, cast(Tensor, self.weight))
        self.project()
        factor = torch.where(norms > 0, 1 / norms, 1.0).to(self.norm.running_mean.dtype)
        self.norm.running_mean.mul_(factor)
        variance = (self.norm.running_var + self.norm.eps) * factor**2 - self.norm.eps
        self.norm.running_var.copy_(variance.clamp(min=0.0))


class RadiusProjected(Projection):
    """A layer whose weight and bias `project` scales, by one factor, to the norm that they had at first.

    Normalize-and-project (Lyle et al. 2024), for layers before a layer normalization, which undoes such a factor; that
    of a single row it would not. The scale and shift of the layer normalization are free.
    """

    _label = "Projected"

    running_radius: Tensor

    def start(self) -> None:
        """Take the current norm √(‖w‖² + ‖b‖²) for the one to keep."""
        if "running_radius" in self._buffers:
            self.running_radius.copy_(self._radius())
        else:
            self.register_buffer("running_radius", self._radius())

    @torch.no_grad()
    def project(self) -> None:
        """Scale weight and bias to the first norm, in place; zeros stay."""
        radius = self._radius()
        factor = torch.where(radius > 0, self.running_radius / radius, 1.0)
        for parameter in self._own():
            parameter.copy_(parameter * factor)

    def _own(self) -> list[Tensor]:
        return [parameter for parameter in self._parameters.values() if parameter is not None]

    @torch.no_grad()
    def _radius(self) -> Tensor:
        squares = [p.to(torch.promote_types(p.dtype, torch.float32)).square().sum() for p in self._own()]
        return torch.stack(squares).sum().sqrt()

    def own_buffers(self) -> set[str]:
        """The norm to keep."""
        return {*super().own_buffers(), "running_radius"}

    def become_plain(self, values: Mapping[str, Tensor], apart: Collection[str] = ()) -> None:
        """As in the base class."""
        del self._buffers["running_radius"]
        super().become_plain(values, apart)


class WeightClipped(Projection):
    """A layer whose weights and biases `project` clips to ±κ s, s = 1/√n the bound of torch's default initialization.

    Elsayed et al. 2024 ("Weight Clipping for Deep Continual and Reinforcement Learning") and their code, which clips
    every layer, the output too, whatever its initialization. n is the number of inputs of a unit, for recurrent layers
    of hidden units. Nothing is clipped before the first step.
    """

    _label = "WeightClipped"

    def start(self) -> None:
        """Nothing: the first clip comes after the first step."""

    @torch.no_grad()
    def project(self) -> None:
        """Clip weights and biases, in place."""
        bound = self.bound()
        for parameter in self._parameters.values():
            if parameter is not None:
                parameter.clamp_(-bound, bound)

    def bound(self) -> float:
        """κ s."""
        if isinstance(self, nn.RNNBase | nn.RNNCellBase):
            inputs = self.hidden_size
        elif isinstance(self, nn.Bilinear):
            inputs = self.in1_features
        else:
            inputs = math.prod(next(self._weights()).shape[1:])  # as torch's own for transposed convolutions too
        return CLIP / math.sqrt(inputs) if inputs else math.inf


def project(network: nn.Module) -> None:
    """Project the layers of `network` that have to be after each step of the optimizer, in place.

    For `projected` and its compositions, and `weight-clip`. Since norms cannot grow, the effective learning rate does
    not decay by itself: lower it with a schedule (Lyle et al. 2024). Networks without such layers stay as they are.
    """
    for layer in projections(network):
        layer.project()


def projections(network: nn.Module) -> list[Any]:
    """The layers of `network` that `project` projects."""
    return [module for module in network.modules() if isinstance(module, Projection)]
