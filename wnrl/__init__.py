"""Weight normalization for deep reinforcement learning in PyTorch."""

from wnrl.diagnostics.norms import NormDiagnostics
from wnrl.initialization.initialize import INITIALIZATIONS, analytic_init, data_init, he_uniform_, initialize
from wnrl.normalizers.folding import fold, polyak, refresh, unfold
from wnrl.normalizers.normalize import NORMALIZERS, normalize
from wnrl.normalizers.projection import project
from wnrl.normalizers.stale_optimizers import check_optimizer
from wnrl.weight_norm.convolutions import (
    WeightNormConv1d,
    WeightNormConv2d,
    WeightNormConv3d,
    WeightNormConvTranspose1d,
    WeightNormConvTranspose2d,
    WeightNormConvTranspose3d,
)
from wnrl.weight_norm.dense import WeightNormBilinear, WeightNormLinear
from wnrl.weight_norm.formula import effective_weight
from wnrl.weight_norm.recurrent import (
    WeightNormGRU,
    WeightNormGRUCell,
    WeightNormLSTM,
    WeightNormLSTMCell,
    WeightNormRNN,
    WeightNormRNNCell,
)

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

for _name in __all__:
    if isinstance(globals()[_name], type):  # pickles name a class by its module: by the one that stays
        globals()[_name].__module__ = "wnrl"
