"""Weights projected to rows of unit norm after each update of the optimizer.

Not weight normalization, which learns the lengths of the rows and lets ‖v‖ grow (Salimans & Kingma 2016, section 2.1,
makes that distinction), although some of the literature on continuous control calls it so.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from wnrl.weight_norm.normalized_layer import NormalizedLayer
from wnrl.weight_norm.rows import row_norms, scale_rows


class ProjectedLayer(NormalizedLayer):
    """A plain layer whose rows `project` scales back to unit norm; biases are free.

    For dense, convolutional and recurrent layers (there, each gate of each hidden unit has a row in each matrix).
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.train(layer.training)
        self.project()

    def forward(self, *inputs: Any, **keywords: Any) -> Any:
        """As the plain layer."""
        return self.layer(*inputs, **keywords)

    def __getattr__(self, name: str) -> Any:
        """Attributes that only the plain layer has, such as the sizes that a network reads from a recurrent layer."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            plain = self.__dict__.get("_modules", {}).get("layer")
            if plain is None:
                raise
            return getattr(plain, name)

    @torch.no_grad()
    def project(self) -> None:
        """Divide each row by its norm, in place; a zero row stays."""
        for name, weight in self.layer.named_parameters():
            if name.startswith("weight"):
                norm = row_norms(self.layer, weight)
                weight.copy_(scale_rows(self.layer, weight, torch.where(norm > 0, 1 / norm, 1.0)))

    def reset_parameters(self) -> None:
        """Draw weights and biases again from the plain layer's default initialization; the rows are projected."""
        self.layer.reset_parameters()  # type: ignore[operator]
        self.project()

    def fold(self) -> nn.Module:
        """A copy of the plain layer."""
        return copy.deepcopy(self.layer)

    def folded(self) -> dict[str, Tensor]:
        """The plain layer's parameters."""
        return dict(self.layer.named_parameters())

    @torch.no_grad()
    def unfold(self, parameters: Mapping[str, Tensor]) -> None:
        """Copy a plain layer's parameters; the rows are projected."""
        for name, parameter in self.layer.named_parameters():
            parameter.copy_(parameters[name])
        self.project()


def project(network: nn.Module) -> None:
    """Scale the rows of every projected layer of `network` back to unit norm, in place.

    To be called after each step of the optimizer (Palenicek et al. 2025, CrossQ + WN: every hidden layer, not the
    output; Lyle et al. 2024, normalize-and-project). Since norms cannot grow, the effective learning rate does not
    decay by itself: lower it with a schedule (Lyle et al. 2024). Networks without projected layers stay as they are.
    """
    for module in network.modules():
        if isinstance(module, ProjectedLayer):
            module.project()
