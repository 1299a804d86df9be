"""wnrl.normalizers.spectral_norm: w/σ(w) by the power method."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from wnrl.networks.architecture import Architecture
from wnrl.networks.q_network import q_network
from wnrl.normalizers.normalize import normalize
from wnrl.normalizers.spectral_norm import SpectralNormalized

LAYERS = {
    "linear": lambda: (nn.Linear(5, 4), torch.randn(3, 5)),
    "conv": lambda: (nn.Conv2d(4, 6, 3), torch.randn(2, 4, 5, 5)),
    "transposed": lambda: (nn.ConvTranspose2d(4, 6, 3), torch.randn(2, 4, 5, 5)),
}


@pytest.fixture(params=LAYERS)
def plain_and_input(request):
    torch.manual_seed(0)
    return LAYERS[request.param]()


def matrix(layer, weight):
    """`[out, rest]`, for layers without groups."""
    return weight.transpose(0, 1).flatten(1) if isinstance(layer, nn.ConvTranspose2d) else weight.flatten(1)


def largest(layer, weight):
    return torch.linalg.svdvals(matrix(layer, weight.detach().double()))[0].item()


def passes(layer, x, count):
    for _ in range(count):
        layer(x)
    return layer


def test_literal_numbers():
    plain = nn.Linear(2, 2)
    with torch.no_grad():
        plain.weight.copy_(torch.tensor([[3.0, 0.0], [0.0, 1.0]]))
        plain.bias.copy_(torch.tensor([5.0, 6.0]))
    layer = SpectralNormalized.convert(plain)
    torch.testing.assert_close(layer(torch.tensor([[3.0, 3.0]])), torch.tensor([[8.0, 7.0]]))  # the bias is free


def test_sigma_is_the_largest_singular_value_after_some_passes(plain_and_input):
    plain, x = plain_and_input
    with torch.no_grad():
        plain.weight.mul_(7)
    layer = passes(SpectralNormalized.convert(plain), x, 100)
    sigma = largest(layer, layer.weight_orig)
    assert sigma > 3
    assert largest(layer, layer.effective_weight()) == pytest.approx(1, rel=1e-4)
    torch.testing.assert_close(layer.effective_weight() * sigma, layer.weight_orig, rtol=1e-4, atol=0)


def test_transposed_convolutions_with_groups_have_a_row_for_every_output_channel():
    plain = nn.ConvTranspose2d(4, 6, 3, groups=2)
    layer = passes(SpectralNormalized.convert(plain), torch.randn(2, 4, 5, 5), 100)
    weight = layer.weight_orig
    by_row = torch.cat([weight[:2].transpose(0, 1), weight[2:].transpose(0, 1)]).flatten(1)  # [6, 2·9]
    expected = weight / torch.linalg.svdvals(by_row.detach())[0]
    torch.testing.assert_close(layer.effective_weight(), expected, rtol=1e-4, atol=1e-6)


def test_equal_to_torch_from_the_same_state(plain_and_input):
    plain, x = plain_and_input
    plain.double()
    ours, theirs = SpectralNormalized.convert(copy.deepcopy(plain)), spectral_norm(copy.deepcopy(plain))
    w = matrix(plain, plain.weight)
    with torch.no_grad():
        ours.running_u.normal_()  # far from converged
        ours.running_u.div_(ours.running_u.norm())
        theirs.parametrizations.weight[0]._v.copy_(nn.functional.normalize(w.t() @ ours.running_u, dim=0))
    for _ in range(3):
        actual, expected = ours(x.double()), theirs(x.double())
        torch.testing.assert_close(actual, expected)
        grads = torch.autograd.grad(actual.square().sum(), list(ours.parameters()))
        theirs_grads = torch.autograd.grad(expected.square().sum(), list(theirs.parameters()))
        torch.testing.assert_close(sorted(grads, key=torch.numel), sorted(theirs_grads, key=torch.numel))
        torch.testing.assert_close(ours.running_u, theirs.parametrizations.weight[0]._u)
    torch.testing.assert_close(ours.eval()(x.double()), theirs.eval()(x.double()))


def test_gradient_is_equation_12(plain_and_input):
    plain, _ = plain_and_input
    layer = SpectralNormalized.convert(plain.double())
    with torch.no_grad():
        layer.running_u.normal_()  # holds with vectors that have not converged, too
    layer.running_u.div_(layer.running_u.norm())
    layer.eval()
    weight = layer.effective_weight()
    upstream = torch.randn_like(weight)
    (actual,) = torch.autograd.grad(weight, layer.weight_orig, upstream)
    w, u, g = matrix(plain, layer.weight_orig).detach(), layer.running_u, matrix(plain, upstream)
    v = w.t() @ u / (w.t() @ u).norm()
    sigma = u @ w @ v
    torch.testing.assert_close(matrix(plain, actual), (g - (g * w).sum() / sigma * torch.outer(u, v)) / sigma)


def test_gradient_is_that_of_the_exact_function_once_the_power_method_has_converged(plain_and_input):
    plain, x = plain_and_input
    layer = passes(SpectralNormalized.convert(plain.double()), x.double(), 300)
    upstream = torch.randn_like(layer.weight_orig)
    (actual,) = torch.autograd.grad((layer.effective_weight() * upstream).sum(), layer.weight_orig)

    def exact(weight):
        return ((weight * upstream).sum() / torch.linalg.svdvals(matrix(plain, weight))[0]).item()

    weight, step = layer.weight_orig.detach(), 1e-6
    for index in torch.randperm(weight.numel())[:10].tolist():
        change = torch.zeros_like(weight)
        change.view(-1)[index] = step
        numeric = (exact(weight + change) - exact(weight - change)) / (2 * step)
        assert actual.flatten()[index].item() == pytest.approx(numeric, rel=1e-4, abs=1e-6)


def test_state_moves_in_training_only(plain_and_input):
    plain, x = plain_and_input
    layer = SpectralNormalized.convert(plain)
    with torch.no_grad():
        layer.running_u.normal_()
    state = copy.deepcopy(layer.state_dict())
    passes(layer.eval(), x, 2)
    layer.fold(), layer.folded()
    torch.testing.assert_close(layer.state_dict(), state, rtol=0, atol=0)
    with torch.no_grad():
        passes(layer.train(), x, 1)
    assert not torch.equal(layer.running_u, state["running_u"])


def test_training_passes_follow_a_weight_that_moves():
    torch.manual_seed(0)
    layer, x = SpectralNormalized.convert(nn.Linear(20, 10)), torch.randn(3, 20)
    with torch.no_grad():
        layer.weight_orig.normal_()
    errors = [largest(layer, passes(layer, x, count).effective_weight()) - 1 for count in (0, 5, 50)]
    assert errors[0] > 0.1
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 1e-2


def test_function_is_not_steeper_than_1():
    torch.manual_seed(0)
    plain = nn.Linear(6, 6)
    nn.init.normal_(plain.weight, std=5)
    layer = passes(SpectralNormalized.convert(copy.deepcopy(plain)), torch.randn(1, 6), 200)
    a, b = torch.randn(200, 6), torch.randn(200, 6)
    assert ((layer(a) - layer(b)).norm(dim=1) <= (a - b).norm(dim=1) * 1.001).all()
    assert ((plain(a) - plain(b)).norm(dim=1) > (a - b).norm(dim=1)).any()


def test_a_second_pass_before_the_backward_pass_of_the_first_changes_nothing(plain_and_input):
    plain, x = plain_and_input
    layer = SpectralNormalized.convert(plain)
    with torch.no_grad():
        layer.running_u.normal_()
    twin = copy.deepcopy(layer)
    expected = torch.autograd.grad(twin(x).square().sum(), list(twin.parameters()))
    loss = layer(x).square().sum()
    passes(layer, x, 3)
    torch.testing.assert_close(torch.autograd.grad(loss, list(layer.parameters())), expected, rtol=0, atol=0)


def test_starts_right_where_the_sums_of_the_rows_would_never():
    plain = nn.Linear(2, 2)
    with torch.no_grad():
        plain.weight.copy_(torch.tensor([[5.1, -4.9], [-4.9, 5.1]]))  # (1, −1) for 10, and (1, 1) for 0.2
    layer = SpectralNormalized.convert(plain)
    torch.testing.assert_close(torch.linalg.svdvals(layer.effective_weight().detach()), torch.tensor([1.0, 0.02]))


def test_construction_is_the_same_each_time_and_leaves_the_generator_alone():
    plain = nn.Linear(5, 4)
    state = torch.get_rng_state()
    first = SpectralNormalized.convert(copy.deepcopy(plain))
    with torch.device("meta"):  # whatever the default device is
        second = SpectralNormalized.convert(copy.deepcopy(plain))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first.running_u, second.running_u)


@pytest.mark.parametrize("size", [0.0, 1e-15, 1e10])
def test_weights_of_any_size(size):
    torch.manual_seed(0)
    plain, x = nn.Linear(5, 4), torch.randn(3, 5)
    with torch.no_grad():
        plain.weight.mul_(size)
    layer = passes(SpectralNormalized.convert(plain), x, 50)
    layer(x).sum().backward()
    assert all(t.isfinite().all() for t in (layer(x), layer.weight_orig.grad, layer.running_u))
    assert largest(plain, layer.fold().weight) == pytest.approx(1 if size else 0, rel=1e-3)
    torch.testing.assert_close(layer.running_u.norm(), torch.tensor(1.0))
    with torch.no_grad():
        layer.weight_orig.normal_()  # also a weight that was zero is followed
    assert largest(plain, passes(layer, x, 50).effective_weight()) == pytest.approx(1, rel=1e-2)


def test_autocast_runs_the_power_method_in_float32(plain_and_input):
    plain, x = plain_and_input
    layer = SpectralNormalized.convert(plain)
    with torch.no_grad():
        layer.running_u.normal_()
    twin = copy.deepcopy(layer)
    expected = twin(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, weight = layer(x), layer.effective_weight()
    assert y.dtype == torch.bfloat16
    assert torch.equal(layer.running_u, twin.running_u)
    assert torch.equal(weight, twin.effective_weight())
    torch.testing.assert_close(y.float(), expected, rtol=3e-2, atol=3e-2)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_weights_are_divided_in_float32(dtype):
    torch.manual_seed(0)
    plain = nn.Linear(50, 40, dtype=dtype)
    layer = passes(SpectralNormalized.convert(plain), torch.randn(1, 50, dtype=dtype), 100)
    assert layer.effective_weight().dtype == layer.running_u.dtype == dtype
    u = nn.functional.normalize(layer.running_u.float(), dim=0)
    exact = layer.weight_orig.float() / (layer.weight_orig.float().t() @ u).norm()
    assert torch.equal(layer.effective_weight(), exact.to(dtype))  # rounded once
    assert largest(plain, layer.effective_weight()) == pytest.approx(1, rel=3e-3)


def test_own_fold_is_taken_back_without_having_converged(plain_and_input):
    plain, x = plain_and_input
    layer = SpectralNormalized.convert(plain).eval()
    with torch.no_grad():
        layer.running_u.normal_()
    expected, state = layer(x), layer.running_u.clone()
    layer.unfold(dict(layer.fold().named_parameters()))
    torch.testing.assert_close(layer(x), expected)
    assert torch.equal(layer.running_u, state)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_plain_weights_are_taken_on_and_divided(dtype):
    torch.manual_seed(0)
    layer, other = SpectralNormalized.convert(nn.Linear(5, 4, dtype=dtype)), nn.Linear(5, 4)
    with torch.no_grad():
        other.weight.mul_(9)
    layer.unfold(dict(other.named_parameters()))
    torch.testing.assert_close(layer.weight_orig.float(), other.weight)
    assert largest(other, layer.effective_weight()) == pytest.approx(1, rel=1e-3)


def test_both_streams_of_a_dueling_network_have_their_last_hidden_layer_normalized():
    network = normalize(q_network((4,), 3, hidden=(16, 8), architecture=Architecture(dueling=True)), "spectral")
    found = [name for name, module in network.named_modules() if isinstance(module, SpectralNormalized)]
    assert found == ["head.value.0", "head.advantage.0"]
    network = normalize(q_network((4,), 3, hidden=(16, 8)), "spectral")
    assert sum(isinstance(module, SpectralNormalized) for module in network.modules()) == 1


def test_writing_to_the_weight_sets_w_and_estimates_sigma_again(plain_and_input):
    plain, x = plain_and_input
    layer = SpectralNormalized.convert(plain).eval()
    with torch.no_grad():
        layer.weight.copy_(5 * torch.randn_like(layer.weight_orig))
    assert largest(layer, layer.effective_weight()) == pytest.approx(1, rel=1e-2)
    assert largest(layer, layer.weight_orig) > 2
    torch.testing.assert_close(layer.fold()(x), layer(x))
    assert "weight" not in dict(layer.named_parameters())
    layer.weight.sum().backward()
    assert layer.weight_orig.grad.any()


@pytest.mark.parametrize("transposed", [False, True])
def test_rows_written_through_data_are_seen_while_acting(transposed):
    plain = nn.ConvTranspose2d(4, 6, 3, groups=2) if transposed else nn.Conv2d(3, 4, 3)
    plain = plain.to(memory_format=torch.channels_last)
    with torch.no_grad():
        plain.weight[:, :, 0, 0] = 0.0  # entries that would not change when a row is scaled
    layer, x = SpectralNormalized.convert(plain).eval(), torch.randn(2, plain.in_channels, 5, 5)
    with torch.no_grad():
        before = layer(x)
        (layer.weight_orig.data[:, -1] if transposed else layer.weight_orig.data[-1]).mul_(3.0)
        acted = layer(x)
    assert not torch.allclose(acted, before)
    torch.testing.assert_close(acted, layer(x).detach())


def largest_singular_value(weight):
    return torch.linalg.svdvals(weight.detach().flatten(1))[0]


def test_a_weight_that_is_set_or_drawn_again_is_divided_by_its_own_norm():
    layer, w = SpectralNormalized.convert(nn.Linear(4, 3)), torch.diag_embed(torch.tensor([5.0, 1.0, 2.0]))
    w = torch.cat((w, torch.zeros(3, 1)), 1)
    layer.weight = w.clone().requires_grad_()
    assert torch.equal(layer.weight_orig, w)
    torch.testing.assert_close(layer.weight, w / 5, rtol=1e-4, atol=1e-4)
    layer.reset_parameters()
    drawn = layer.weight_orig.detach().clone()
    assert drawn.abs().max() <= 0.5  # 1/√4, torch's bound
    assert drawn.abs().min() > 0
    torch.testing.assert_close(layer.weight, drawn / largest_singular_value(drawn), rtol=1e-3, atol=1e-3)


def test_unfolding_copies_the_bias_too():
    layer, plain = SpectralNormalized.convert(nn.Linear(4, 3)), nn.Linear(4, 3)
    layer.unfold(dict(plain.named_parameters()))
    assert torch.equal(layer.bias, plain.bias)
    expected = plain.weight / largest_singular_value(plain.weight)
    torch.testing.assert_close(layer.weight, expected, rtol=1e-3, atol=1e-3)


def test_acting_follows_another_estimate_of_the_norm():
    layer, x = SpectralNormalized.convert(nn.Linear(4, 3)).eval(), torch.randn(5, 4)
    with torch.no_grad():
        before = [layer(x) for _ in range(3)]
        layer.running_u.copy_(torch.tensor([1.0, 0.0, 0.0]))
        sigma = layer.weight_orig[0].norm()
        torch.testing.assert_close(layer(x), x @ (layer.weight_orig / sigma).t() + layer.bias)
    assert not torch.allclose(layer(x), before[-1], atol=1e-3)


class Counting(nn.Linear):
    """Its forward pass writes to the layer."""

    calls = 0

    def forward(self, x):
        self.calls += 1
        self.last = super().forward(x)
        return self.last


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("gradients", [True, False])
def test_a_forward_pass_of_its_own_writes_to_the_layer(gradients, training):
    layer, x = SpectralNormalized.convert(Counting(4, 3)).train(training), torch.randn(2, 4)
    with torch.set_grad_enabled(gradients):
        outputs = [layer(x) for _ in range(3)]
    assert layer.calls == 3
    assert layer.last is outputs[-1]
    torch.testing.assert_close(outputs[-1], nn.functional.linear(x, layer.weight, layer.bias))
