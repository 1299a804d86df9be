"""scripts/paper/image/convpool.py"""

import pytest
import torch
from paper.image.convpool import LEAST, GaussianNoise, add_mean_only, convpool
from torch import nn

from wnrl.normalizers.batch_norm import MeanOnlyBatchNorm


def network(dropout=0.5, noise=0.15):
    torch.manual_seed(0)
    return convpool(3, 10, 96, 192, noise, dropout)


def test_it_has_the_papers_layers_and_size():
    built = network()
    shapes = [tuple(layer.weight.shape) for layer in built if hasattr(layer, "weight")]
    assert shapes == [
        (96, 3, 3, 3),
        *[(96, 96, 3, 3)] * 2,
        (192, 96, 3, 3),
        *[(192, 192, 3, 3)] * 3,
        *[(192, 192, 1, 1)] * 2,
        (10, 192),
    ]
    assert sum(p.numel() for p in built.parameters()) == 1_406_794
    assert built(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
    assert built[:-2](torch.zeros(2, 3, 32, 32)).shape == (2, 192, 6, 6)


def test_the_smallest_images_fit_and_smaller_ones_do_not():
    assert network()(torch.zeros(1, 3, LEAST, LEAST)).shape == (1, 10)
    with pytest.raises(RuntimeError):
        network()(torch.zeros(1, 3, LEAST - 1, LEAST - 1))


def test_noise_has_its_deviation_in_training_alone():
    noise, x = GaussianNoise(0.15), torch.ones(100, 100)
    torch.manual_seed(0)
    assert (noise(x) - x).std().item() == pytest.approx(0.15, rel=0.05)
    assert torch.equal(noise.eval()(x), x)


def test_mean_only_batch_norm_keeps_the_function_and_removes_means_in_training():
    built, x = network(dropout=0, noise=0).eval(), torch.rand(8, 3, 12, 12)
    before = built(x)
    add_mean_only(built)
    torch.testing.assert_close(built.eval()(x), before)
    assert sum(isinstance(layer, MeanOnlyBatchNorm) for layer in built.modules()) == 9
    assert all(layer.bias is None for layer in built.modules() if isinstance(layer, nn.Conv2d))
    built.train()
    first = next(layer for layer in built if isinstance(layer, nn.Sequential))
    torch.testing.assert_close(first(x).mean((0, 2, 3)), first[1].bias.detach())
