"""Weight normalization for deep reinforcement learning in PyTorch."""

from wnrl.convolutions import (
    WeightNormConv1d,
    WeightNormConv2d,
    WeightNormConv3d,
    WeightNormConvTranspose1d,
    WeightNormConvTranspose2d,
    WeightNormConvTranspose3d,
)
from wnrl.diagnostics import NormDiagnostics
from wnrl.folding import fold, polyak, refresh, unfold
from wnrl.formulas import effective_weight
from wnrl.initialization import INITIALIZATIONS, analytic_init, data_init, he_uniform_, initialize
from wnrl.normalizers import NORMALIZERS, normalize
from wnrl.projection import project
from wnrl.recurrent import (
    WeightNormGRU,
    WeightNormGRUCell,
    WeightNormLSTM,
    WeightNormLSTMCell,
    WeightNormRNN,
    WeightNormRNNCell,
)
from wnrl.stale_parameters import check_optimizer
from wnrl.weight_norm import WeightNormBilinear, WeightNormLinear

__all__ = [
    "INITIALIZATIONS",
    "NORMALIZERS",
    "NormDiagnostics",
    "WeightNormBilinear",
    "WeightNormConv1d",
    "WeightNormConv2d",
    "WeightNormConv3d",
    "WeightNormConvTranspose1d",
    "WeightNormConvTranspose2d",
    "WeightNormConvTranspose3d",
    "WeightNormGRU",
    "WeightNormGRUCell",
    "WeightNormLSTM",
    "WeightNormLSTMCell",
    "WeightNormLinear",
    "WeightNormRNN",
    "WeightNormRNNCell",
    "analytic_init",
    "check_optimizer",
    "data_init",
    "effective_weight",
    "fold",
    "he_uniform_",
    "initialize",
    "normalize",
    "polyak",
    "project",
    "refresh",
    "unfold",
]
