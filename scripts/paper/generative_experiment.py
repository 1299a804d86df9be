"""What the generative experiments of the paper share: binarized images, the bound as loss, and its measurement."""

from __future__ import annotations

import torch
from paper.bound import bits_per_dimension
from paper.data.image_set import ImageSet
from paper.likelihoods import binarize
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

TEST_BATCH = 500


class GenerativeExperiment:
    """Images on the device; the network maps a minibatch to its `Bound`.

    Args:
        images: the data set.
        device: where to train.
        binary: whether pixels are binarized, those of training again for each minibatch, those for tests once.
        free_nats: see `Bound.loss`.

    Attributes `examples`, `training` and `test`: number of training images, and both sets, from 0 to 1; `remark`: that
    of the data set.
    """

    def __init__(self, images: ImageSet, device: torch.device, *, binary: bool, free_nats: float = 0.0) -> None:
        self.examples, self.remark = len(images.images), images.remark
        self.training, test = (part.float() / (images.levels - 1) for part in (images.images, images.test_images))
        self.training = self.training.to(device)
        self.test = (binarize(test, torch.Generator().manual_seed(0)) if binary else test).to(device)
        self._binary, self._free_nats = binary, free_nats

    def minibatch(self, rows: Tensor) -> Tensor:
        """Training images `[B, C, H, W]`, binarized where pixels are."""
        images = self.training[rows.to(self.training.device)]
        return binarize(images) if self._binary else images

    def adjust(self, optimizer: Optimizer, norm: str, epoch: int) -> None:
        """Nothing: the learning rate is constant."""

    def loss(self, network: nn.Module, rows: Tensor) -> dict[str, Tensor]:
        """Minus the mean bound, with free nats; and the bound itself, nats."""
        bound = network(self.minibatch(rows))
        return {"loss": bound.loss(self._free_nats), "bound": bound.nats.mean()}

    def evaluate(self, network: nn.Module) -> dict[str, float]:
        """The mean bound of the test images, in nats and in bits per dimension, and the divergence in it."""
        bounds = [network(part) for part in self.test.split(TEST_BATCH)]
        nats = float(torch.cat([bound.nats for bound in bounds]).mean())
        return {
            "test/bound": nats,
            "test/bits_per_dimension": bits_per_dimension(nats, self.test[0].numel()),
            "test/divergence": float(torch.cat([bound.divergence.sum(1) for bound in bounds]).mean()),
        }


def grid(images: Tensor, columns: int) -> Tensor:
    """One picture `[C, H', W']` of images `[N, C, H, W]` in rows of so many, a pixel apart; small ones are enlarged.

    C is 1 or 3 in the picture: of other images, such as stacks of frames, the last channel is shown. Films
    `[T, N, C, H, W]` become `[T, C, H', W']`.
    """
    if images.ndim == 5:
        return torch.stack([grid(each, columns) for each in images])
    images = images if images.shape[1] in (1, 3) else images[:, -1:]
    factor = max(1, 32 // images.shape[-1])
    padded = F.pad(images.repeat_interleave(factor, 2).repeat_interleave(factor, 3), (0, 1, 0, 1), value=0.5)
    rows = [torch.cat(list(part), 2) for part in padded.split(columns)]
    return torch.cat(rows, 1)
