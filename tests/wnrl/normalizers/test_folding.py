"""wnrl.normalizers.folding: folding, refreshing, soft updates and taking folded weights on again."""

import copy

import pytest
import torch
from torch import nn

from tests.wnrl.normalizers.networks import images, make_network, step
from wnrl.networks.architecture import Architecture
from wnrl.networks.q_network import q_network
from wnrl.normalizers.conversions import NORMALIZERS
from wnrl.normalizers.folding import FoldedCopy, fold, polyak, refresh, remove, unfold
from wnrl.normalizers.normalize import normalize
from wnrl.normalizers.projection import project
from wnrl.weight_norm.normalized_layer import NormalizedLayer
from wnrl.weight_norm.weight_norm_layer import WeightNormLayer

LAYER_NORMS = ("layer", "layer-channels", "layer+projected")


@pytest.mark.parametrize("norm", NORMALIZERS)
@pytest.mark.parametrize("units", ["sqrt", "paper", "log"])
def test_folding_keeps_the_function(norm, units):
    network = normalize(make_network(), norm, units=units)
    step(network)  # moves running statistics too
    network.eval()
    x = images()
    folded = fold(network)
    torch.testing.assert_close(folded(x), network(x), rtol=1e-4, atol=1e-5)
    left = {type(m).__name__ for m in folded.modules() if isinstance(m, NormalizedLayer)}
    kinds = {type(m).__name__ for m in network.modules() if isinstance(m, NormalizedLayer)}
    assert left == (kinds if norm in LAYER_NORMS else set())


def test_fold_is_a_copy_and_leaves_the_generator_alone():
    network = normalize(make_network(), "weight").eval()
    state = torch.get_rng_state()
    folded = fold(network)
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(isinstance(m, WeightNormLayer) for m in folded.modules())
    assert not {p.data_ptr() for p in folded.parameters()} & {p.data_ptr() for p in network.parameters()}
    assert not any(m.training for m in folded.modules())


@pytest.mark.parametrize("norm", NORMALIZERS)
@pytest.mark.parametrize(("obs_shape", "torso"), [((4, 36, 36), "nature"), ((4, 16, 16), "impala"), ((3,), "mlp")])
def test_weights_kept_in_the_type_of_products_change_no_bit(norm, obs_shape, torso):
    network = q_network(obs_shape, 3, hidden=(16,), norm=norm, architecture=Architecture(torso=torso), seed=0)
    obs = torch.randint(0, 256, (5, *obs_shape), dtype=torch.uint8) if torso != "mlp" else torch.randn(5, 3)
    plain, kept = fold(network).eval(), fold(network, autocast_dtype=torch.bfloat16).eval()
    types = {parameter.dtype for parameter in kept.torso.parameters() if parameter.ndim > 1}
    assert types == {torch.bfloat16}
    assert {parameter.dtype for parameter in kept.head.parameters()} == {torch.float32}
    for _ in range(2):
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(kept(obs).q_values, plain(obs).q_values)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.mul_(1.1)
        for folded in (plain, kept):
            refresh(folded, network)


@pytest.mark.parametrize("norm", NORMALIZERS)
def test_refresh_is_in_place_and_equals_a_new_fold(norm):
    network = normalize(make_network(), norm)
    folded = fold(network)
    storages = {name: tensor.data_ptr() for name, tensor in folded.state_dict().items()}
    step(network)
    new = fold(network)
    assert not all(torch.equal(a, b) for a, b in zip(folded.parameters(), new.parameters(), strict=True))
    refresh(folded, network)
    assert all(torch.equal(a, b) for a, b in zip(folded.parameters(), new.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(folded.buffers(), new.buffers(), strict=True))
    assert {name: tensor.data_ptr() for name, tensor in folded.state_dict().items()} == storages


@pytest.mark.parametrize("norm", NORMALIZERS)
def test_unfold_is_the_inverse_of_refresh(norm):
    trained = normalize(make_network(), norm)
    step(trained)
    project(trained)
    for _ in range(50):  # until the power method of spectral norm has caught up
        trained(images())
    saved = fold(trained)
    network = normalize(make_network(), norm)
    parameters = {name: id(p) for name, p in network.named_parameters()}
    unfold(network, saved)
    assert {name: id(p) for name, p in network.named_parameters()} == parameters
    x = images()
    torch.testing.assert_close(network.eval()(x), saved.eval()(x), rtol=1e-4, atol=1e-5)


def test_unfold_takes_on_a_plain_network():
    torch.manual_seed(7)
    plain = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3))
    network = normalize(copy.deepcopy(plain), "weight")
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_()
    x = torch.randn(6, 5)
    assert not torch.allclose(network(x), plain(x))
    unfold(network, plain)
    torch.testing.assert_close(network(x), plain(x))
    with pytest.raises(ValueError, match=r"fold\(\)"):
        unfold(network, plain[:2])


@pytest.mark.parametrize("norm", NORMALIZERS)
def test_polyak_averages_what_is_folded(norm):
    network = normalize(make_network(), norm)
    target = fold(network)
    old = copy.deepcopy(target)
    step(network)
    polyak(target, network, 0.25)
    moved = False
    for mean, before, after in zip(target.parameters(), old.parameters(), fold(network).parameters(), strict=True):
        torch.testing.assert_close(mean, 0.75 * before + 0.25 * after)
        moved |= not torch.equal(mean, before)
    assert moved


@pytest.mark.parametrize("norm", NORMALIZERS)
def test_copies_share_what_was_folded_once(norm):
    network = normalize(make_network(), norm)
    target, acting, expected_target, expected_acting = (fold(network) for _ in range(4))
    copies = [FoldedCopy(target, network), FoldedCopy(acting, network)]
    step(network)
    values = copies[0].values()
    copies[0].polyak(0.25, values)
    copies[1].refresh(values)
    polyak(expected_target, network, 0.25)
    refresh(expected_acting, network)
    for expected, copied in ((expected_target, target), (expected_acting, acting)):
        for name, value in expected.state_dict().items():
            assert torch.equal(copied.state_dict()[name], value), name


def test_polyak_averages_weights_and_not_parameters():
    network = normalize(make_network(), "weight")
    folded = fold(network)
    old = copy.deepcopy(folded)
    averaged = copy.deepcopy(network)
    step(network)
    polyak(folded, network, 0.25)
    expected = 0.75 * old[4].weight + 0.25 * network[4].effective_weight()
    torch.testing.assert_close(folded[4].weight.detach(), expected.detach())
    torch.testing.assert_close(folded[4].bias, 0.75 * old[4].bias + 0.25 * network[4].bias)
    torch.testing.assert_close(folded[1].weight, 0.75 * old[1].weight + 0.25 * network[1].weight)
    assert torch.equal(folded[1].running_mean, network[1].running_mean)
    with torch.no_grad():
        for target, source in zip(averaged.parameters(), network.parameters(), strict=True):
            target.lerp_(source, 0.25)
    assert not torch.allclose(averaged[4].effective_weight(), expected, rtol=1e-3, atol=1e-4)
    polyak(folded, network, 1.0)
    torch.testing.assert_close(folded[4].weight.detach(), network[4].effective_weight().detach())


@pytest.mark.parametrize("norm", NORMALIZERS)
def test_polyak_moves_a_shared_layer_once(norm):
    shared = nn.Linear(4, 4)
    network = normalize(nn.Sequential(shared, nn.ReLU(), shared, nn.Linear(4, 2)), norm)
    target = fold(network)
    assert target[0] is target[2]
    old = copy.deepcopy(target)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter))
    polyak(target, network, 0.25)
    for mean, before, after in zip(target.parameters(), old.parameters(), fold(network).parameters(), strict=True):
        torch.testing.assert_close(mean, 0.75 * before + 0.25 * after)


def test_structures_must_match():
    network = normalize(make_network(), "weight")
    folded = fold(network)
    for wrong in (folded[:5], network, nn.Linear(1, 1)):
        with pytest.raises(ValueError, match=r"fold\(\)"):
            refresh(wrong, network)
    folded[6] = nn.Linear(8, 3)
    with pytest.raises(ValueError, match=r"6\.bias, 6\.weight"):
        polyak(folded, network, 0.5)
    with pytest.raises(ValueError, match="tau"):
        polyak(fold(network), network, 1.5)


class TwoNames(nn.Module):
    """One parameter and one buffer, under two names each."""

    def __init__(self):
        super().__init__()
        self.first = self.second = nn.Parameter(torch.zeros(2))
        self.register_buffer("old", torch.zeros(2))
        self.register_buffer("new", self.old)


def test_one_tensor_under_two_names():
    network = normalize(nn.Sequential(nn.Linear(3, 2), TwoNames()), "weight")
    target = fold(network)
    with torch.no_grad():
        network[1].first.fill_(4.0)
        network[1].old.fill_(8.0)
    polyak(target, network, 0.25)
    assert (target[1].second.tolist(), target[1].new.tolist()) == ([1, 1], [8, 8])  # moved once
    refresh(target, network)
    assert target[1].second.tolist() == [4, 4]
    with torch.no_grad():
        target[1].first.fill_(5.0)
    unfold(network, target)
    assert network[1].second.tolist() == [5, 5]


@pytest.mark.parametrize("norm", [norm for norm in NORMALIZERS if norm not in LAYER_NORMS])
def test_layers_without_values_are_folded_and_removed(norm):
    network = normalize(make_network(), norm).to("meta")
    shapes = [parameter.shape for parameter in make_network().parameters()]
    assert [parameter.shape for parameter in fold(network).parameters()] == shapes
    assert [parameter.shape for parameter in remove(network).parameters()] == shapes


def test_tied_weights_stay_tied_without_values():
    network = normalize(nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)), "weight").to("meta")
    network[1].v, network[1].g = network[0].v, network[0].g
    folded = fold(network)
    assert folded[0].weight is folded[1].weight


def test_a_weight_with_nan_is_the_same_parameter():
    network = normalize(nn.Sequential(nn.Linear(3, 2)), "weight")
    v = network[0].v
    with torch.no_grad():
        v[0, 0] = torch.nan
    assert remove(network)[0].weight is v
