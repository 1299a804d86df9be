"""Normalizers by name, the layers that they put into a network, and folding these back into plain ones."""

from wnrl.normalizers.batch_norm import BatchNormalized, MeanBatchNormalized
from wnrl.normalizers.layer_norm import ChannelLayerNormalized, LayerNormalized
from wnrl.normalizers.projection import ProjectedBeforeBatchNorm, ProjectedLayer, RadiusProjected, WeightClipped
from wnrl.normalizers.spectral_norm import SpectralNormalized

for _pickled in (
    BatchNormalized,
    ChannelLayerNormalized,
    LayerNormalized,
    MeanBatchNormalized,
    ProjectedBeforeBatchNorm,
    ProjectedLayer,
    RadiusProjected,
    SpectralNormalized,
    WeightClipped,
):
    _pickled.__module__ = "wnrl"  # pickles name what they need by its module: by the one that stays
