"""Spectral normalization (Miyato et al. 2018) of the weights of a layer."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from wnrl.device import without_autocast
from wnrl.weight_norm.normalized_layer import NormalizedLayer
from wnrl.weight_norm.rows import rows

FIRST_ITERATIONS = 50  # power iterations when a layer is made or reset


class SpectralNormalized(NormalizedLayer):
    """A plain layer with weight w/σ(w), σ(w) the largest singular value of its rows (Miyato et al. 2018, equation 8).

    σ is estimated by power iteration, one iteration per forward pass in training (algorithm 1 there), in at least
    float32. Its state is the left singular vector `running_u` `[out]`. A zero weight stays zero.
    """

    running_u: Tensor

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        weight: Any = layer.weight
        self.layer: Any = layer
        self.register_buffer("running_u", weight.new_empty(len(rows(layer, weight))))
        self.train(layer.training)
        self._reset_power_iteration()

    def forward(self, *inputs: Any, **keywords: Any) -> Tensor:
        """As the plain layer, with the weight divided by σ."""
        if self.training:
            self._iterate()
        return functional_call(self.layer, {"weight": self.effective_weight()}, inputs, keywords)

    def reset_parameters(self) -> None:
        """Draw weight and bias again from the plain layer's default initialization, and estimate σ."""
        self.layer.reset_parameters()
        self._reset_power_iteration()

    def effective_weight(self) -> Tensor:
        """w/σ(w), differentiable; the gradient treats the singular vectors as constants (equation 12)."""
        sigma, weight = self._sigma(), self.layer.weight
        return (weight.to(sigma.dtype) / torch.where(sigma > 0, sigma, 1.0)).to(weight.dtype)

    def _matrix(self) -> Tensor:
        weight = rows(self.layer, self.layer.weight).flatten(1)
        return weight.to(torch.promote_types(weight.dtype, torch.float32))

    @torch.no_grad()
    def _reset_power_iteration(self) -> None:
        start = torch.randn(len(self.running_u), generator=torch.Generator().manual_seed(0), device="cpu")
        self.running_u.copy_(F.normalize(start, dim=0))
        self._iterate(FIRST_ITERATIONS)

    @torch.no_grad()
    def _iterate(self, times: int = 1) -> None:
        matrix, u = self._matrix(), self.running_u
        with without_autocast(matrix.device):
            for _ in range(times):
                image = matrix @ F.normalize(matrix.t() @ u.to(matrix.dtype), dim=0)
                norm = torch.linalg.vector_norm(image)
                u.copy_(torch.where(norm > 0, image / norm, u))

    def _sigma(self) -> Tensor:
        """σ(w) = ‖Wᵀu‖, 0-dim: uᵀ W v with v the direction of Wᵀ u; its gradient is u vᵀ."""
        matrix = self._matrix()
        u = F.normalize(self.running_u.to(matrix.dtype), dim=0)  # a copy, which later iterations do not change
        with without_autocast(matrix.device):
            return torch.linalg.vector_norm(matrix.t() @ u)

    def fold(self) -> nn.Module:
        """The plain layer with weight w/σ."""
        plain = copy.deepcopy(self.layer)
        plain.weight = nn.Parameter(self.effective_weight().detach(), self.layer.weight.requires_grad)
        return plain

    def folded(self) -> dict[str, Tensor]:
        """The plain layer's parameters."""
        return {**dict(self.layer.named_parameters()), "weight": self.effective_weight()}

    @torch.no_grad()
    def unfold(self, parameters: Mapping[str, Tensor]) -> None:
        """Copy a plain layer's parameters; σ is estimated again unless the weight is a fold of this layer (σ = 1)."""
        for name, parameter in self.layer.named_parameters():
            parameter.copy_(parameters[name])
        sigma = self._sigma()
        if not torch.isclose(sigma, torch.ones_like(sigma)):
            self._iterate(FIRST_ITERATIONS)
