import pytest
import torch
from paper.command import complete
from paper.vae.vae_experiment import VAESettings

SMALL = {"examples": 200, "features": 6, "latents": 2}


@pytest.mark.parametrize(("data", "pixels", "binary"), [("digits", "", True), ("cifar10", "", False)])
def test_pixels_are_as_the_data_ask(data, pixels, binary):
    assert VAESettings(data=data, pixels=pixels).binary == binary
    assert not VAESettings(data="mnist", pixels="logistic").binary


def test_sizes_are_the_scales_but_for_what_is_asked_for():
    sizes = VAESettings(scale="paper", blocks=3).sizes
    assert (sizes.features, sizes.latents, sizes.levels, sizes.blocks, sizes.flow_steps) == (160, 32, 2, 3, 1)
    assert VAESettings(posterior="gaussian").sizes.flow_steps == 0


@pytest.mark.parametrize("pixels", ["bernoulli", "logistic"])
def test_norms_start_as_the_same_function(pixels):
    experiment = VAESettings(**SMALL, pixels=pixels).experiment()
    bounds = []
    for norm in ("none", "weight"):
        torch.manual_seed(0)
        network = experiment.build(norm, torch.Generator().manual_seed(1))
        torch.manual_seed(2)
        bounds.append(experiment.loss(network, torch.arange(50))["bound"])
    torch.testing.assert_close(*bounds, rtol=1e-3, atol=1e-3)


def test_pictures():
    experiment = VAESettings(**SMALL).experiment()
    network = experiment.build("weight", torch.Generator().manual_seed(1))
    with torch.no_grad():
        pictures = experiment.pictures(network)
    assert {name: tuple(picture.shape) for name, picture in pictures.items()} == {
        "reconstructions": (1, 2 * 33, 16 * 33),
        "samples": (1, 4 * 33, 16 * 33),
    }


def test_a_study_runs_and_is_not_repeated(tmp_path):
    settings = VAESettings(**SMALL, epochs=2, seeds=1, device="cpu", out=tmp_path)
    text = complete(settings)
    assert "| weight | -" in text
    lines = (tmp_path / "summary.csv").read_text().splitlines()
    assert len(lines) == 5
    assert {"test/bound", "test/bits_per_dimension", "train/bound"} <= set(lines[0].split(","))
    assert complete(settings) == text


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"learning_rate": 0.0}, "learning_rate must be positive"),
        ({"free_nats": -1.0}, "free_nats must not be negative, got -1"),
        ({"norms": ("batch",)}, "'batch' is not compared here: choose from none, weight"),
        ({"data": "letters"}, "unknown data set 'letters'"),
    ],
)
def test_settings_without_meaning_are_refused(wrong, words):
    with pytest.raises(ValueError, match=words):
        VAESettings(**wrong)


def test_images_that_cannot_be_halved_are_refused():
    with pytest.raises(ValueError, match="images of 8 × 8 cannot be halved 4 times"):
        VAESettings(levels=4).experiment()
