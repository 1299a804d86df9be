import pytest
import torch
from torch import nn

from wnrl.diagnostics import norm_figures
from wnrl.normalizers import normalize


@pytest.mark.parametrize("units", ["sqrt", "paper"])
def test_figures_by_hand_in_the_papers_units(units):
    network = normalize(nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1)), "weight", units=units)
    with torch.no_grad():
        network[0].v.copy_(torch.tensor([[3.0, 4.0], [0.0, 1.0]]))  # norms 5 and 1
        network[0].g.copy_(torch.tensor([10.0, 2.0]) / network[0].scale)  # row norms of w: 10 and 2
    figures = norm_figures(network, 0.5)
    assert figures["norm/0/g"].item() == pytest.approx(6)
    assert figures["norm/0/v_norm"].item() == pytest.approx(3)
    assert figures["norm/0/effective_lr"].item() == pytest.approx(0.5 * (10 / 5 + 2 / 1) / 2)
    assert {name.split("/")[1] for name in figures} == {"0", "2"}


def test_a_step_on_v_moves_w_by_the_effective_learning_rate():
    layer = normalize(nn.Linear(50, 1, bias=False), "weight")
    figures = norm_figures(layer, 1e-4)
    with torch.no_grad():
        layer.v.mul_(4)
    assert norm_figures(layer, 1e-4)["norm//effective_lr"].item() == pytest.approx(
        figures["norm//effective_lr"].item() / 4
    )
    before, direction = layer.weight.clone(), torch.randn(1, 50)
    direction -= layer.v * (direction * layer.v).sum() / layer.v.square().sum()  # at right angles to v
    with torch.no_grad():
        layer.v.add_(1e-4 * direction)
    moved = (layer.weight - before).norm() / direction.norm()
    assert moved.item() == pytest.approx(norm_figures(layer, 1e-4)["norm//effective_lr"].item(), rel=1e-3)


def test_convolutions_have_figures_over_all_of_a_filter():
    network = normalize(nn.Sequential(nn.Conv2d(2, 3, 4)), "weight")
    assert norm_figures(network, 1.0)["norm/0/v_norm"].item() == pytest.approx(
        network[0].v.flatten(1).norm(dim=1).mean().item()
    )


def test_figures_are_0_dim_without_gradient():
    figures = norm_figures(normalize(nn.Linear(2, 2), "weight"), 0.1)
    assert all(value.ndim == 0 and not value.requires_grad for value in figures.values())


def test_a_zero_row_stays_finite():
    layer = normalize(nn.Linear(3, 2), "weight")
    with torch.no_grad():
        layer.v[0] = 0
    assert all(value.isfinite() for value in norm_figures(layer, 0.1).values())


def test_plain_layers_have_none():
    assert norm_figures(nn.Sequential(nn.Linear(2, 2)), 0.1) == {}
    network = normalize(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1)), "weight", normalize_output=False)
    assert {name.split("/")[1] for name in norm_figures(network, 0.1)} == {"0"}
