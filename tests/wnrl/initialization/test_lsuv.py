"""wnrl.initialization.lsuv: layer-sequential unit variance."""

import pytest
import torch
from torch import nn

from tests.wnrl.initialization.test_data import make_network, minibatch, preactivations, seeded
from wnrl.initialization.lsuv import lsuv_init
from wnrl.initialization.weighted_layers import weighted_layers
from wnrl.normalizers.normalize import normalize

FREE = ["none", "weight", "layer", "layer-channels", "mean-batch", "batch", "layer+projected", "weight-clip"]


def naive(network, x):
    """Algorithm 1 of the paper on a plain sequential network whose weights are orthonormal already."""
    for layer in network:
        if hasattr(layer, "weight"):
            layer.bias.data.zero_()
            for _ in range(10):
                variance = layer(x).var(correction=0).item()
                if abs(variance - 1) < 0.1:
                    break
                layer.weight.data /= variance**0.5
        x = layer(x)


@pytest.mark.parametrize("norm", ["none", "weight", "layer", "mean-batch", "batch"])
def test_outputs_of_each_layer_have_variance_1_together_and_weights_are_orthogonal(norm):
    network, x = make_network(norm), minibatch() * 5
    lsuv_init(network, x, generator=seeded())
    network.eval()
    outputs = preactivations(network, x)
    assert len(outputs) == 6
    for t in outputs.values():
        assert t.var(correction=0).item() == pytest.approx(1, abs=0.1)
    assert any((t.var(1, correction=0) - 1).abs().max() > 0.2 for t in outputs.values())  # not unit by unit
    for layer in weighted_layers(network):
        rows = layer.layer.weight.detach().flatten(1)
        product = rows @ rows.T
        torch.testing.assert_close(product, product[0, 0] * torch.eye(len(rows)), rtol=1e-3, atol=1e-4)
        if layer.norm is None:
            assert not layer.layer.bias.any()


def test_the_algorithm_of_the_paper():
    network, x = make_network("none").eval(), minibatch()
    lsuv_init(network, x, generator=seeded())
    generator = seeded()
    twin = make_network("none").eval()
    for layer in twin:
        if hasattr(layer, "weight"):
            nn.init.orthogonal_(layer.weight, generator=generator)
    with torch.no_grad():
        naive(twin, x)
    for one, other in zip(network.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("factor", "scaled"), [(1.04, False), (0.96, False), (1.1, True), (0.9, True)])
def test_outputs_within_the_tolerance_stay_orthonormal(factor, scaled):
    """Inputs of variance factor² through an orthogonal square matrix."""
    x = torch.randn(50_000, 6, generator=seeded(1))
    x = (x - x.mean(0)) / x.std(0, correction=0) * factor
    layer = nn.Linear(6, 6)
    lsuv_init(layer, x, generator=seeded())
    lengths = layer.weight.detach().norm(dim=1)
    torch.testing.assert_close(lengths, torch.full((6,), 1 / factor if scaled else 1.0), rtol=0.01, atol=0)


@pytest.mark.parametrize("norm", ["none", "weight"])
def test_more_outputs_than_inputs_have_orthonormal_columns(norm):
    layer, x = normalize(nn.Linear(3, 8), norm), torch.randn(400, 3) * 7 + 2
    lsuv_init(layer, x)
    columns = layer.weight.detach().T @ layer.weight.detach()
    torch.testing.assert_close(columns, columns[0, 0] * torch.eye(3), rtol=1e-3, atol=1e-4)


def test_constant_outputs_are_named_and_stay_orthonormal():
    network = nn.Sequential(nn.Linear(4, 4), nn.Threshold(1e9, 0.0), nn.Linear(4, 3))
    with pytest.warns(UserWarning, match="outputs of layer '2' are constant .* its weights stay orthonormal") as told:
        lsuv_init(network, torch.randn(20, 4))
    assert told[0].filename == __file__
    torch.testing.assert_close(network[2].weight @ network[2].weight.T, torch.eye(3), rtol=1e-4, atol=1e-5)


def test_outputs_that_differ_by_rounding_alone_are_constant():
    class NearlyConstant(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(8, 1)

        def forward(self, x):
            constant = torch.full_like(x, 0.1)
            constant[0, 0] = 0.1 + 1e-7
            return self.layer(constant)

    network = NearlyConstant()
    with pytest.warns(UserWarning, match="outputs of layer 'layer' are constant"):
        lsuv_init(network, torch.randn(301, 8, generator=seeded()), generator=seeded())
    assert network.layer.weight.norm().item() == pytest.approx(1)


def test_what_is_not_finite_is_refused_and_everything_stays():
    network = make_network()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    x = minibatch()
    x[3] = float("inf")
    with pytest.raises(ValueError, match="pre-activations of layer '0' are not finite"):
        lsuv_init(network, x)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
