"""Noisy layers for exploration, with learned noise on their weights (Fortunato et al. 2018)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class NoisyLinear(nn.Module):
    """A linear layer with factorised Gaussian noise on its weight and bias (Fortunato et al. 2018, section 3).

    y = (μ_w + σ_w ⊙ ε_w) x + μ_b + σ_b ⊙ ε_b with ε_w = f(ε_out) f(ε_in)ᵀ, ε_b = f(ε_out), f(ε) = sgn(ε) √|ε|
    (equations 9 to 11). Initially μ ~ U(±1/√p), σ = sigma/√p for p inputs (section 3.2). In evaluation mode there is no
    noise: y = μ_w x + μ_b.

    `mean` is an ordinary `nn.Linear` (μ_w, μ_b), so `wnrl.normalize` normalizes μ_w and leaves σ as it is: if the noisy
    sum were normalized instead, each draw would rescale the mean. Normalizers of a layer's outputs (`batch`, `layer`
    and the like) are refused, since they would normalize the mean alone.

    Other parameters: `sigma_weight` `[out, in]`, `sigma_bias` `[out]` (or None). Buffers: `noise_in` `[in]` and
    `noise_out` `[out]`, f(ε) of the last draw, shared by the batch and kept until `reset_noise`.

    Args:
        in_features: p.
        out_features: size of y.
        bias: whether there are μ_b and σ_b.
        sigma: σ₀, initial size of the noise relative to that of μ.
        device: of the parameters and buffers.
        dtype: of the parameters and buffers.
    """

    summands: ClassVar[tuple[str, ...]] = ("mean",)
    """Children that compute only a part of the output's sum."""
    noise_in: Tensor
    noise_out: Tensor

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        sigma: float = 0.5,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.mean = nn.Linear(in_features, out_features, bias, device, dtype)  # initialized as U(±1/√p)
        value = sigma / math.sqrt(in_features)
        weight = self.mean.weight
        self.sigma_weight = nn.Parameter(torch.full_like(weight, value))
        self.sigma_bias = nn.Parameter(torch.full_like(weight[:, 0], value)) if bias else None
        self.register_buffer("noise_in", torch.empty_like(weight[0], requires_grad=False))
        self.register_buffer("noise_out", torch.empty_like(weight[:, 0], requires_grad=False))
        self.reset_noise()

    @torch.no_grad()
    def reset_noise(self, generator: torch.Generator | None = None) -> None:
        """Draw new noise, in place; not to be called between a forward pass and its backward pass.

        Args:
            generator: of the draw, on any device; None takes the global one.
        """
        self.put_noise(*self.draw_noise(generator))

    @torch.no_grad()
    def draw_noise(self, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Values for `noise_in` and `noise_out`, drawn as `reset_noise` draws them."""
        drawn = []
        for noise in (self.noise_in, self.noise_out):
            device = noise.device if generator is None else generator.device
            draw = torch.empty(noise.shape, dtype=noise.dtype, device=device).normal_(generator=generator)
            drawn.append(draw.sign() * draw.abs().sqrt())
        return drawn[0], drawn[1]

    @torch.no_grad()
    def put_noise(self, noise_in: Tensor, noise_out: Tensor) -> None:
        """Set the noise, in place, to values of `draw_noise`."""
        self.noise_in.copy_(noise_in)
        self.noise_out.copy_(noise_out)

    def forward(self, x: Tensor) -> Tensor:
        """`[..., in_features]` to `[..., out_features]`; the matrix ε_w is never built."""
        mean = self.mean(x)
        if not self.training:
            return mean
        noise = F.linear(x * self.noise_in, self.sigma_weight, self.sigma_bias)
        return mean + noise * self.noise_out.to(noise.dtype)

    def extra_repr(self) -> str:
        """The constructor's arguments."""
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.sigma_bias is not None}"


class Noise:
    """The noise of all noisy layers of a network; it is false where there are none: `Noise(…) or None`.

    Args:
        network: any module.
        generator: of the draws, on any device.
    """

    def __init__(self, network: nn.Module, generator: torch.Generator) -> None:
        self._layers = [module for module in network.modules() if isinstance(module, NoisyLinear)]
        self._generator = generator

    def __bool__(self) -> bool:
        """Whether the network has a noisy layer."""
        return bool(self._layers)

    def draw(self) -> None:
        """Draw new noise for every layer, in place."""
        self.put(self.drawn())

    def drawn(self) -> tuple[tuple[Tensor, Tensor], ...]:
        """New noise for every layer, to be `put` there."""
        return tuple(layer.draw_noise(self._generator) for layer in self._layers)

    def put(self, noise: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Give every layer its part of what `drawn` returned, in place."""
        for layer, values in zip(self._layers, noise, strict=True):
            layer.put_noise(*values)

    def switch(self, on: bool) -> None:
        """Turn the layers' noise on or off, independently of the mode of the rest of the network."""
        for layer in self._layers:
            layer.training = on
