import hashlib
import math
import sys

import pytest
import torch
from rate_study.digits import TASKS, PixelLSTM, convolutional_network, read_digits
from torch.nn import functional as F

from wnrl import normalize


def test_the_data_are_the_same_everywhere():
    images, labels = read_digits()
    assert (images.shape, labels.shape) == ((1797, 8, 8), (1797,))
    bytes_ = torch.cat([images.flatten(), labels]).to(torch.uint8).numpy().tobytes()
    assert hashlib.sha256(bytes_).hexdigest() == "87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826"


@pytest.mark.parametrize("name", TASKS)
def test_every_fifth_image_is_held_out(name):
    task, (images, _) = TASKS[name](), read_digits()
    assert (len(task.training.inputs), len(task.held_out.inputs)) == (1437, 360)
    shown = task.held_out.inputs[1].float()
    fifth = images[5].float() / 8 - 1 if name == "digits" else images[5].float()
    assert torch.equal(shown.flatten(), fifth.flatten())


@pytest.mark.parametrize("name", TASKS)
def test_logits_fit_the_targets_and_all_norms_have_a_meaning(name):
    task = TASKS[name]()
    inputs, targets = (x[:3] for x in task.training)
    for norm in task.norms:
        network = normalize(task.make_network(), norm)
        assert F.cross_entropy(network(inputs), targets).isfinite()
    assert task.chance == pytest.approx(math.log({"digits": 10, "sequence": 17}[name]))


def test_the_networks_have_the_sizes_that_are_told():
    assert sum(p.numel() for p in convolutional_network().parameters()) == 65_730
    assert PixelLSTM().core.hidden_size == 128


def test_a_pixel_is_predicted_from_those_before_it_alone():
    torch.manual_seed(0)
    network, pixels = PixelLSTM(units=8), torch.randint(17, (2, 10))
    changed = pixels.clone()
    changed[:, 4] = (pixels[:, 4] + 1) % 17
    difference = (network(changed) - network(pixels)).abs().amax(dim=(0, 1))  # [T]
    assert torch.equal(difference > 0, torch.arange(10) > 4)
    assert network(pixels).shape == (2, 17, 10)


def test_without_scikit_learn_one_line_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ValueError, match=r'scikit-learn: pip install "wnrl\[report\]"'):
        read_digits()
