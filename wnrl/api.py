"""The public names of `wnrl`, which it imports from here when one of them is first used."""

from wnrl.diagnostics.norms import NormDiagnostics
from wnrl.initialization.initialize import (
    INITIALIZATIONS,
    analytic_init,
    data_init,
    he_uniform_,
    initialize,
    lsuv_init,
    within_layer_init,
)
from wnrl.normalizers.batch_norm import BatchNormalized, MeanBatchNormalized
from wnrl.normalizers.conversions import NORMALIZERS
from wnrl.normalizers.describe import describe
from wnrl.normalizers.folding import fold, polyak, refresh, remove, unfold
from wnrl.normalizers.layer_norm import ChannelLayerNormalized, LayerNormalized
from wnrl.normalizers.normalize import normalize
from wnrl.normalizers.parameter_groups import parameter_groups
from wnrl.normalizers.projection import (
    ProjectedBeforeBatchNorm,
    ProjectedLayer,
    RadiusProjected,
    WeightClipped,
    project,
)
from wnrl.normalizers.spectral_norm import SpectralNormalized
from wnrl.normalizers.stale_optimizers import check_optimizer
from wnrl.normalizers.state_dicts import convert_state_dict, torch_state_dict
from wnrl.weight_norm.attention import WeightNormMultiheadAttention
from wnrl.weight_norm.convolutions import (
    WeightNormConv1d,
    WeightNormConv2d,
    WeightNormConv3d,
    WeightNormConvTranspose1d,
    WeightNormConvTranspose2d,
    WeightNormConvTranspose3d,
)
from wnrl.weight_norm.dense import WeightNormBilinear, WeightNormLinear
from wnrl.weight_norm.embedding import WeightNormEmbedding, WeightNormEmbeddingBag
from wnrl.weight_norm.factors import outdate
from wnrl.weight_norm.formula import effective_weight
from wnrl.weight_norm.normalized_layer import rebuild_layer
from wnrl.weight_norm.recurrent import (
    WeightNormGRU,
    WeightNormGRUCell,
    WeightNormLSTM,
    WeightNormLSTMCell,
    WeightNormRNN,
    WeightNormRNNCell,
)
from wnrl.weight_norm.weight_norm_layer import WeightNormLayer
from wnrl.weight_norm.wrappers import strip_wrappers

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
    "WeightNormEmbedding",
    "WeightNormEmbeddingBag",
    "WeightNormGRU",
    "WeightNormGRUCell",
    "WeightNormLSTM",
    "WeightNormLSTMCell",
    "WeightNormLayer",
    "WeightNormLinear",
    "WeightNormMultiheadAttention",
    "WeightNormRNN",
    "WeightNormRNNCell",
    "analytic_init",
    "check_optimizer",
    "convert_state_dict",
    "data_init",
    "describe",
    "effective_weight",
    "fold",
    "he_uniform_",
    "initialize",
    "lsuv_init",
    "normalize",
    "outdate",
    "parameter_groups",
    "polyak",
    "project",
    "refresh",
    "remove",
    "torch_state_dict",
    "unfold",
    "within_layer_init",
]

IN_PICKLES = (
    BatchNormalized,
    ChannelLayerNormalized,
    LayerNormalized,
    MeanBatchNormalized,
    ProjectedBeforeBatchNorm,
    ProjectedLayer,
    RadiusProjected,
    SpectralNormalized,
    WeightClipped,
    rebuild_layer,
    strip_wrappers,
)
"""What pickles name too, as attributes of `wnrl`."""
