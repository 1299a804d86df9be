"""scripts/paper/image/image_experiment.py"""

import pytest
import torch
from paper.image.image_experiment import ImageExperiment, ImageSettings
from torch import nn

NORMS = ImageSettings.known_norms


@pytest.fixture(scope="module")
def experiment():
    return ImageExperiment(ImageSettings(dropout=0.0, noise=0.0, epochs=200))


def built(experiment, norm):
    torch.manual_seed(0)
    return experiment.build(norm, torch.Generator().manual_seed(1))


def test_all_norms_begin_as_the_same_function(experiment):
    x = experiment._training[:500]
    outputs = [built(experiment, norm).train()(x) for norm in NORMS]
    for norm, output in zip(NORMS, outputs, strict=True):
        torch.testing.assert_close(output, outputs[0], atol=2e-3, rtol=0, msg=norm)


def test_the_first_minibatch_has_means_0_and_variances_1(experiment):
    network, seen = built(experiment, "none"), {}
    for layer in network:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(lambda layer, _, out: seen.__setitem__(layer, out.transpose(0, 1).flatten(1)))
    network(experiment._training[:500])
    assert len(seen) == 10
    for out in seen.values():
        torch.testing.assert_close(out.mean(1), torch.zeros(len(out)), atol=1e-3, rtol=0)
        torch.testing.assert_close(out.std(1, correction=0), torch.ones(len(out)), atol=1e-2, rtol=0)


def test_the_schedule_is_the_papers(experiment):
    for norm, rate in (("weight", 0.003), ("none", 0.0003)):
        optimizer = experiment.optimizer(built(experiment, norm), norm)
        found = []
        for epoch in (0, 99, 100, 101, 150, 199):
            experiment.adjust(optimizer, norm, epoch)
            found.append((optimizer.param_groups[0]["lr"] / rate, optimizer.param_groups[0]["betas"][0]))
        rates, betas = zip(*found, strict=True)
        assert rates == pytest.approx((1, 1, 1, 0.99, 0.5, 0.01))
        assert betas == (0.9, 0.9, 0.5, 0.5, 0.5, 0.5)


def test_metrics_are_shares_and_nats(experiment):
    network = nn.Sequential(nn.Flatten(), nn.Linear(256, 10))
    nn.init.zeros_(network[1].weight), nn.init.zeros_(network[1].bias)
    with torch.no_grad():
        measured = experiment.evaluate(network)
    assert measured["test/loss"] == pytest.approx(2.302585)
    zeros = (experiment._test_labels == 0).float().mean().item()
    assert measured["test/error"] == pytest.approx(1 - zeros)
    assert experiment.loss(network, torch.arange(100))["loss"].item() == pytest.approx(2.302585)


@pytest.mark.parametrize(
    ("changes", "saying"),
    [
        ({"image_size": 8}, "images of 8 x 8 are too small for ConvPool-CNN-C: take --image-size 12 or more"),
        ({"data": "imagenet"}, "unknown data set 'imagenet': choose from digits, mnist, cifar10, frames"),
        ({"norms": ("layer",)}, "norm 'layer' is not compared here: choose from none, weight, mean-only"),
        ({"examples": 2000}, "digits has 1,437 training images, 2,000 were asked for"),
        ({"dropout": 1.0}, "noise must not be negative and dropout in"),
        ({"learning_rate": 0.0}, "learning rates must be positive"),
    ],
)
def test_bad_settings_are_one_line(changes, saying):
    with pytest.raises(ValueError, match=saying):
        ImageSettings(**changes).experiment()
