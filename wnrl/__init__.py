"""Weight normalization for deep reinforcement learning in PyTorch."""

from wnrl.formulas import effective_weight
from wnrl.initialization import data_init, he_uniform_
from wnrl.normalizers import NORMALIZERS, fold, normalize, polyak, refresh
from wnrl.weight_norm import WeightNormConv2d, WeightNormLinear

__all__ = [
    "NORMALIZERS",
    "WeightNormConv2d",
    "WeightNormLinear",
    "data_init",
    "effective_weight",
    "fold",
    "he_uniform_",
    "normalize",
    "polyak",
    "refresh",
]
