"""Spectral normalization (Miyato et al. 2018) of the weights of a layer."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wnrl.device import without_autocast
from wnrl.weight_norm.effective_weight import writable
from wnrl.weight_norm.factors import keep
from wnrl.weight_norm.normalized_layer import NormalizedLayer, mix_in, replaced
from wnrl.weight_norm.rows import has_own_forward, rows, watched_entries
from wnrl.weight_norm.stored_weights import Entries, Spectral, Stored, sigma

if TYPE_CHECKING:
    from typing_extensions import Self

FIRST_ITERATIONS = 50  # power iterations when a layer is made or reset


class SpectralNormalized(NormalizedLayer):
    """A layer with weight w/σ(w), σ(w) the largest singular value of its rows (Miyato et al. 2018, equation 8).

    The parameter w is `weight_orig`; `weight` is w/σ, and writing to it sets w. σ is estimated by power iteration, one
    iteration per forward pass in training (algorithm 1 there), in at least float32. Its state is the left singular
    vector `running_u` `[out]`. A zero weight stays zero.
    """

    _label = "SpectralNorm"

    weight_orig: nn.Parameter
    running_u: Tensor

    @classmethod
    def convert(cls, layer: nn.Module) -> Self:
        """Turn a plain layer into such a layer, in place."""
        weight = cast(nn.Parameter, layer._parameters["weight"])
        mix_in(layer, cls)
        own = cast(SpectralNormalized, layer)
        own._rename("weight", "weight_orig")
        own.register_buffer("running_u", weight.detach().new_empty(len(rows(layer, weight))))
        own._reset_power_iteration()
        return cast("Self", layer)

    def _rename(self, old: str, new: str) -> None:
        parameters = replaced(self._parameters, old, [(new, self._parameters[old])])
        self._parameters.clear()
        self._parameters.update(parameters)

    @property
    def weight(self) -> Tensor:
        """w/σ, differentiable in w; writing to it sets w."""
        if "_effective" in self.__dict__:  # not vars(self), which torch 2.8 cannot compile
            return self.__dict__["_effective"]
        traced = torch.compiler.is_compiling()
        with torch.set_grad_enabled(traced or not torch.is_inference_mode_enabled()):  # as for a parameter
            weight = self.effective_weight()
        return writable(weight, self.write, ("weight_orig", "weight_orig"), self.effective_weight)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; `weight` sets w."""
        if name == "weight":
            self.write(value.detach())
        else:
            super().__setattr__(name, value)

    @torch.no_grad()
    def write(self, weight: Tensor) -> None:
        """Set w in place; σ is estimated again unless it is 1, as after `fold`."""
        self.weight_orig.copy_(weight)
        sigma = self._sigma()
        if not torch.isclose(sigma, torch.ones_like(sigma)):
            self._iterate(FIRST_ITERATIONS)

    def forward(self, *inputs: Any, **keywords: Any) -> Tensor:
        """As the plain layer, with the weight divided by σ."""
        if self.training:
            self._iterate()
        elif not (torch.compiler.is_compiling() or has_own_forward(self.plain_class)):
            own = (self.weight_orig, self.running_u)
            weight = keep(self, own, lambda: (watched_entries(self, own[0].detach()), own[1]), self.effective_weight)
            if weight is not None:
                twin = object.__new__(type(self))  # the layer itself is not changed, since threads may share it
                vars(twin).update(vars(self), _effective=weight)
                return super(SpectralNormalized, twin).forward(*inputs, **keywords)
        return super().forward(*inputs, **keywords)

    def reset_parameters(self) -> None:
        """Draw weight and bias again from the plain layer's default initialization, and estimate σ."""
        super().reset_parameters()  # type: ignore[misc]
        self._reset_power_iteration()

    def effective_weight(self) -> Tensor:
        """w/σ(w), differentiable; the gradient treats the singular vectors as constants (equation 12)."""
        sigma, weight = self._sigma(), self.weight_orig
        return (weight.to(sigma.dtype) / torch.where(sigma > 0, sigma, 1.0)).to(weight.dtype)

    def _matrix(self) -> Tensor:
        weight = rows(self, self.weight_orig).flatten(1)
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

    def own_buffers(self) -> set[str]:
        """The state of the power iteration."""
        return {*super().own_buffers(), "running_u"}

    def holders(self) -> dict[str, nn.Parameter | None]:
        """The layer's parameters; that of the weight is w."""
        holders = super().holders()
        return replaced(holders, "weight_orig", [("weight", holders.get("weight_orig"))])

    def folded(self) -> dict[str, Tensor]:
        """The plain layer's parameters, with the weight w/σ."""
        return replaced(super().folded(), "weight_orig", [("weight", self.effective_weight())])

    def unfold(self, parameters: Mapping[str, Tensor]) -> None:
        """Copy a plain layer's parameters."""
        super().unfold(parameters)
        self.write(parameters["weight"])

    def weights_in_state(self) -> dict[str, tuple[str, ...]]:
        """As in the base class: w."""
        return {"weight": ("weight_orig",)}

    def entries_of(self, name: str, stored: Stored, entries: Entries, assign: bool) -> Entries:
        """w and the state of the power iteration, of torch's spectral norm or of older versions of this layer.

        Raises:
            ValueError: another weight, since w/σ would be another function.
        """
        if isinstance(stored, Spectral) and stored.u.shape == self.running_u.shape:
            if not torch.isclose(sigma(self, stored), sigma(self, stored._replace(v=None)), rtol=1e-4):
                raise ValueError("its power iteration is not at its end: load it into a plain network, and unfold that")
            return {"weight_orig": stored.weight, "running_u": stored.u}
        if isinstance(stored, Tensor) and "running_u" in entries:
            return {"weight_orig": stored}
        raise ValueError("it is not spectrally normalized: load it into a plain network, and unfold that")

    def become_plain(self, values: Mapping[str, Tensor], apart: Collection[str] = ()) -> None:
        """As in the base class."""
        del self._buffers["running_u"]
        super().become_plain(values, apart)
