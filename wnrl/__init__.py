"""Weight normalization for deep reinforcement learning in PyTorch."""

from wnrl.convolutions import (
    WeightNormConv1d,
    WeightNormConv2d,
    WeightNormConv3d,
    WeightNormConvTranspose1d,
    WeightNormConvTranspose2d,
    WeightNormConvTranspose3d,
)
from wnrl.folding import fold, polyak, refresh, unfold
from wnrl.formulas import effective_weight
from wnrl.initialization import data_init, he_uniform_
from wnrl.normalizers import NORMALIZERS, normalize
from wnrl.projection import project
from wnrl.stale_parameters import check_optimizer
from wnrl.weight_norm import WeightNormBilinear, WeightNormLinear

__all__ = [
    "NORMALIZERS",
    "WeightNormBilinear",
    "WeightNormConv1d",
    "WeightNormConv2d",
    "WeightNormConv3d",
    "WeightNormConvTranspose1d",
    "WeightNormConvTranspose2d",
    "WeightNormConvTranspose3d",
    "WeightNormLinear",
    "check_optimizer",
    "data_init",
    "effective_weight",
    "fold",
    "he_uniform_",
    "normalize",
    "polyak",
    "project",
    "refresh",
    "unfold",
]
