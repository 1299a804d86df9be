"""Spectral normalization (Miyato et al. 2018) of the weights of a layer."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from wnrl.normalized_layer import NormalizedLayer
from wnrl.rows import rows

FIRST_ITERATIONS = 15  # of the power method, when a layer is made


class SpectralNormalized(NormalizedLayer):
    """A plain layer with weight w/σ(w), σ(w) the largest singular value of its rows (Miyato et al. 2018, equation 8).

    σ is found by the power method, one iteration per forward pass in training (algorithm 1 there). Its state is the
    left vector `running_u` `[out]`.
    """

    running_u: Tensor

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        weight: Tensor = layer.weight  # type: ignore[assignment]
        self.layer = layer
        matrix = rows(layer, weight.detach()).flatten(1)
        self.register_buffer("running_u", F.normalize(matrix.sum(dim=1) + 1e-6, dim=0))
        self.train(layer.training)
        for _ in range(FIRST_ITERATIONS):
            self._iterate(matrix)

    def forward(self, *inputs: Tensor) -> Tensor:
        """As the plain layer, with the weight divided by σ."""
        weight: Tensor = self.layer.weight  # type: ignore[assignment]
        if self.training:
            self._iterate(rows(self.layer, weight.detach()).flatten(1))
        return functional_call(self.layer, {"weight": weight / self._sigma(weight)}, inputs)

    @torch.no_grad()
    def _iterate(self, matrix: Tensor) -> None:
        v = F.normalize(matrix.t() @ self.running_u, dim=0)
        self.running_u.copy_(F.normalize(matrix @ v, dim=0))

    def _sigma(self, weight: Tensor) -> Tensor:
        """σ(w) = uᵀ W v, 0-dim, with v the direction of Wᵀ u."""
        matrix, u = rows(self.layer, weight).flatten(1), self.running_u.clone()
        v = F.normalize(matrix.detach().t() @ u, dim=0)
        return torch.dot(u, matrix @ v)

    def fold(self) -> nn.Module:
        """The plain layer with weight w/σ."""
        plain = copy.deepcopy(self.layer)
        plain.weight = nn.Parameter(self.folded()["weight"].detach(), requires_grad=True)
        return plain

    def folded(self) -> dict[str, Tensor]:
        """The plain layer's parameters."""
        weight: Tensor = self.layer.weight  # type: ignore[assignment]
        return {**dict(self.layer.named_parameters()), "weight": weight / self._sigma(weight)}

    @torch.no_grad()
    def unfold(self, parameters: Mapping[str, Tensor]) -> None:
        """Take on a plain layer's parameters; the weight is divided by its largest singular value."""
        for name, parameter in self.layer.named_parameters():
            parameter.copy_(parameters[name])
        matrix = rows(self.layer, parameters["weight"]).flatten(1)
        for _ in range(FIRST_ITERATIONS):
            self._iterate(matrix)
