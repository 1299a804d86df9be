"""wnrl.networks.torsos: images and vectors to features."""

import copy
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from wnrl.networks.torsos import MLP, ImpalaCNN, MinAtarCNN, NatureCNN, ResidualBlock, pass_dense
from wnrl.normalizers.folding import fold
from wnrl.normalizers.normalize import normalize


def images(*shape):
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


SMALL = [
    (lambda: NatureCNN((2, 36, 40), 8), images(3, 2, 36, 40)),
    (lambda: ImpalaCNN((2, 11, 9), 8, channels=(2, 3)), images(3, 2, 11, 9)),
    (lambda: MinAtarCNN((2, 6, 5), 8), images(3, 2, 6, 5)),
    (lambda: MLP((2, 5), (7, 8)), torch.randn(3, 2, 5)),
]
each_torso = pytest.mark.parametrize(("make", "obs"), SMALL, ids=["nature", "impala", "minatar", "mlp"])


def test_the_nature_network_has_the_papers_layers():
    layers = NatureCNN((4, 84, 84)).layers
    kinds = [(layer.kernel_size, layer.stride) for layer in layers if isinstance(layer, nn.Conv2d)]
    assert kinds == [((8, 8), (4, 4)), ((4, 4), (2, 2)), ((3, 3), (1, 1))]
    assert count(layers) == (8 * 8 * 4 + 1) * 32 + (4 * 4 * 32 + 1) * 64 + (3 * 3 * 64 + 1) * 64 + (3136 + 1) * 512


def test_minatars_network_has_the_papers_layers():
    layers = MinAtarCNN((4, 10, 10)).layers
    assert [type(layer) for layer in layers] == [nn.Conv2d, nn.ReLU, nn.Flatten, nn.Linear, nn.ReLU]
    assert (layers[0].kernel_size, layers[0].stride, layers[0].padding) == ((3, 3), (1, 1), (0, 0))
    assert count(layers) == (3 * 3 * 4 + 1) * 16 + (8 * 8 * 16 + 1) * 128


def test_minatars_network_is_its_formula():
    torso, obs = MinAtarCNN((4, 10, 7), 5), images(2, 4, 10, 7)
    features = F.relu(F.conv2d(obs.float() / 255, torso.layers[0].weight, torso.layers[0].bias)).flatten(1)
    torch.testing.assert_close(torso(obs), F.relu(torso.layers[3](features)))


def test_the_impala_network_has_the_papers_layers():
    layers = ImpalaCNN((3, 72, 96)).layers  # the size of the paper's figure
    kinds = [type(layer) for layer in layers]
    stage = [nn.Conv2d, nn.MaxPool2d, ResidualBlock, ResidualBlock]
    assert kinds == [*stage * 3, nn.ReLU, nn.Flatten, nn.Linear, nn.ReLU]
    convolutions = [layer for layer in layers.modules() if isinstance(layer, nn.Conv2d)]
    channels = [(conv.in_channels, conv.out_channels) for conv in convolutions]
    assert channels == [(3, 16), *[(16, 16)] * 4, (16, 32), *[(32, 32)] * 4, (32, 32), *[(32, 32)] * 4]
    assert {(conv.kernel_size, conv.stride, conv.padding) for conv in convolutions} == {((3, 3), (1, 1), (1, 1))}
    assert (layers[-2].in_features, layers[-2].out_features) == (32 * 9 * 12, 256)


def test_the_impala_network_is_its_formula():
    torso, obs = ImpalaCNN((2, 9, 12), 5, channels=(3, 4), blocks=1), images(2, 2, 9, 12)
    x = obs.float() / 255
    for convolution, block in ((torso.layers[0], torso.layers[2]), (torso.layers[3], torso.layers[5])):
        x = F.max_pool2d(convolution(x), 3, stride=2, padding=1)
        x = x + block.conv2(F.relu(block.conv1(F.relu(x))))
    torch.testing.assert_close(torso(obs), F.relu(torso.layers[-2](F.relu(x).flatten(1))))


@pytest.mark.parametrize(("width", "blocks", "convolutions"), [(1, 1, 9), (2, 3, 21)])
def test_width_and_blocks_of_the_impala_network(width, blocks, convolutions):
    found = [m for m in ImpalaCNN((1, 16, 16), 8, width=width, blocks=blocks).modules() if isinstance(m, nn.Conv2d)]
    assert len(found) == convolutions
    assert [found[0].out_channels, found[-1].out_channels] == [16 * width, 32 * width]


def test_the_end_of_the_impala_network_is_max_pooled_as_in_btr():
    """84 → 42 → 21 → 11 → 6, whose features are 1,152 per unit of width."""
    torso = ImpalaCNN((4, 84, 84), None, width=2, pool=6)
    assert torso.out_features == 1152 * 2
    obs = images(2, 4, 84, 84)
    plain = ImpalaCNN((4, 84, 84), None, width=2)
    plain.load_state_dict(torso.state_dict())
    maps = plain(obs).unflatten(1, (64, 11, 11))
    rows = [(11 * i // 6, -(-11 * (i + 1) // 6)) for i in range(6)]  # which overlap
    expected = [maps[:, :, a:b, c:d].amax((2, 3)) for a, b in rows for c, d in rows]
    torch.testing.assert_close(torso(obs), torch.stack(expected, 2).flatten(1))
    assert ImpalaCNN((1, 16, 20), 8, pool=3)(images(2, 1, 16, 20)).shape == (2, 8)
    with pytest.raises(ValueError, match="pool must not be negative, got -1"):
        ImpalaCNN((1, 16, 16), pool=-1)


@pytest.mark.parametrize(("width", "blocks"), [(0, 2), (1, 0)])
def test_a_network_without_channels_or_blocks_is_refused(width, blocks):
    with pytest.raises(ValueError, match=f"at least 1, got width {width} and blocks {blocks}"):
        ImpalaCNN((1, 16, 16), width=width, blocks=blocks)


def test_a_block_is_the_identity_without_its_branch():
    block, x = ResidualBlock(3), torch.randn(2, 3, 4, 5)
    assert not torch.allclose(block(x), x)
    nn.init.zeros_(block.branch_output.weight)
    nn.init.zeros_(block.branch_output.bias)
    assert torch.equal(block(x), x)


def test_a_normalized_blocks_branch_ends_in_the_normalized_convolution():
    block = normalize(ResidualBlock(3), "weight")
    assert block.branch_output is block.conv2
    assert "v" in dict(block.branch_output.named_parameters())


def test_a_block_leaves_its_input_as_it_was():
    x = torch.randn(2, 3, 4, 5)
    before = x.clone()
    ResidualBlock(3)(x)
    assert torch.equal(x, before)


@settings(max_examples=25, deadline=None)
@given(
    sides=st.tuples(st.integers(36, 70), st.integers(36, 70)),
    channels=st.integers(1, 4),
    hidden=st.sampled_from([None, 3]),
)
def test_images_of_any_size_get_features_of_the_size_said(sides, channels, hidden):
    shape = (channels, *sides)
    for torso in (NatureCNN(shape, hidden), ImpalaCNN(shape, hidden, channels=(2, 3, 2), blocks=1)):
        assert torso(images(2, *shape)).shape == (2, torso.out_features)
        assert hidden in (None, torso.out_features)
    small = (channels, sides[0] - 33, sides[1] - 33)
    torso = MinAtarCNN(small, hidden)
    assert torso(images(2, *small)).shape == (2, torso.out_features)


@pytest.mark.parametrize("shape", [(1, 8, 8), (4, 10, 10), (3, 8, 41)])
def test_small_images_fit_the_impala_network(shape):
    assert ImpalaCNN(shape, 6, blocks=1)(images(2, *shape)).shape == (2, 6)


@pytest.mark.parametrize(
    ("torso", "shape", "least"),
    [
        (NatureCNN, (4, 35, 84), 36),
        (NatureCNN, (4, 84, 20), 36),
        (NatureCNN, (1, 4, 4), 36),
        (ImpalaCNN, (4, 7, 84), 8),
        (ImpalaCNN, (4, 84, 1), 8),
        (MinAtarCNN, (4, 10, 2), 3),
    ],
)
def test_images_that_are_too_small_are_refused_with_their_size(torso, shape, least):
    with pytest.raises(ValueError, match=f"{shape[1]} x {shape[2]} are too small.*at least {least} x {least}"):
        torso(shape)


@pytest.mark.parametrize("torso", [NatureCNN, ImpalaCNN, MinAtarCNN])
@pytest.mark.parametrize("shape", [(84, 84), (7,), (4, 1, 84, 84)])
def test_observations_that_are_no_images_are_refused(torso, shape):
    with pytest.raises(ValueError, match=r"takes images \(C, H, W\), got observations of shape"):
        torso(shape)


@each_torso
def test_images_are_scaled_to_1_and_left_as_they_were(make, obs):
    torso, before = make(), obs.clone()
    scaled = obs.double() / 255 if obs.dtype is torch.uint8 else obs
    torch.testing.assert_close(torso(obs), torso.layers(scaled.float()))
    assert torch.equal(obs, before)


@pytest.mark.parametrize("make", [make for make, _ in SMALL[:3]], ids=["nature", "impala", "minatar"])
def test_under_autocast_images_are_scaled_in_bfloat16_as_autocast_would_round_them(make):
    torso, obs = make(), torch.arange(256, dtype=torch.uint8)[: 2 * 36 * 3].repeat(1, 2).view(1, 2, 36, 6)
    torso.obs_shape, torso.layers = obs.shape[1:], nn.Identity()
    with torch.autocast("cpu", torch.bfloat16):
        scaled = torso(obs)
    assert scaled.dtype is torch.bfloat16
    assert torch.equal(scaled, (obs.float() * (1 / 255)).bfloat16())


@pytest.mark.parametrize(
    ("make", "learning", "dtype", "expected"),
    [
        (SMALL[0][0], True, torch.float32, True),
        (SMALL[0][0], False, torch.float32, False),
        (SMALL[0][0], True, torch.bfloat16, False),
        (SMALL[1][0], True, torch.bfloat16, True),
        (SMALL[1][0], False, torch.float32, True),
    ],
)
def test_convolutions_run_channels_last_on_a_cpu_where_that_is_faster(make, learning, dtype, expected):
    torso, seen = make(), []
    torso.layers[0].register_forward_hook(lambda layer, inputs, output: seen.append((inputs[0], output)))
    obs = images(3, *torso.obs_shape)
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype is torch.bfloat16), torch.set_grad_enabled(learning):
        torso(obs)
    last = [tensor.is_contiguous(memory_format=torch.channels_last) for tensor in seen[0]]
    assert last == [expected, expected]
    assert obs.is_contiguous()


@pytest.mark.parametrize(
    "wrong",
    [images(2, 2, 36, 40).float() / 255, images(2, 36, 40, 2), images(2, 36, 40), images(2, 2, 40, 36)],
    ids=["scaled already", "channels last", "no batch", "transposed"],
)
def test_wrong_images_are_refused_with_what_came(wrong):
    for torso in (NatureCNN((2, 36, 40), 8), ImpalaCNN((2, 36, 40), 8, channels=(2,)), MinAtarCNN((2, 36, 40), 8)):
        with pytest.raises(ValueError, match=r"uint8 \[B, 2, 36, 40\], got torch.(uint8|float32) \[2, "):
            torso(wrong)


@each_torso
def test_each_observation_gets_its_own_features(make, obs):
    torso = make()
    torch.testing.assert_close(torso(obs)[1:2], torso(obs[1:2]), rtol=1e-4, atol=1e-6)
    assert not torch.allclose(torso(obs)[1], torso(obs)[2])


@each_torso
def test_every_nonlinearity_is_a_module_of_its_own_called_once(make, obs):
    torso, calls = make(), []
    relus = [module for module in torso.modules() if isinstance(module, nn.ReLU)]
    for relu in relus:
        assert not relu.inplace
        relu.register_forward_hook(lambda module, _, output: calls.append((module, (output == 0).float().mean())))
    features = torso(obs)
    assert [module for module, _ in calls] == relus
    features.sum().backward()


@each_torso
@pytest.mark.parametrize("norm", ["none", "weight"])
def test_every_parameter_has_a_gradient_and_folding_keeps_the_function(make, obs, norm):
    torch.manual_seed(0)  # with another, all the few units of the last layer may be dead
    torso = normalize(make(), norm)
    features = torso(obs)
    features.square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in torso.parameters())
    assert sum(int(parameter.grad.count_nonzero()) for parameter in torso.parameters()) > 0
    torch.testing.assert_close(fold(torso)(obs), features)


@each_torso
def test_copies_have_the_same_function(make, obs):
    torso = make()
    for copied in (copy.deepcopy(torso), pickle.loads(pickle.dumps(torso))):
        assert torch.equal(copied(obs), torso(obs))


@each_torso
def test_features_take_the_type_of_autocast(make, obs):
    torso = make()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features = torso(obs)
    assert features.dtype == torch.bfloat16
    torch.testing.assert_close(features.float(), torso(obs), rtol=0.1, atol=0.05)


@pytest.mark.parametrize("torso", [NatureCNN((1, 36, 36), None), ImpalaCNN((1, 16, 16), None), MLP((6,), ())])
def test_a_torso_without_a_hidden_layer_has_no_linear_layer(torso):
    assert not [module for module in torso.modules() if isinstance(module, nn.Linear)]


def test_the_fully_connected_layers_are_made_by_the_callers_layer():
    made = []

    def layer(inputs, outputs):
        made.append((inputs, outputs))
        return nn.Linear(inputs, outputs, bias=False)

    NatureCNN((4, 84, 84), 512, layer)
    ImpalaCNN((4, 84, 84), 256, layer=layer)
    MLP((3,), (4, 5), layer)
    assert made == [(3136, 512), (32 * 11 * 11, 256), (3, 4), (4, 5)]


def test_mlp_is_its_formula():
    torso, obs = MLP((2, 3), (5, 4)), torch.randn(7, 2, 3)
    first, second = torso.layers[1], torso.layers[3]
    hidden = (obs.reshape(7, 6) @ first.weight.T + first.bias).clamp(min=0)
    torch.testing.assert_close(torso(obs), (hidden @ second.weight.T + second.bias).clamp(min=0))
    assert torso.out_features == 4


def test_mlp_with_another_nonlinearity():
    torso, obs = MLP((3,), (5, 4), activation=nn.Tanh), torch.randn(7, 3)
    first, second = torso.layers[1], torso.layers[3]
    torch.testing.assert_close(torso(obs), second(first(obs).tanh()).tanh())


def test_mlp_takes_integers_and_does_not_scale_them():
    torso = MLP((3,), (4,))
    obs = torch.full((2, 3), 200, dtype=torch.uint8)
    assert torch.equal(torso(obs), torso(obs.float()))


def dense(activation=nn.ReLU):
    return nn.Sequential(nn.Flatten(), nn.Linear(6, 5), activation(), nn.Linear(5, 4), activation())


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh])
@pytest.mark.parametrize("shape", [(3, 6), (3, 2, 3)])
def test_dense_layers_without_gradients_are_passed_without_calls(activation, shape, monkeypatch):
    layers, x = dense(activation), torch.randn(shape)
    expected, before = layers(x).detach(), x.clone()
    monkeypatch.setattr(nn.Linear, "forward", None)
    with torch.no_grad():
        torch.testing.assert_close(pass_dense(layers, x), expected)
        activations = nn.Sequential(activation(), nn.Linear(6, 2))
        pass_dense(activations, x.view(3, 6))
    assert torch.equal(x, before)  # the input is not written to


@pytest.mark.parametrize("why", ["hook", "pre-hook", "global hook", "subclass", "own forward", "normalized", "no bias"])
@torch.no_grad()
def test_layers_with_more_to_do_are_called(why):
    layers, x, called = dense(), torch.randn(3, 6), []
    removed = nn.modules.module.register_module_forward_hook(lambda *_: called.append(1)) if "global" in why else None
    if why == "hook":
        layers[1].register_forward_hook(lambda *_: called.append(1))
    elif why == "pre-hook":
        nn.utils.prune.l1_unstructured(layers[1], "weight", 0.5)
        layers[1].weight_orig.mul_(2)
        called.append(1)
    elif why == "subclass":
        layers[2].__class__ = type("Own", (nn.ReLU,), {"forward": lambda self, x: called.append(1) or x})
    elif why == "own forward":
        layers[2].forward = lambda x: called.append(1) or x
    elif why in ("normalized", "no bias"):
        layers = normalize(layers, "weight") if why == "normalized" else nn.Sequential(nn.Linear(6, 2, bias=False))
        called.append(1)
    found = pass_dense(layers, x)
    assert called
    torch.testing.assert_close(found, layers(x))
    if removed:
        removed.remove()


@pytest.mark.parametrize("why", ["hook", "pre-hook", "own forward", "subclass"])
@torch.no_grad()
def test_a_sequential_with_more_to_do_is_called(why):
    layers, x = dense(), torch.randn(3, 6)
    if why == "hook":
        layers.register_forward_hook(lambda module, inputs, output: output + 1)
    elif why == "pre-hook":
        layers.register_forward_pre_hook(lambda module, inputs: (inputs[0] + 1,))
    elif why == "own forward":
        layers.forward = lambda x: layers[1](x)
    else:
        layers.__class__ = type("Own", (nn.Sequential,), {"forward": lambda self, x: self[1](x)})
    torch.testing.assert_close(pass_dense(layers, x), layers(x))
