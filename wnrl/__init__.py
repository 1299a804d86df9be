"""Weight normalization for deep reinforcement learning in PyTorch.

- `normalize(network, "weight")` converts the layers of a network in place; `remove` undoes it, `describe` shows it.
- `data_init`, `analytic_init`, `he_uniform_`: initial weights, of plain and of normalized networks.
- `fold`, `refresh`, `polyak`, `unfold`: copies with plain layers, for acting and for targets.
- `project`: to be called after each step of the optimizer under the normalizers that need it.
- `convert_state_dict`, `torch_state_dict`: checkpoints of torch's weight norm and of plain networks, in and out.
- `parameter_groups`, `check_optimizer`, `outdate`, `NormDiagnostics`.
- `WeightNormLinear`, `WeightNormConv2d`, …: the layers themselves.

Policies for stable-baselines3 are in `wnrl.sb3`, networks for agents in `wnrl.networks`. docs/weight-norm.md explains.
"""

from wnrl.diagnostics.norms import NormDiagnostics
from wnrl.initialization.initialize import INITIALIZATIONS, analytic_init, data_init, he_uniform_, initialize
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
    "normalize",
    "outdate",
    "parameter_groups",
    "polyak",
    "project",
    "refresh",
    "remove",
    "torch_state_dict",
    "unfold",
]

_IN_PICKLES = (
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

for _public in (*_IN_PICKLES, *(globals()[_name] for _name in __all__)):
    if isinstance(_public, type) or _public in (rebuild_layer, strip_wrappers):
        _public.__module__ = "wnrl"  # pickles name what they need by its module: by the one that stays
