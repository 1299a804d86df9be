"""Figures that show what a normalizer does while a network learns."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from wnrl.weight_norm import WeightNormLayer


@torch.no_grad()
def norm_figures(network: nn.Module, learning_rate: float) -> dict[str, Tensor]:
    """Means over the rows of each weight-normalized layer, for TensorBoard.

    Args:
        network: any network; layers that are not weight-normalized have no figures.
        learning_rate: the optimizer's.

    Returns:
        0-dim tensors named `norm/LAYER/g` (the row norm of the effective weight, ‖w‖, in the paper's units),
        `norm/LAYER/v_norm` (‖v‖) and `norm/LAYER/effective_lr` (learning rate × ‖w‖/‖v‖, the factor by which a step
        on v moves w; Salimans & Kingma 2016, section 2.1).
    """
    figures: dict[str, Tensor] = {}
    for name, layer in network.named_modules():
        if not isinstance(layer, WeightNormLayer):
            continue
        w_norm = layer.weight.flatten(1).norm(dim=1)
        v_norm = layer.v.flatten(1).norm(dim=1)
        figures[f"norm/{name}/g"] = w_norm.mean()
        figures[f"norm/{name}/v_norm"] = v_norm.mean()
        figures[f"norm/{name}/effective_lr"] = learning_rate * (w_norm / v_norm).nan_to_num(0.0).mean()
    return figures
