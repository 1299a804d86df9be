"""Weight normalization: its equations, and the weight-normalized layers."""

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

for _pickled in (
    WeightNormBilinear,
    WeightNormConv1d,
    WeightNormConv2d,
    WeightNormConv3d,
    WeightNormConvTranspose1d,
    WeightNormConvTranspose2d,
    WeightNormConvTranspose3d,
    WeightNormEmbedding,
    WeightNormEmbeddingBag,
    WeightNormGRU,
    WeightNormGRUCell,
    WeightNormLSTM,
    WeightNormLSTMCell,
    WeightNormLayer,
    WeightNormLinear,
    WeightNormMultiheadAttention,
    WeightNormRNN,
    WeightNormRNNCell,
    rebuild_layer,
    strip_wrappers,
):
    _pickled.__module__ = "wnrl"  # pickles name what they need by its module: by the one that stays
