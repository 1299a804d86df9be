"""wnrl.weight_norm.read_only_weight: the weight that a layer shows is read, not written."""

import copy
import io

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from wnrl.weight_norm.dense import WeightNormLinear


@pytest.mark.parametrize(
    "write",
    [
        lambda layer: nn.init.orthogonal_(layer.weight),
        lambda layer: nn.init.kaiming_uniform_(layer.weight),
        lambda layer: nn.init.xavier_normal_(layer.weight),
        lambda layer: nn.init.zeros_(layer.weight),
        lambda layer: layer.weight.data.mul_(2),
        lambda layer: layer.weight.detach()[0].fill_(0),
        lambda layer: layer.weight.__setitem__(0, 0.0),
        lambda layer: torch.zeros(5, 6, out=layer.weight),
        lambda layer: setattr(layer.weight, "data", torch.zeros(5, 6)),
    ],
)
def test_writing_to_the_effective_weight_is_an_error(write):
    layer = WeightNormLinear(6, 5)
    with pytest.raises(TypeError, match="set_weight"), torch.no_grad():
        write(layer)


def test_reading_the_effective_weight_gives_ordinary_tensors():
    layer = WeightNormLinear(6, 5)
    y = F.linear(torch.ones(1, 6), layer.weight)
    assert type(y) is torch.Tensor
    assert type(layer.weight.clone()) is torch.Tensor
    y.relu_().sum().backward()
    assert layer.v.grad is not None
    plain = nn.Linear(6, 5)
    plain.weight.data.copy_(layer.weight)
    assert torch.equal(plain.weight, layer.effective_weight())
    layer.weight.clone().mul_(2)


def test_copies_and_files_hold_ordinary_tensors():
    layer = WeightNormLinear(6, 5)
    weight = layer.weight.detach()
    file = io.BytesIO()
    torch.save({"weight": weight}, file)
    file.seek(0)
    for other in (copy.deepcopy(weight), torch.load(file, weights_only=True)["weight"]):
        assert type(other) is torch.Tensor
        assert torch.equal(other, layer.effective_weight())
        assert torch.equal(other.mul_(0), torch.zeros(5, 6))
    assert layer.weight.any()
