"""wnrl.networks.noisy: the layer against a twin that builds the noise matrix, and the statistics of its draws."""

import copy
import math
import pickle
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from wnrl.networks.noisy import Noise, NoisyLinear
from wnrl.normalizers.conversions import NORMALIZERS
from wnrl.normalizers.folding import fold, refresh
from wnrl.normalizers.normalize import normalize
from wnrl.weight_norm.dense import WeightNormLinear
from wnrl.weight_norm.normalized_layer import NormalizedLayer


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def naive(layer, x):
    """Equation 9, matrix and all."""
    noise = torch.outer(layer.noise_out, layer.noise_in)
    weight = layer.mean.weight + layer.sigma_weight * noise
    bias = None if layer.mean.bias is None else layer.mean.bias + layer.sigma_bias * layer.noise_out
    return F.linear(x, weight, bias)


def implied_noise(layer):
    """The matrix ε_w `[out, in]` and the vector ε_b `[out]`, read off the layer's function."""
    basis = torch.eye(layer.in_features, dtype=layer.noise_in.dtype)
    zero = torch.zeros_like(basis[:1])
    with torch.no_grad():
        constant = layer(zero) - layer.mean(zero)
        matrix = layer(basis) - layer.mean(basis) - constant
    return matrix.T / layer.sigma_weight, constant[0] / layer.sigma_bias


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.tuples(st.integers(1, 9), st.integers(1, 7)),
    leading=st.sampled_from([(), (4,), (2, 3)]),
    bias=st.booleans(),
    seed=st.integers(0, 99),
)
def test_equal_to_the_naive_twin_with_its_gradients(sizes, leading, bias, seed):
    torch.manual_seed(seed)
    layer = NoisyLinear(*sizes, bias=bias, dtype=torch.float64)
    for sigma in (p for name, p in layer.named_parameters() if "sigma" in name):
        nn.init.normal_(sigma)
    x = torch.randn(*leading, sizes[0], dtype=torch.float64, requires_grad=True)
    inputs = [x, *layer.parameters()]
    ours, theirs = layer(x), naive(layer, x)
    torch.testing.assert_close(ours, theirs)
    weights = torch.randn_like(ours)
    for a, b in zip(*(torch.autograd.grad((y * weights).sum(), inputs) for y in (ours, theirs)), strict=True):
        torch.testing.assert_close(a, b)


def test_the_noise_is_factorised():
    layer = NoisyLinear(7, 5, dtype=torch.float64)
    matrix, vector = implied_noise(layer)
    assert torch.linalg.matrix_rank(matrix) == 1
    torch.testing.assert_close(matrix, torch.outer(layer.noise_out, layer.noise_in))
    torch.testing.assert_close(vector, layer.noise_out)
    assert torch.linalg.matrix_rank(torch.randn(5, 7)) == 5  # what independent noise would have


def test_the_noise_is_f_of_a_normal_draw():
    layer = NoisyLinear(4, 3)
    layer.reset_noise(generator(5))
    twin = generator(5)
    for noise, size in ((layer.noise_in, 4), (layer.noise_out, 3)):
        draw = torch.empty(size).normal_(generator=twin)
        torch.testing.assert_close(noise * noise.abs(), draw)  # f's inverse


def test_statistics_of_the_draws():
    layer, draws = NoisyLinear(300, 200), []
    for seed in range(20):
        layer.reset_noise(generator(seed))
        draws.append(torch.cat([layer.noise_in, layer.noise_out]))
    noise = torch.stack(draws)  # f(ε) has mean 0, variance E|ε| and fourth moment E ε² = 1
    assert noise.mean().abs() < 0.03
    assert (noise**2).mean() == pytest.approx(math.sqrt(2 / math.pi), abs=0.03)
    assert (noise**4).mean() == pytest.approx(1.0, abs=0.05)
    assert torch.corrcoef(noise).fill_diagonal_(0).abs().max() < 0.25  # no two draws alike


def test_parameters_start_as_in_the_paper():
    layer = NoisyLinear(400, 300, sigma=0.4)
    bound = 1 / math.sqrt(400)
    for mean in (layer.mean.weight, layer.mean.bias):
        assert mean.abs().max() <= bound
        assert mean.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.1)
    for sigma in (layer.sigma_weight, layer.sigma_bias):
        torch.testing.assert_close(sigma, torch.full_like(sigma, 0.4 / 20))
    assert NoisyLinear(4, 3).sigma_weight[0, 0] == 0.25
    assert (layer.sigma_weight.shape, layer.sigma_bias.shape) == ((300, 400), (300,))


def test_there_is_noise_from_the_start():
    layer, x = NoisyLinear(4, 3), torch.randn(2, 4)
    assert layer.noise_in.all()
    assert layer.noise_out.all()
    assert not torch.allclose(layer(x), layer.mean(x))


def test_evaluation_is_without_noise():
    layer, x = NoisyLinear(4, 3).eval(), torch.randn(2, 4)
    assert torch.equal(layer(x), layer.mean(x))


def test_noise_stays_until_it_is_drawn_again():
    layer, x = NoisyLinear(4, 3), torch.randn(2, 4)
    before, storage = layer(x), layer.noise_in.data_ptr()
    assert torch.equal(layer(x), before)
    layer.reset_noise()
    assert not torch.allclose(layer(x), before)
    assert layer.noise_in.data_ptr() == storage  # a captured graph sees the new draw


def test_without_a_bias_zero_stays_zero():
    layer = NoisyLinear(4, 3, bias=False)
    assert torch.equal(layer(torch.zeros(2, 4)), torch.zeros(2, 3))
    assert {name for name, _ in layer.named_parameters()} == {"mean.weight", "sigma_weight"}


def test_a_noise_drawn_between_forward_and_backward_is_an_error():
    layer = NoisyLinear(4, 3)
    loss = layer(torch.randn(2, 4)).sum()
    layer.reset_noise()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_type_is_that_asked_for(dtype):
    layer = NoisyLinear(4, 3, dtype=dtype)
    assert {tensor.dtype for tensor in layer.state_dict().values()} == {dtype}
    assert layer(torch.randn(2, 4, dtype=dtype)).dtype == dtype


def test_outputs_take_the_type_of_autocast():
    layer, x = NoisyLinear(4, 3), torch.randn(2, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = layer(x)
        assert layer(y.repeat(1, 2)[:, :4]).dtype == torch.bfloat16
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), layer(x), rtol=0.1, atol=0.05)


def test_only_the_mean_is_weight_normalized():
    layer, x = nn.Sequential(NoisyLinear(4, 3)), torch.randn(2, 4)
    before = layer(x)
    normalize(layer, "weight")
    noisy = layer[0]
    assert type(noisy) is NoisyLinear
    assert type(noisy.mean) is WeightNormLinear
    assert {name for name, _ in noisy.named_parameters()} == {
        "mean.g",
        "mean.v",
        "mean.bias",
        "sigma_weight",
        "sigma_bias",
    }
    torch.testing.assert_close(layer(x), before)
    torch.testing.assert_close(layer(x), naive(noisy, x))


OF_OUTPUTS = ["batch", "layer", "layer-channels", "layer+projected", "batch+projected"]


def noisy_network():
    return nn.Sequential(nn.Linear(6, 4), nn.ReLU(), NoisyLinear(4, 4), nn.ReLU(), NoisyLinear(4, 3))


@pytest.mark.parametrize("norm", OF_OUTPUTS)
def test_normalizers_of_outputs_are_refused_since_the_mean_is_not_the_output(norm):
    network = noisy_network()
    before = {name: type(module) for name, module in network.named_modules()}
    message = (
        rf"^'{re.escape(norm)}' cannot normalize the outputs of layer '2', a NoisyLinear, whose 'mean' is only one"
    )
    for layers in (None, ["2.mean"], lambda name, layer: True):
        with pytest.raises(ValueError, match=message):
            normalize(network, norm, layers=layers)
    assert {name: type(module) for name, module in network.named_modules()} == before
    normalize(network, norm, layers=["0"])  # a layer that is not noisy
    assert isinstance(network[0], NormalizedLayer)
    normalize(nn.Sequential(nn.Linear(6, 4), NoisyLinear(4, 3)), norm)  # whose noisy layer stays plain


@pytest.mark.parametrize("norm", [norm for norm in NORMALIZERS if norm not in (*OF_OUTPUTS, "none")])
def test_other_normalizers_take_the_mean_and_leave_the_noise(norm):
    network = normalize(noisy_network(), norm)
    layer, x = network[2], torch.randn(5, 4)
    assert isinstance(layer.mean, NormalizedLayer)
    network.eval()
    mean = layer(x)
    for module in network.modules():
        module.training = isinstance(module, NoisyLinear)
    noise = F.linear(x * layer.noise_in, layer.sigma_weight, layer.sigma_bias) * layer.noise_out
    torch.testing.assert_close(layer(x), mean + noise)


def test_another_draw_leaves_a_normalized_mean_as_it_is():
    layer = normalize(nn.Sequential(NoisyLinear(4, 3)), "weight")[0]
    norms = layer.mean.weight.norm(dim=1)
    implied = implied_noise(layer)[0].clone()
    layer.reset_noise()
    torch.testing.assert_close(layer.mean.weight.norm(dim=1), norms)
    assert not torch.allclose(implied_noise(layer)[0], implied)


def test_folded_copies_follow_with_their_noise():
    network, x = normalize(nn.Sequential(NoisyLinear(4, 3)), "weight"), torch.randn(2, 4)
    folded = fold(network)
    torch.testing.assert_close(folded(x), network(x))
    Noise(network, generator(0)).draw()
    nn.init.ones_(network[0].sigma_weight)
    assert not torch.allclose(folded(x), network(x))
    refresh(folded, network)
    torch.testing.assert_close(folded(x), network(x))


def test_copies_and_state_dicts_keep_the_noise():
    layer, x = NoisyLinear(4, 3), torch.randn(2, 4)
    other = NoisyLinear(4, 3)
    other.load_state_dict(layer.state_dict())
    for copied in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), other):
        assert torch.equal(copied(x), layer(x))


def test_a_draw_reaches_every_noisy_layer_and_depends_on_the_generator_alone():
    network = nn.Sequential(NoisyLinear(4, 3), nn.Sequential(nn.Linear(3, 3), NoisyLinear(3, 2)))
    before = [buffer.clone() for buffer in network.buffers()]
    state = torch.random.get_rng_state()
    Noise(network, generator(1)).draw()
    first = [buffer.clone() for buffer in network.buffers()]
    assert len(first) == 4
    assert not any(torch.equal(a, b) for a, b in zip(before, first, strict=True))
    Noise(network, generator(1)).draw()
    assert all(torch.equal(a, b) for a, b in zip(first, network.buffers(), strict=True))
    assert torch.equal(torch.random.get_rng_state(), state)


def test_noise_is_true_where_there_is_a_noisy_layer():
    assert Noise(nn.Sequential(nn.Linear(2, 2), NoisyLinear(2, 2)), generator(0))
    assert not Noise(nn.Linear(2, 2), generator(0))


def test_a_network_without_noise_stays_as_it_is():
    network = nn.Linear(2, 2)
    state = torch.random.get_rng_state()
    Noise(network, generator(0)).draw()
    assert torch.equal(torch.random.get_rng_state(), state)


def test_repr_says_the_sizes():
    assert "in_features=4, out_features=3, bias=False" in repr(NoisyLinear(4, 3, bias=False))
