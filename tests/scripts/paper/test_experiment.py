from pathlib import Path

import pytest
import torch
from paper.experiment import PaperSettings

from agents.settings.flat import to_json
from tests.scripts.paper.toy import ToySettings


def test_each_norm_is_compared_once_and_all_by_default():
    assert ToySettings().compared == ("none", "weight")
    assert ToySettings(norms=("weight", "none", "weight")).compared == ("weight", "none")


@pytest.mark.parametrize(
    ("changes", "epochs"),
    [({}, 10), ({"scale": "paper"}, 100), ({"epochs": 3}, 3), ({"scale": "paper", "epochs": 3}, 3)],
)
def test_epochs_are_the_scales_but_for_what_is_asked_for(changes, epochs):
    assert ToySettings(**changes).all_epochs == epochs


def test_images_have_the_size_that_is_asked_for_or_else_the_experiments():
    assert ToySettings(examples=3).images(0).images.shape == (3, 1, 8, 8)
    assert ToySettings(examples=3).images(16).images.shape == (3, 1, 16, 16)
    assert ToySettings(examples=3, image_size=12).images(16).images.shape == (3, 1, 12, 12)


def test_settings_are_told_apart_by_their_values():
    """The experiment that is made once for all runs is looked up by them."""
    assert len({ToySettings(), ToySettings(), ToySettings(rate=0.02), ToySettings(out=Path("elsewhere"))}) == 3


def test_settings_are_written_as_json():
    written = to_json(ToySettings(norms=("none",)))
    assert (written["data"], written["norms"], written["out"], written["rate"]) == (
        "digits",
        ["none"],
        "runs/toy",
        0.01,
    )


@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_the_device_is_one_of_torch(device):
    expected = "cuda" if device == "auto" and torch.cuda.is_available() else "cpu"
    assert ToySettings(device=device).torch_device.type == expected


@pytest.mark.parametrize(
    ("wrong", "saying"),
    [
        ({"data": "letters"}, "unknown data set 'letters': choose from digits, mnist, cifar10, frames"),
        ({"norms": ("none", "layer")}, "norm 'layer' is not compared here: choose from none, weight"),
        ({"seeds": 0}, "seeds must be at least 1, got 0"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"jobs": -1}, "jobs must be at least 1, got -1"),
        ({"epochs": -1}, "epochs must not be negative, got -1"),
        ({"examples": -5}, "examples must not be negative, got -5"),
        ({"image_size": -8}, "image_size must not be negative, got -8"),
    ],
)
def test_settings_without_meaning_are_refused(wrong, saying):
    with pytest.raises(ValueError, match=saying):
        ToySettings(**wrong)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="device cuda: torch finds no GPU here; leave --device out"):
        ToySettings(device="cuda")


def test_an_experiment_has_to_say_what_it_is():
    with pytest.raises(NotImplementedError):
        PaperSettings().experiment()
