import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import prune

from wnrl.checkpoints.tensor_files import read_checkpoint, write_checkpoint
from wnrl.diagnostics.norms import (
    NormDiagnostics,
    dead_unit_metrics,
    depends_on_minibatch,
    minibatch_noise,
    norm_metrics,
)
from wnrl.networks.architecture import Architecture
from wnrl.networks.lstm_core import LSTMCore
from wnrl.networks.q_network import q_network
from wnrl.normalizers.batch_statistics import hold_statistics
from wnrl.normalizers.conversions import NORMALIZERS
from wnrl.normalizers.folding import fold
from wnrl.normalizers.normalize import normalize


@pytest.fixture(autouse=True)
def _initial_weights():
    torch.manual_seed(0)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=seeded(seed))


def every_kind_of_layer(norm, **options):
    """Dense, bilinear and convolutional layers, with and without groups, side by side; the same at each call."""
    torch.manual_seed(0)
    layers = nn.ModuleDict(
        {
            "conv": nn.Conv2d(2, 3, 4),
            "transposed": nn.ConvTranspose2d(4, 6, 3, groups=2),
            "linear": nn.Linear(5, 4),
            "bilinear": nn.Bilinear(3, 2, 4),
            "output": nn.Linear(4, 2),
        }
    )
    return normalize(layers, norm, layers=None if norm == "none" else ["conv", "transposed", "linear"], **options)


def rows_of(plain):
    """The weights of each unit of a plain layer, one after the other, in float64."""
    weight = plain.weight.detach().double()
    if not isinstance(plain, nn.ConvTranspose2d):
        return [row.flatten() for row in weight]
    groups = weight.chunk(plain.groups)  # each [in / groups, out / groups, *kernel]
    return [group[:, unit].flatten() for group in groups for unit in range(group.shape[1])]


def plain_layers(network):
    """Plain layers of the effective weights, by name."""
    folded = fold(network)
    layers = {name: m for name, m in folded.named_modules() if getattr(m, "weight", torch.ones(1)).ndim > 1}
    return {name.removesuffix(".layer"): layer for name, layer in layers.items()}  # what layer norm keeps of its own


# Norms


@pytest.mark.parametrize("units", ["sqrt", "paper", "log"])
def test_metrics_by_hand_in_the_papers_units(units):
    network = normalize(nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1)), "weight", units=units)
    with torch.no_grad():
        network[0].v.copy_(torch.tensor([[3.0, 4.0], [0.0, 1.0]]))  # norms 5 and 1
    network[0].set_lengths(torch.tensor([10.0, 2.0]))  # row norms of w
    metrics = norm_metrics(network, 0.5)
    assert metrics["weights/fc1/w_norm"].item() == pytest.approx(6)
    assert metrics["weights/fc1/v_norm"].item() == pytest.approx(3)
    assert metrics["weights/fc1/effective_lr"].item() == pytest.approx(0.5 * (10 / 5 + 2 / 1) / 2)
    assert {name.split("/")[1] for name in metrics} == {"fc1", "fc2"}


def test_a_step_on_v_moves_w_by_the_effective_learning_rate():
    layer = normalize(nn.Linear(50, 1, bias=False), "weight")
    metrics = norm_metrics(layer, 1e-4)
    with torch.no_grad():
        layer.v.mul_(4)
    assert norm_metrics(layer, 1e-4)["weights/fc/effective_lr"].item() == pytest.approx(
        metrics["weights/fc/effective_lr"].item() / 4
    )
    before, direction = layer.weight.clone(), torch.randn(1, 50)
    direction -= layer.v * (direction * layer.v).sum() / layer.v.square().sum()  # at right angles to v
    with torch.no_grad():
        layer.v.add_(1e-4 * direction)
    moved = (layer.weight - before).norm() / direction.norm()
    assert moved.item() == pytest.approx(norm_metrics(layer, 1e-4)["weights/fc/effective_lr"].item(), rel=1e-3)


@pytest.mark.parametrize("norm", NORMALIZERS)
def test_the_norms_of_effective_rows_are_the_naive_ones_under_any_normalizer(norm):
    network = every_kind_of_layer(norm)
    metrics = norm_metrics(network, 0.1)
    for name, plain in plain_layers(network).items():
        expected = sum(row.norm() for row in rows_of(plain)) / len(rows_of(plain))
        if norm == "projected" and name in ("conv", "transposed", "linear"):
            assert expected.item() == pytest.approx(1)  # a constant, which is not measured
            assert f"weights/{name}/w_norm" not in metrics
        else:
            assert metrics[f"weights/{name}/w_norm"].item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("norm", ["weight", "mean-batch"])
@pytest.mark.parametrize("units", ["sqrt", "paper", "log"])
def test_v_norm_goes_by_rows_under_the_layers_own_name(norm, units):
    network = every_kind_of_layer(norm, units=units)  # v is the plain weight
    with torch.no_grad():
        for name in ("conv", "transposed", "linear"):
            layer = network[name]
            layer.set_lengths(torch.arange(1.0, 1 + len(layer.g)))
    plain, metrics = every_kind_of_layer("none"), norm_metrics(network, 0.1)
    for name in ("conv", "transposed", "linear"):
        v_norms = [row.norm().item() for row in rows_of(plain[name])]
        lengths = range(1, 1 + len(v_norms))
        assert metrics[f"weights/{name}/w_norm"].item() == pytest.approx(sum(lengths) / len(v_norms))
        assert metrics[f"weights/{name}/v_norm"].item() == pytest.approx(sum(v_norms) / len(v_norms))
        effective = [0.1 * length / v_norm for length, v_norm in zip(lengths, v_norms, strict=True)]
        assert metrics[f"weights/{name}/effective_lr"].item() == pytest.approx(
            sum(effective) / len(effective), rel=1e-5
        )


@pytest.mark.parametrize("norm", ["none", "weight", "projected"])
def test_a_recurrent_layer_has_metrics_for_each_matrix(norm):
    core = normalize(nn.ModuleDict({"core": LSTMCore(3, 4), "head": nn.Linear(4, 2)}), norm)
    metrics = norm_metrics(core, 0.1)
    plain = fold(core)["core"].lstm
    for name in ("weight_ih_l0", "weight_hh_l0"):
        expected = getattr(plain, name).norm(dim=1).mean().item()
        if norm == "projected":
            assert f"weights/lstm.{name}/w_norm" not in metrics
        else:
            assert metrics[f"weights/lstm.{name}/w_norm"].item() == pytest.approx(expected)
        assert (f"weights/lstm.{name}/v_norm" in metrics) == (norm == "weight")
    assert not any("bias" in tag for tag in metrics)


def test_metrics_are_0_dim_without_gradient():
    metrics = norm_metrics(normalize(nn.Linear(2, 2), "weight"), 0.1)
    assert all(value.ndim == 0 and not value.requires_grad for value in metrics.values())


@pytest.mark.parametrize("norm", ["weight", "projected"])
def test_a_zero_row_stays_finite(norm):
    layer = normalize(nn.Linear(3, 2), norm, normalize_output=True)
    with torch.no_grad():
        (layer.v if norm == "weight" else layer.weight)[0] = 0
    metrics = norm_metrics(layer, 0.1)
    assert all(value.isfinite() for value in metrics.values())
    assert "weights/fc/effective_lr" not in metrics or 0 < metrics["weights/fc/effective_lr"] < 1


def test_plain_layers_have_the_norm_of_their_weight_alone():
    layer = nn.Linear(2, 2)
    nn.init.constant_(layer.weight, 3.0)
    assert {tag: value.item() for tag, value in norm_metrics(layer, 0.1).items()} == {
        "weights/fc/w_norm": pytest.approx(18**0.5)
    }
    network = normalize(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1)), "weight", normalize_output=False)
    assert {tag for tag in norm_metrics(network, 0.1) if tag.startswith("weights/fc2/")} == {"weights/fc2/w_norm"}


# Angles


def at_angle(degrees):
    """A row of length 5 that stands at an angle to the first axis."""
    return torch.tensor([5 * math.cos(math.radians(degrees)), 5 * math.sin(math.radians(degrees))])


def turned(layer, *angles):
    """The figure when an update turns the rows, which stand along the first axis, by these angles."""
    diagnostics = NormDiagnostics(layer)
    with torch.no_grad():
        layer.weight.copy_(torch.stack([at_angle(0.0)] * len(angles)))
        with diagnostics.around_update():
            layer.weight.copy_(torch.stack([at_angle(angle) for angle in angles]))
    return diagnostics.read(0.1)["weights/fc/angle"].item()


@pytest.mark.parametrize("angles", [(30.0, 10.0), (90.0, -90.0), (180.0, 0.0), (0.0, 0.0), (1e-3, 2e-3)])
def test_the_angle_is_the_mean_over_rows_in_degrees(angles):
    assert turned(nn.Linear(2, 2), *angles) == pytest.approx(sum(map(abs, angles)) / 2, rel=1e-3, abs=1e-5)


def test_an_update_of_lengths_alone_turns_nothing_and_one_of_the_sign_turns_about():
    layer = normalize(nn.Linear(30, 4), "weight")
    diagnostics = NormDiagnostics(layer)
    for factor, angle in ((3.0, 0.0), (-1.0, 180.0)):
        with diagnostics.around_update(), torch.no_grad():
            layer.g.mul_(factor)
        assert diagnostics.read(0.1)["weights/fc/angle"].item() == pytest.approx(angle, abs=1e-4)


def train_once(network, learning_rate=0.1):
    """One update of every parameter, by gradients drawn at random."""
    optimizer = torch.optim.SGD(network.parameters(), learning_rate)
    for seed, parameter in enumerate(network.parameters()):
        parameter.grad = normal(*parameter.shape, seed=seed)
    optimizer.step()


@pytest.mark.parametrize("norm", NORMALIZERS)
def test_the_angle_is_the_naive_one_under_any_normalizer(norm):
    network = every_kind_of_layer(norm)
    diagnostics, before = NormDiagnostics(network), plain_layers(network)
    with diagnostics.around_update():
        train_once(network)
    metrics, after = diagnostics.read(0.1), plain_layers(network)
    for name, plain in before.items():
        cosines = [
            old @ new / (old.norm() * new.norm()) for old, new in zip(rows_of(plain), rows_of(after[name]), strict=True)
        ]
        expected = sum(math.degrees(math.acos(cosine)) for cosine in cosines) / len(cosines)
        assert metrics[f"weights/{name}/angle"].item() == pytest.approx(expected, rel=1e-4) != 0


def test_the_first_update_since_the_reading_is_the_one_that_counts():
    layer = nn.Linear(2, 1, bias=False)
    diagnostics = NormDiagnostics(layer)
    assert "weights/fc/angle" not in diagnostics.read(0.1)
    layer.weight.data[0] = at_angle(0.0)
    for angles, expected in (((7.0, 30.0, 31.0), 7.0), ((35.0, 0.0), 4.0)):
        for angle in angles:
            with diagnostics.around_update(), torch.no_grad():
                layer.weight[0] = at_angle(angle)
        assert diagnostics.read(0.1)["weights/fc/angle"].item() == pytest.approx(expected, rel=1e-4)
        assert "weights/fc/angle" not in diagnostics.read(0.1)
        layer.weight.data[0] = at_angle(31.0)


def test_gradients_flow_in_an_update_that_is_measured():
    layer = normalize(nn.Linear(3, 2), "weight")
    with NormDiagnostics(layer).around_update():
        layer(torch.ones(1, 3)).sum().backward()
    assert layer.v.grad is not None


def test_an_update_that_fails_is_not_measured():
    layer = nn.Linear(2, 1)
    diagnostics = NormDiagnostics(layer)
    with pytest.raises(RuntimeError, match="no update"), diagnostics.around_update():
        raise RuntimeError("no update")
    assert "weights/fc/angle" not in diagnostics.read(0.1)


def test_rows_without_a_direction_count_as_not_turned():
    layer = nn.Linear(2, 4)
    diagnostics = NormDiagnostics(layer)
    with torch.no_grad():
        layer.weight.copy_(torch.stack([at_angle(0.0), torch.zeros(2), at_angle(0.0), torch.zeros(2)]))
        with diagnostics.around_update():
            layer.weight.copy_(torch.stack([at_angle(20.0), at_angle(50.0), torch.zeros(2), torch.zeros(2)]))
    assert diagnostics.read(0.1)["weights/fc/angle"].item() == pytest.approx(5, rel=1e-4)


def test_angles_go_on_from_a_saved_state(tmp_path):
    network = every_kind_of_layer("weight")
    whole, rest = NormDiagnostics(network), NormDiagnostics(network)
    with whole.around_update():
        train_once(network)
    write_checkpoint(tmp_path / "state", whole.get_state())
    assert sum(tensor.numel() for tensor in whole.get_state()["angles"].values()) == len(network)  # no weights in it
    rest.set_state(read_checkpoint(tmp_path / "state"))
    for diagnostics in (whole, rest):
        with diagnostics.around_update():
            network["linear"].v.data.neg_()  # the second update: not measured
        assert diagnostics._angles.keys() == {f"weights/{name}/angle" for name in network}
    assert rest.read(0.1) == whole.read(0.1)
    rest.set_state(read_checkpoint(tmp_path / "state"))
    rest.set_state(whole.get_state())  # of just after a reading: the next update is measured
    with rest.around_update():
        network["linear"].v.data.neg_()
    assert rest.read(0.1)["weights/linear/angle"].item() == pytest.approx(180)


# Dead units


def dense(biases):
    """Units that give 1 + bias for every input of ones."""
    layer = nn.Linear(2, len(biases))
    nn.init.constant_(layer.weight, 0.5)
    layer.bias.data.copy_(torch.tensor(biases))
    return layer


def dead(network, obs):
    return {tag: value.item() for tag, value in dead_unit_metrics(network, obs).items()}


def test_dead_units_by_hand():
    network = nn.Sequential(dense([0.0, -1.0, -2.0, 1.0]), nn.ReLU(), nn.Linear(4, 3))
    assert dead(network, torch.ones(5, 2)) == {
        "weights/fc1/dead": 0.5
    }  # a unit that is exactly 0 has no gradient either
    one_differs = torch.cat([torch.ones(4, 2), torch.full((1, 2), 1.5)])
    assert dead(network, one_differs) == {"weights/fc1/dead": 0.25}


def test_a_unit_of_a_convolution_lives_if_it_does_at_one_position_of_one_example():
    conv = nn.Conv2d(1, 4, 1)
    conv.weight.data.copy_(torch.tensor([1.0, -1.0, 1.0, 0.0]).view(4, 1, 1, 1))
    conv.bias.data.copy_(torch.tensor([-0.5, 0.0, -2.0, 0.0]))
    images = torch.zeros(3, 1, 5, 5)
    images[1, 0, 2, 3] = 1.0
    for relu in (nn.ReLU(), nn.ReLU(inplace=True)):
        assert dead(nn.Sequential(conv, relu), images) == {"weights/conv/dead": 0.75}
    assert dead(nn.Sequential(conv, nn.Flatten(), nn.ReLU()), images) == {
        "weights/conv/dead": pytest.approx(0.99)  # each position a unit
    }


@pytest.mark.parametrize("norm", NORMALIZERS)
def test_each_relu_is_named_after_the_layer_before_it(norm):
    metrics = dead(q_network((4, 36, 36), 3, hidden=(16,), norm=norm), torch.ones(4, 4, 36, 36, dtype=torch.uint8))
    assert list(metrics) == [f"weights/{layer}/dead" for layer in ("conv1", "conv2", "conv3", "fc")]


def test_a_layer_that_is_called_twice_has_the_units_that_never_live():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.relu, self.layer, self.other = nn.ReLU(), dense([0.0, -1.5, -2.5]), nn.Linear(3, 2)

        def forward(self, x):
            return self.other(self.relu(self.layer(2 * self.relu(x))) + self.relu(self.layer(x)))

    assert dead(Twice(), torch.ones(3, 2)) == {"weights/layer/dead": pytest.approx(1 / 3)}


def test_dead_units_of_a_residual_network_are_the_naive_ones():
    network = q_network((1, 16, 16), 2, hidden=(32,), architecture=Architecture(torso="impala"), norm="weight")
    obs = torch.randint(0, 256, (3, 1, 16, 16), dtype=torch.uint8, generator=seeded())
    torso = network.torso.layers
    x, expected = obs / 255, {}

    def naive(name, x):
        alive = [bool((x[:, unit] > 0).any()) for unit in range(x.shape[1])]
        expected[f"weights/{name}/dead"] = alive.count(False) / len(alive)
        return F.relu(x)

    for stage in range(3):  # convolution, pooling, two blocks
        x, before = torso[4 * stage + 1](torso[4 * stage](x)), f"conv{stage + 1}"
        for index in range(2):
            block, name = torso[4 * stage + 2 + index], f"block{2 * stage + index + 1}"
            x = x + block.conv2(naive(f"{name}.conv1", block.conv1(naive(before, x))))
            before = f"{name}.conv2"
    naive("fc", torso[14](naive(before, x).flatten(1)))
    with torch.no_grad():
        assert dead(network, obs) == pytest.approx(expected)
    assert len(set(expected.values())) > 3


def test_dead_units_are_those_of_training_mode():
    network = normalize(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)), "batch")
    network[0].norm.running_mean.fill_(1e3)
    assert dead(network.eval(), normal(64, 4)) == {"weights/fc1/dead": 0.0}
    assert not network[0](normal(64, 4)).gt(0).any()


# Noise of the minibatch


def noise(network, obs, seed=0, **options):
    return minibatch_noise(network, obs, generator=seeded(seed), **options).item()


@pytest.mark.parametrize("shape", [(4,), (4, 36, 36)])
@pytest.mark.parametrize("norm", NORMALIZERS)
def test_only_batch_normalizers_add_noise(norm, shape):
    network = q_network(shape, 3, hidden=(32,), norm=norm)
    obs = torch.randint(0, 256, (64, *shape), dtype=torch.uint8, generator=seeded())
    value = noise(network, obs, forward=lambda network, obs: network(obs).q_values)
    assert value > 0.01 if "batch" in norm else value < 1e-5


@pytest.mark.parametrize("batch", [64, 256])
def test_mean_only_batch_norm_adds_one_over_the_root_of_the_minibatch(batch):
    network = normalize(nn.Sequential(nn.Linear(400, 400), nn.Linear(400, 400)), "mean-batch")
    values = [noise(network, normal(batch, 400, seed=seed), seed) for seed in range(4)]
    assert sum(values) / len(values) == pytest.approx((batch // 2) ** -0.5, rel=0.05)


def test_noise_is_that_of_independent_minibatches():
    """A naive twin: some states, each among others that are drawn again each time."""
    network = normalize(nn.Sequential(nn.Linear(10, 50), nn.ReLU(), nn.Linear(50, 50)), "batch")
    states, half = normal(30, 10, seed=100), 32
    companies = [normal(half - 1, 10, seed=200 + index) for index in range(100)]
    with torch.no_grad():
        outputs = [[network(torch.cat([state[None], company]))[0] for state in states] for company in companies]
        outputs = torch.stack([torch.stack(row) for row in outputs])  # [companies, states, numbers]
    naive = (outputs.var(0).mean() / outputs.mean(0).var(0).mean()).sqrt().item()
    values = [noise(network, normal(2 * half, 10, seed=seed), seed) for seed in range(20)]
    assert sum(values) / len(values) == pytest.approx(naive, rel=0.06)  # halves of one batch alone: 0.7 of it


def test_noise_falls_with_the_size_of_the_minibatch():
    network = normalize(nn.Sequential(nn.Linear(10, 50), nn.ReLU(), nn.Linear(50, 50)), "mean-batch")
    small, large = (noise(network, normal(batch, 10)) for batch in (16, 256))
    assert small / large == pytest.approx(4, rel=0.4)


def test_a_network_that_takes_its_company_into_account_is_found_out():
    twice = nn.Module()
    twice.forward = lambda x: x - x.mean(0)
    assert noise(twice, normal(64, 100)) == pytest.approx(32**-0.5, rel=0.1)
    twice.forward = lambda x: 3 * x + 100
    assert noise(twice, normal(64, 100)) == 0.0


def test_equal_states_and_zero_outputs_have_no_noise():
    for norm in ("none", "batch"):
        network = normalize(nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2)), norm)
        assert noise(network, torch.full((8, 3), 0.3)) == 0.0
    nn.init.zeros_(network[2].weight)
    nn.init.zeros_(network[2].bias)
    assert noise(network, normal(8, 3)) == 0.0


def test_outputs_that_are_no_numbers_are_not_hidden():
    network = nn.Linear(3, 2)
    nn.init.constant_(network.weight, float("nan"))
    assert math.isnan(noise(network, normal(8, 3)))


def test_an_odd_number_of_observations_leaves_out_the_last():
    network = normalize(nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2)), "batch")
    assert noise(network, normal(9, 3)) == noise(network, normal(9, 3)[:8]) > 0


@pytest.mark.parametrize("count", [0, 1])
def test_noise_of_fewer_than_two_observations_is_refused(count):
    with pytest.raises(ValueError, match=f"two observations or more, got {count}"):
        minibatch_noise(nn.Linear(3, 2), normal(count, 3))


def test_values_of_states_need_no_second_dimension():
    network = normalize(nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1)), "batch")
    flat = noise(network, normal(16, 3), forward=lambda network, obs: network(obs).squeeze(1))
    assert flat == noise(network, normal(16, 3)) > 0


def test_the_generator_alone_says_how_companies_are_drawn():
    network = normalize(nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2)), "batch")
    first, again, other = (noise(network, normal(16, 3), seed) for seed in (0, 0, 1))
    assert first == again != other


class Company(nn.BatchNorm1d):
    """A batch normalization under another name."""


@pytest.mark.parametrize(
    ("module", "depends"),
    [
        (nn.Linear(2, 2), False),
        (nn.BatchNorm1d(2), True),
        (nn.SyncBatchNorm(2), True),
        (nn.Dropout(0.1), True),
        (nn.LayerNorm(2), False),
        (Company(2), False),
    ],
)
def test_only_layers_that_mix_states_can_make_noise(module, depends):
    assert depends_on_minibatch(nn.Sequential(nn.Linear(2, 2), module)) is depends


def test_statistics_that_are_held_make_no_noise():
    network = normalize(nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2)), "mean-batch")
    assert depends_on_minibatch(network)
    assert noise(network, normal(8, 3)) > 0
    hold_statistics(network)
    assert not depends_on_minibatch(network)
    assert noise(network, normal(8, 3)) == 0


# The reading


def test_the_layers_of_some_parameters_alone_can_be_read():
    network = normalize(nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2)), "weight")
    some = NormDiagnostics(network, parameters=[network[2].bias])
    with some.around_update():
        train_once(network)
    assert {tag.split("/")[1] for tag in some.read(0.1)} == {"fc2"}


def test_angles_under_the_tags_of_earlier_versions_are_measured_again():
    diagnostics = NormDiagnostics(nn.Linear(2, 1))
    diagnostics.set_state({"angles": {"norm/torso.layers.0/angle": torch.tensor(3.0)}})
    assert diagnostics.due
    assert set(diagnostics.read(0.1)) == {"weights/fc/w_norm"}


def everything(network):
    """All that a reading must leave as it is, by place."""
    state = {name: tensor.clone() for name, tensor in network.state_dict(keep_vars=True).items()}
    flags = {name: module.training for name, module in network.named_modules()}
    hooks = {name: len(module._forward_hooks) for name, module in network.named_modules()}
    gradients = {name: parameter.grad for name, parameter in network.named_parameters()}
    return SimpleNamespace(state=state, rest=(flags, hooks, gradients), random=torch.get_rng_state())


@pytest.mark.parametrize("norm", NORMALIZERS)
@pytest.mark.parametrize("training", [True, False])
def test_a_reading_changes_nothing(norm, training):
    network = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
    normalize(network, norm)
    train_once(network)  # spectral norm has something to find again
    network.train(training)
    network[1].eval()
    obs = normal(16, 3)
    obs_before, before = obs.clone(), everything(network)
    metrics = NormDiagnostics(network).read(0.1, obs, seeded())
    after = everything(network)
    torch.testing.assert_close(after.state, before.state, rtol=0, atol=0)
    assert after.rest == before.rest
    assert torch.equal(after.random, before.random)
    assert torch.equal(obs, obs_before)
    assert all(value.ndim == 0 and value.isfinite() and not value.requires_grad for value in metrics.values())
    network.train()
    network(obs)  # what would have changed
    same = [torch.equal(tensor, before.state[name]) for name, tensor in network.state_dict().items()]
    assert all(same) == (norm not in ("mean-batch", "batch", "batch+projected", "spectral"))
    assert not torch.equal(torch.get_rng_state(), before.random)


@pytest.mark.parametrize("norm", NORMALIZERS)
def test_a_reading_has_all_metrics(norm):
    network = normalize(nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2)), norm)
    diagnostics = NormDiagnostics(network)
    with diagnostics.around_update():
        train_once(network)
    metrics = diagnostics.read(0.1, normal(16, 3), seeded())
    layers = ("fc1", "fc2")
    names = ["angle", *(["w_norm"] if norm != "projected" else [])]
    names += ["v_norm", "effective_lr"] if norm in ("weight", "mean-batch") else []
    expected = {f"weights/{layer}/{name}" for layer in layers for name in names} | {"weights/fc1/dead"}
    if norm == "projected":
        expected |= {"weights/fc2/w_norm"}  # outputs are not projected
    assert metrics.keys() == expected | ({"weights/minibatch_noise"} if "batch" in norm else set())
    assert set(diagnostics.read(0.1)) == {tag for tag in norm_metrics(network, 0.1)}


def test_a_copy_of_the_learner_is_read_in_its_present_state():
    network = normalize(nn.Sequential(dense([0.0, 0.0]), nn.ReLU(), nn.Linear(2, 2)), "weight")
    diagnostics = NormDiagnostics(network)
    obs = torch.ones(4, 2)
    assert diagnostics.read(0.1, obs)["weights/fc1/dead"] == 0
    network[0].bias.data[0] = -9.0
    assert diagnostics.read(0.1, obs)["weights/fc1/dead"] == 0.5


def test_networks_that_hold_results_of_a_graph_can_be_read():
    class Keeping(nn.Linear):
        def forward(self, x):
            self.last = super().forward(x)
            return self.last

    network = normalize(nn.Sequential(Keeping(3, 4), nn.ReLU(), nn.Linear(4, 2)), "weight", layers=["0"])
    prune.random_unstructured(network[0], "v", 0.5)
    obs = normal(8, 3)
    network(obs)
    assert network[0].last.grad_fn is not None
    assert network[0].v.grad_fn is not None
    assert "weights/fc1/dead" in NormDiagnostics(network).read(0.1, obs)


def test_a_compiled_network_has_the_metrics_of_a_plain_one():
    network, obs = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)), torch.randn(6, 4)
    torch._dynamo.reset()
    compiled = torch.compile(network, backend="eager")
    with torch.no_grad():  # makes a graph without hooks, which would do for the reading's passes
        compiled(obs)
    expected = NormDiagnostics(network).read(1e-3, obs)
    metrics = NormDiagnostics(compiled).read(1e-3, obs)
    assert metrics.keys() == expected.keys()


@pytest.mark.parametrize("number", [2, 3])
def test_noise_is_left_out_where_a_minibatch_would_have_no_variance(number):
    network = normalize(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), "batch")
    metrics = NormDiagnostics(network).read(0.1, normal(number, 3), seeded())
    assert not any("noise" in name for name in metrics)
    assert any("noise" in name for name in NormDiagnostics(network).read(0.1, normal(4, 3), seeded()))
