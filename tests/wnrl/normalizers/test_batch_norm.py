"""wnrl.normalizers.batch_norm: mean-only batch normalization by its equations, and batch normalization as torch's."""

import copy

import pytest
import torch
from stable_baselines3.common.utils import get_parameters_by_name, polyak_update
from torch import nn
from torch.func import functional_call

from wnrl.normalizers.batch_norm import BatchNorm, BatchNormalized, MeanBatchNormalized, MeanOnlyBatchNorm
from wnrl.normalizers.folding import fold
from wnrl.normalizers.layer_kinds import weight_norm_kind
from wnrl.normalizers.normalize import normalize
from wnrl.weight_norm.rows import channel_dim as channel_dim_of

BOTH = (MeanOnlyBatchNorm, BatchNorm)


def mean_batch(plain):
    return MeanBatchNormalized.convert(plain, weight_norm_kind(plain))


MAKERS = (lambda: mean_batch(nn.Linear(3, 4)), lambda: BatchNormalized.convert(nn.Linear(3, 4)))


def plain_layer(kind):
    """A plain layer, and inputs for it."""
    torch.manual_seed(0)
    return {
        "linear": lambda: (nn.Linear(3, 4), (torch.randn(5, 3),)),
        "bilinear": lambda: (nn.Bilinear(3, 2, 4), (torch.randn(5, 3), torch.randn(5, 2))),
        "conv": lambda: (nn.Conv2d(2, 3, 2, padding=1), (torch.randn(3, 2, 3, 3),)),
        "transposed": lambda: (nn.ConvTranspose1d(4, 6, 2, groups=2), (torch.randn(3, 4, 3),)),
    }[kind]()


KINDS = ("linear", "bilinear", "conv", "transposed")


def naive_mean(t, channel_dim):
    """μ[t] over everything but the units, in the shape of `t` with ones."""
    others = [dim for dim in range(t.ndim) if dim != t.ndim + channel_dim]
    return t.mean(others, keepdim=True)


# --- mean-only batch normalization


@pytest.mark.parametrize("kind", KINDS)
def test_training_is_equation_7(kind):
    plain, inputs = plain_layer(kind)
    t, dim = plain(*inputs).detach(), channel_dim_of(plain)  # the bias in t goes with the mean
    layer = mean_batch(plain)
    with torch.no_grad():
        layer.norm.bias.normal_()
    expected = t - naive_mean(t, dim) + layer.norm.bias.view(-1, *[1] * (-1 - dim))
    torch.testing.assert_close(layer(*inputs), expected)


def test_literal_numbers():
    norm = MeanOnlyBatchNorm(2)
    with torch.no_grad():
        norm.bias.copy_(torch.tensor([10.0, 20.0]))
    t = torch.tensor([[1.0, 5.0], [3.0, 5.0]], requires_grad=True)
    y = norm(t)
    assert y.tolist() == [[9, 20], [11, 20]]
    y.backward(torch.tensor([[4.0, 1.0], [0.0, 3.0]]))
    assert t.grad.tolist() == [[2, -1], [-2, 1]]
    assert norm.bias.grad.tolist() == [4, 4]


def test_images_share_a_mean_over_batch_and_positions():
    norm = MeanOnlyBatchNorm(1, channel_dim=-3)
    assert norm(torch.tensor([[[[1.0, 2.0]]], [[[3.0, 6.0]]]])).flatten().tolist() == [-2, -1, 0, 3]
    assert norm.running_mean.item() == pytest.approx(0.3)


@pytest.mark.parametrize(("shape", "channel_dim"), [((5, 3), -1), ((2, 4, 3), -1), ((2, 3, 4), -2), ((2, 3, 2, 3), -3)])
def test_backward_is_equation_8_the_mean_of_the_gradient_is_taken_off(shape, channel_dim):
    norm = MeanOnlyBatchNorm(3, channel_dim).double()
    t = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    upstream = torch.randn(shape, dtype=torch.float64)
    dt, db = torch.autograd.grad(norm(t), (t, norm.bias), upstream)
    mean = naive_mean(upstream, channel_dim)
    torch.testing.assert_close(dt, upstream - mean)
    torch.testing.assert_close(db, mean.flatten() * t.numel() / 3)
    (constant,) = torch.autograd.grad(norm.eval()(t), t, upstream)
    torch.testing.assert_close(constant, upstream)  # in evaluation the mean is a constant


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_numerically_right(kind, training):
    plain, inputs = plain_layer(kind)
    layer = mean_batch(plain).double().train(training)
    names, values = zip(*layer.named_parameters(), strict=True)

    def function(*arguments):
        parameters = dict(zip(names, arguments[: len(names)], strict=True))
        return functional_call(layer, parameters, arguments[len(names) :])

    inputs = [x.double().requires_grad_() for x in inputs]
    assert torch.autograd.gradcheck(function, (*values, *inputs))


def test_running_mean_is_a_literal_moving_average():
    norm = MeanOnlyBatchNorm(1)
    seen = []
    for minibatch in ([0.0, 20.0], [0.0, 20.0], [-5.0, 15.0]):
        norm(torch.tensor(minibatch).view(2, 1))
        seen.append(norm.running_mean.item())
    assert seen == pytest.approx([1.0, 1.9, 2.21])  # 0.9 old, 0.1 new
    assert norm.eval()(torch.tensor([[2.21]])).item() == pytest.approx(0)
    assert norm.running_mean.item() == seen[-1]
    assert MeanOnlyBatchNorm(1, momentum=0.5)(torch.ones(2, 1)).tolist() == [[0], [0]]


def test_without_gradients_the_same():
    norm, t = MeanOnlyBatchNorm(3), torch.randn(4, 3)
    twin = copy.deepcopy(norm)
    with torch.no_grad():
        assert torch.equal(norm(t), twin(t))
    assert torch.equal(norm.running_mean, twin.running_mean)
    assert not norm.running_mean.requires_grad
    assert norm.running_mean.any()


def test_a_shift_of_the_inputs_has_no_effect_in_training():
    layer = mean_batch(nn.Linear(3, 4)).double()
    x = torch.randn(5, 3, dtype=torch.float64)
    torch.testing.assert_close(layer(x + 7), layer(x))
    assert not torch.allclose(layer.before_norm(x + 7), layer.before_norm(x))


def test_accumulated_half_batches_have_a_mean_of_their_own():
    plain, (x,) = plain_layer("linear")
    layer = mean_batch(plain).double()
    x = torch.cat([x.double()[:4], 3 * x.double()[:4] ** 2])  # halves of different means
    halves, parameters = (x[:4], x[4:]), list(layer.parameters())
    alone = [torch.autograd.grad(copy_of(layer, half).pow(3).sum(), parameters) for half in halves]
    whole = torch.autograd.grad(copy_of(layer, x).pow(3).sum(), parameters)
    for half in halves:
        layer(half).pow(3).sum().backward()
    torch.testing.assert_close([p.grad for p in parameters], [a + b for a, b in zip(*alone, strict=True)])
    assert not torch.allclose(layer.v.grad, whole[1])
    first, second = (layer.before_norm(half).mean(0) for half in halves)
    torch.testing.assert_close(layer.norm.running_mean, 0.9 * (0.1 * first) + 0.1 * second)


def copy_of(layer, x):
    """The output of `layer` with a running mean of its own."""
    return functional_call(layer, {"norm.running_mean": layer.norm.running_mean.clone()}, (x,))


def forward_twice_then_backward(layer, modes):
    """The gradient of a pass in the first mode, taken after a pass of other numbers in the second."""
    x = torch.randn(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    loss = layer.train(modes[0])(x).pow(3).sum()
    layer.train(modes[1])(100 * x + 5)
    return torch.autograd.grad(loss, list(layer.parameters()))


@pytest.mark.parametrize("first", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("make", MAKERS, ids=["mean-batch", "batch"])
def test_a_second_pass_before_the_backward_pass_of_the_first_changes_nothing(make, first):
    layer = make().double()
    expected = forward_twice_then_backward(copy.deepcopy(layer), (first, False))  # the second pass moves nothing
    actual = forward_twice_then_backward(layer, (first, True))
    torch.testing.assert_close(actual, expected)


def test_half_precision_inputs_have_a_float32_mean():
    t = torch.tensor([256.0, 258.0]).repeat(2000).view(-1, 1).bfloat16()  # 257 is no bfloat16 number
    for norm in (MeanOnlyBatchNorm(1), MeanOnlyBatchNorm(1).bfloat16()):
        y = norm(t)
        assert y.dtype == torch.bfloat16
        assert y[:2].tolist() == [[-1], [1]]
        assert norm.running_mean.item() == pytest.approx(25.7, rel=2**-8)


def test_autocast_keeps_float32_statistics_and_gradients():
    plain, (x,) = plain_layer("conv")
    layer = mean_batch(plain)
    expected = copy.deepcopy(layer)(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = layer(x)
    y.float().square().sum().backward()
    assert y.dtype == torch.bfloat16
    assert layer.norm.running_mean.dtype == layer.norm.bias.grad.dtype == layer.v.grad.dtype == torch.float32
    torch.testing.assert_close(y.float(), expected, rtol=3e-2, atol=3e-2)
    torch.testing.assert_close(
        layer.norm.running_mean, 0.1 * layer.before_norm(x).mean((0, 2, 3)), rtol=1e-1, atol=1e-3
    )


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_parameters_of_any_type(dtype):
    layer = mean_batch(nn.Linear(3, 4, dtype=dtype))
    assert {t.dtype for t in layer.state_dict().values()} == {dtype}
    y = layer(torch.randn(5, 3, dtype=dtype))
    assert y.dtype == dtype
    y.sum().backward()
    assert {p.grad.dtype for p in layer.parameters()} == {dtype}
    assert layer.fold()(torch.randn(5, 3, dtype=dtype)).dtype == dtype


# --- both


@pytest.mark.parametrize("cls", BOTH)
@pytest.mark.parametrize(("shape", "channel_dim"), [((1, 4), -1), ((4,), -1), ((1, 4, 1, 1), -3), ((0, 4), -1)])
def test_one_value_per_unit_is_refused_in_training_only(cls, shape, channel_dim):
    norm = cls(4, channel_dim)
    with pytest.raises(ValueError, match=r"in training each unit needs more than one value, got shape \(.*4"):
        norm(torch.ones(shape))
    assert not norm.running_mean.any()
    torch.testing.assert_close(norm.eval()(torch.ones(shape)), torch.ones(shape))


@pytest.mark.parametrize("cls", BOTH)
@pytest.mark.parametrize(("shape", "channel_dim"), [((5, 1), -1), ((5, 4), -3), ((5, 4, 3, 1), -3), ((), -1)])
def test_another_number_of_units_is_refused(cls, shape, channel_dim):
    for norm in (cls(3, channel_dim), cls(3, channel_dim).eval()):
        with pytest.raises(ValueError, match=f"expected 3 units in dimension {channel_dim}, got shape"):
            norm(torch.ones(shape))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("cls", BOTH)
def test_any_leading_dimensions(cls, training):
    torch.manual_seed(0)
    norm, t = cls(4).train(training), torch.randn(6, 5, 4) + 3
    norm.running_mean.normal_()
    flat = copy.deepcopy(norm)
    expected = flat(t.view(30, 4)).view(6, 5, 4)
    torch.testing.assert_close(norm(t), expected)
    torch.testing.assert_close(norm.running_mean, flat.running_mean)
    if not training:
        torch.testing.assert_close(norm(t[0, 0]), expected[0, 0])


@pytest.mark.parametrize("cls", BOTH)
def test_one_image_is_a_batch_of_one(cls):
    norm, image = cls(3, -3), torch.randn(3, 4, 5)
    torch.testing.assert_close(norm(image), copy.deepcopy(norm)(image[None])[0])


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("cls", BOTH)
def test_any_strides(cls, training):
    torch.manual_seed(0)
    norm, t = cls(3, -3).train(training), torch.randn(2, 3, 4, 5)
    expected = copy.deepcopy(norm)(t)
    last = copy.deepcopy(norm)(t.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(last, expected, check_stride=False)
    assert last.is_contiguous(memory_format=torch.channels_last)
    transposed = copy.deepcopy(norm)(t.transpose(2, 3).contiguous().transpose(2, 3))
    torch.testing.assert_close(transposed, expected, check_stride=False)
    time = cls(3).train(training)
    torch.testing.assert_close(
        copy.deepcopy(time)(t[0].permute(1, 2, 0)), time(t[0].permute(1, 2, 0).contiguous()), check_stride=False
    )


@pytest.mark.parametrize("norm", ["mean-batch", "batch", "spectral"])
def test_target_networks_of_stable_baselines3_get_the_running_statistics(norm):
    torch.manual_seed(0)
    network = normalize(nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2)), norm)
    target, x = copy.deepcopy(network), torch.randn(20, 3) + 2
    optimizer = torch.optim.Adam(network.parameters(), lr=0.05)
    for _ in range(5):
        network(x).square().sum().backward()
        optimizer.step()
    polyak_update(network.parameters(), target.parameters(), 1.0)
    network.eval(), target.eval()
    assert not torch.allclose(target(x), network(x), rtol=1e-4)  # parameters alone are not enough
    ours, theirs = (get_parameters_by_name(n, ["running_"]) for n in (network, target))
    assert len(ours) == {"mean-batch": 1, "batch": 2, "spectral": 1}[norm]
    polyak_update(ours, theirs, 1.0)
    torch.testing.assert_close(target(x), network(x), rtol=0, atol=0)
    assert all(entry.is_floating_point() for entry in network.state_dict().values())


# --- batch normalization


TORCH_TWINS = [
    (nn.BatchNorm1d, -1, (6, 4)),
    (nn.BatchNorm1d, -2, (6, 4, 3)),
    (nn.BatchNorm2d, -3, (6, 4, 3, 2)),
    (nn.BatchNorm3d, -4, (3, 4, 3, 2, 2)),
]


@pytest.mark.parametrize(("twin", "channel_dim", "shape"), TORCH_TWINS)
def test_equal_to_torch(twin, channel_dim, shape):
    torch.manual_seed(0)
    ours, theirs = BatchNorm(4, channel_dim), twin(4)
    nn.init.constant_(theirs.running_var, 1 - 1e-5)
    for norm in (ours, theirs):
        norm.double()
        nn.init.constant_(norm.weight, 2.5)
        nn.init.constant_(norm.bias, -1.5)
    for training in (True, True, False):
        t = (3 * torch.randn(shape, dtype=torch.float64) + 2).requires_grad_()
        expected, actual = theirs.train(training)(t), ours.train(training)(t)
        torch.testing.assert_close(actual, expected)
        expected = torch.autograd.grad(expected.pow(3).sum(), (t, theirs.weight, theirs.bias))
        actual = torch.autograd.grad(actual.pow(3).sum(), (t, ours.weight, ours.bias))
        torch.testing.assert_close(actual, expected)
        for name in ("running_mean", "running_var"):
            torch.testing.assert_close(getattr(ours, name), getattr(theirs, name))


def test_begins_as_the_identity_in_evaluation():
    norm, t = BatchNorm(3).double().eval(), torch.randn(4, 3, dtype=torch.float64)
    torch.testing.assert_close(norm(t), t, rtol=1e-7, atol=0)
    assert not torch.allclose(nn.BatchNorm1d(3).double().eval()(t), t, rtol=1e-6, atol=0)


def test_running_variance_is_literally_the_unbiased_one():
    norm = BatchNorm(1)
    y = norm(torch.tensor([[0.0], [2.0]]))
    torch.testing.assert_close(y, torch.tensor([[-1.0], [1.0]]))  # divided by the population's σ, 1
    assert norm.running_mean.item() == pytest.approx(0.1)
    assert norm.running_var.item() == pytest.approx(0.9 * (1 - 1e-5) + 0.1 * 2)


@pytest.mark.parametrize("training", [True, False])
def test_gradients_of_the_layer_are_numerically_right(training):
    torch.manual_seed(0)
    layer = BatchNormalized.convert(nn.Conv2d(2, 3, 2)).double().train(training)
    layer.norm.running_mean.normal_()
    names, values = zip(*layer.named_parameters(), strict=True)

    def function(x, *parameters):
        return functional_call(layer, dict(zip(names, parameters, strict=True)), (x,))

    x = torch.randn(3, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(function, (x, *values))


def test_autocast_keeps_the_statistics_in_float32():
    torch.manual_seed(0)
    layer, x = BatchNormalized.convert(nn.Linear(3, 4)), torch.randn(50, 3)
    expected = copy.deepcopy(layer)(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = layer(x)
    assert y.dtype == torch.bfloat16
    assert {t.dtype for t in layer.state_dict().values()} == {torch.float32}
    torch.testing.assert_close(y.float(), expected, rtol=3e-2, atol=3e-2)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_batch_norm_of_any_type(dtype):
    layer = BatchNormalized.convert(nn.Linear(3, 4, dtype=dtype))
    assert {t.dtype for t in layer.state_dict().values()} == {dtype}
    assert layer(torch.randn(5, 3, dtype=dtype)).dtype == dtype
    assert {t.dtype for t in layer.fold().parameters()} == {dtype}


def test_the_shift_takes_the_place_of_the_bias():
    plain = nn.Linear(3, 4)
    bias = plain.bias
    layer = BatchNormalized.convert(plain)
    assert list(dict(layer.named_parameters())) == ["weight", "norm.weight", "norm.bias"]
    assert layer.bias is None
    assert layer.norm.bias is bias
    assert repr(layer.norm) == "BatchNorm(4, channel_dim=-1, momentum=0.1, eps=1e-05)"
    assert repr(MeanOnlyBatchNorm(2, -3)) == "MeanOnlyBatchNorm(2, channel_dim=-3, momentum=0.1)"


def test_folded_weight_and_bias_are_literal():
    layer = BatchNormalized.convert(nn.Linear(2, 1)).double()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[6.0, 8.0]]))
        layer.norm.weight.fill_(3.0)
        layer.norm.bias.fill_(5.0)
        layer.norm.running_mean.fill_(7.0)
        layer.norm.running_var.fill_(4 - 1e-5)
    folded = layer.folded()
    torch.testing.assert_close(folded["weight"], torch.tensor([[9.0, 12.0]], dtype=torch.float64))
    torch.testing.assert_close(folded["bias"], torch.tensor([5 - 7 * 3 / 2], dtype=torch.float64))


# torch's tools for batch normalization.


def batch_network(norm="batch"):
    layers = (nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 2))
    return normalize(nn.Sequential(*layers), norm)


def test_update_bn_takes_the_mean_of_all_minibatches():
    network, minibatches = batch_network(), [3 * torch.randn(8, 3, 6, 6) + 1 for _ in range(5)]
    before = [parameter.clone() for parameter in network.parameters()]
    torch.optim.swa_utils.update_bn(minibatches, network)
    outputs = [network[0].before_norm(x) for x in minibatches]
    for statistic, of_minibatch in (("running_mean", torch.mean), ("running_var", torch.var)):
        expected = torch.stack([of_minibatch(t, dim=(0, 2, 3)) for t in outputs]).mean(0)
        torch.testing.assert_close(getattr(network[0].norm, statistic), expected, rtol=1e-4, atol=1e-5)
    assert network[0].norm.momentum == 0.1
    torch.testing.assert_close([*network.parameters()], before)


def test_convert_sync_batchnorm_finds_ours():
    network, x = batch_network(), torch.randn(5, 3, 6, 6)
    network(x)
    expected = network.eval()(x)
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(network)
    assert [type(converted[i].norm) for i in (0, 3)] == [nn.SyncBatchNorm] * 2
    torch.testing.assert_close(converted.eval()(x), expected)
    torch.testing.assert_close(fold(converted)(x), expected)


def test_mean_only_batch_norm_is_left_alone():
    network = batch_network("mean-batch")
    means = network[0].norm.running_mean.clone()
    torch.optim.swa_utils.update_bn([torch.randn(8, 3, 6, 6)], network)  # finds no batch norm, as the docs say
    assert nn.SyncBatchNorm.convert_sync_batchnorm(network)[0].norm is network[0].norm
    torch.testing.assert_close(network[0].norm.running_mean, means)


@pytest.mark.parametrize("kind", [BatchNorm, MeanOnlyBatchNorm])
def test_reset_it_is_the_identity_in_evaluation_mode(kind):
    norm, x = kind(3), 5 + 2 * torch.randn(40, 3)
    for _ in range(50):
        norm(x)
    assert not torch.allclose(norm.eval()(x), x)
    norm.reset_parameters()
    torch.testing.assert_close(norm(x), x)
    assert norm.running_mean.tolist() == [0.0] * 3


def test_the_state_of_torchs_batch_norm_is_ours():
    torchs, norm, x = nn.BatchNorm1d(3), BatchNorm(3, eps=1e-5), 5 + 2 * torch.randn(40, 3)
    torchs(x)
    norm.load_state_dict(torchs.state_dict())
    assert norm.state_dict().keys() == {"weight", "bias", "running_mean", "running_var"}
    torch.testing.assert_close(norm.eval()(x), torchs.eval()(x))


def test_the_mean_of_all_minibatches_goes_on_from_a_state():
    norm, loaded, minibatches = BatchNorm(2, momentum=None), BatchNorm(2, momentum=None), torch.randn(4, 5, 2)
    for x in minibatches[:3]:
        norm(x)
    loaded.load_state_dict(norm.state_dict())
    loaded(minibatches[3])
    torch.testing.assert_close(loaded.running_mean, minibatches.mean((0, 1)))
    older = {name: value for name, value in norm.state_dict().items() if name != "num_batches_tracked"}
    loaded.load_state_dict(older)
    torch.testing.assert_close(loaded.running_mean, norm.running_mean)
    assert norm.to(torch.bfloat16).num_batches_tracked.add_(300).item() == 303


def test_without_momentum_statistics_stay():
    norm = BatchNorm(3, momentum=0.0)
    norm(5 + 2 * torch.randn(40, 3))
    assert norm.running_mean.tolist() == [0.0] * 3


@pytest.mark.parametrize("norm", ["mean-batch", "batch", "batch+projected"])
def test_a_layer_without_bias_is_reset_to_none(norm):
    layer = normalize(nn.Sequential(nn.Linear(3, 4, bias=False), nn.ReLU(), nn.Linear(4, 2)), norm)[0]
    nn.init.ones_(layer.norm.bias)
    layer.reset_parameters()
    assert layer.norm.bias.tolist() == [0.0] * 4
    assert layer.bias is None


PLAIN = {"linear": (lambda: nn.Linear(3, 4), (6, 3)), "conv": (lambda: nn.Conv2d(3, 4, 2), (6, 3, 5, 5))}


def moved(kind, make):
    """A plain layer, and the same with batch normalization after some learning."""
    plain = make()
    layer = (mean_batch if kind is MeanBatchNormalized else BatchNormalized.convert)(copy.deepcopy(plain))
    with torch.no_grad():
        for tensor in (*layer.norm.parameters(), *layer.norm.buffers()):
            tensor.copy_(torch.rand_like(tensor) + 0.5)
    return plain, layer.eval()


@pytest.mark.parametrize("kind", [MeanBatchNormalized, BatchNormalized])
@pytest.mark.parametrize("name", PLAIN)
def test_acting_folded_and_by_the_equation_are_one_function(kind, name):
    make, shape = PLAIN[name]
    plain, layer = moved(kind, make)
    x, norm = torch.randn(shape), layer.norm
    t = (nn.functional.linear if name == "linear" else nn.functional.conv2d)(x, plain.weight)
    column = [-1] if name == "linear" else [-1, 1, 1]
    mean, bias = norm.running_mean.view(column), norm.bias.view(column)
    expected = t - mean + bias
    if kind is BatchNormalized:
        expected = (t - mean) / (norm.running_var + norm.eps).sqrt().view(column) * norm.weight.view(column) + bias
    torch.testing.assert_close(layer(x), expected)
    with torch.no_grad():
        for _ in range(3):  # the later calls with what the earlier ones kept
            torch.testing.assert_close(layer(x), expected)
    folded = functional_call(make(), layer.folded(), (x,))
    torch.testing.assert_close(folded, expected)


@pytest.mark.parametrize("kind", [MeanBatchNormalized, BatchNormalized])
@pytest.mark.parametrize("name", PLAIN)
def test_unfolding_is_the_plain_layer_in_evaluation_mode(kind, name):
    make, shape = PLAIN[name]
    other, (_, layer), x = make(), moved(kind, make), torch.randn(shape)
    assert not torch.allclose(layer(x), other(x), atol=1e-2)
    layer.unfold({key: value.detach() for key, value in other.named_parameters()})
    torch.testing.assert_close(layer(x), other(x))


class OwnForward(nn.Linear):
    def forward(self, x):
        return super().forward(x) + 1


@pytest.mark.parametrize("kind", [MeanBatchNormalized, BatchNormalized])
def test_a_layer_with_a_forward_pass_of_its_own_stays_with_its_normalization(kind):
    plain, layer = moved(kind, lambda: OwnForward(3, 4))
    folded = layer.folded()
    own = dict(layer.norm.named_parameters("norm"))
    assert folded.keys() == {*(("g", "v") if kind is MeanBatchNormalized else ("weight",)), "bias", *own}
    assert all(folded[name] is parameter for name, parameter in own.items())
    assert torch.equal(folded["bias"], plain.bias)
