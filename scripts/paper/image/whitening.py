"""ZCA whitening, as in the paper's published code."""

from __future__ import annotations

import torch
from torch import Tensor


class Whitening:
    """x ↦ (x − μ) U (S + ε)^(−1/2) Uᵀ, with μ and the covariance U S Uᵀ of the images that it is made from.

    Args:
        images: float32 `[N, C, H, W]`.
        regularization: ε; 1e-5 in the published code.
    """

    def __init__(self, images: Tensor, regularization: float) -> None:
        rows = images.flatten(1)
        self._mean = rows.mean(0)
        centred = rows - self._mean
        values, vectors = torch.linalg.eigh((centred.T @ centred / len(rows)).double())
        scales = (values.clamp(min=0) + regularization).rsqrt()
        self._matrix = ((vectors * scales) @ vectors.T).to(rows)

    def __call__(self, images: Tensor) -> Tensor:
        """The whitened images, of the same shape."""
        return ((images.flatten(1) - self._mean) @ self._matrix).view(images.shape)
