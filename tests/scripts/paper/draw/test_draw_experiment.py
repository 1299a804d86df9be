import pytest
import torch
from paper.command import complete
from paper.draw.draw_experiment import DrawSettings

SMALL = {"examples": 200, "lstm": 8, "latents": 2, "steps": 3}


def test_sizes_are_the_scales_but_for_what_is_asked_for():
    sizes = DrawSettings(scale="paper", lstm=32).sizes
    assert (sizes.steps, sizes.units, sizes.latents, sizes.read, sizes.write) == (64, 32, 100, 2, 5)
    assert (DrawSettings(attention=False).sizes.read, DrawSettings(attention=False).sizes.write) == (0, 0)


@pytest.mark.parametrize("attention", [True, False])
def test_norms_start_as_the_same_function(attention):
    experiment = DrawSettings(**SMALL, attention=attention).experiment()
    bounds = []
    for norm in ("none", "weight"):
        torch.manual_seed(0)
        network = experiment.build(norm, torch.Generator())
        bounds.append(experiment.loss(network, torch.arange(50))["bound"])
    torch.testing.assert_close(*bounds)


def test_the_canvas_is_a_film():
    experiment = DrawSettings(**SMALL).experiment()
    with torch.no_grad():
        pictures = experiment.pictures(experiment.build("weight", torch.Generator()))
    assert {name: tuple(picture.shape) for name, picture in pictures.items()} == {
        "canvas/reconstructions": (3, 1, 4 * 33, 8 * 33),
        "canvas/samples": (3, 1, 4 * 33, 8 * 33),
        "samples": (1, 4 * 33, 8 * 33),
    }
    assert torch.equal(pictures["canvas/samples"][-1], pictures["samples"])


def test_a_study_runs_and_is_not_repeated(tmp_path):
    settings = DrawSettings(**SMALL, epochs=2, seeds=1, device="cpu", out=tmp_path)
    text = complete(settings)
    assert "| weight | -" in text
    assert len((tmp_path / "summary.csv").read_text().splitlines()) == 5
    assert complete(settings) == text


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"data": "cifar10"}, "data must be digits or mnist, got 'cifar10'"),
        ({"learning_rate": -1.0}, "learning_rate must be positive"),
        ({"steps": -1}, "steps must not be negative, got -1"),
    ],
)
def test_settings_without_meaning_are_refused(wrong, words):
    with pytest.raises(ValueError, match=words):
        DrawSettings(**wrong)
