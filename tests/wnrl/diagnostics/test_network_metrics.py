import copy
import math

import pytest
import torch
from torch import nn

from tests.agents.contract import differences
from tests.agents.tape import tape
from wnrl.checkpoints.tensor_files import read_checkpoint, write_checkpoint
from wnrl.diagnostics import action_gap, dormant_ratio, effective_rank, relative_change, stable_rank
from wnrl.diagnostics.network_metrics import OBSERVATIONS, NetworkDiagnostics, rank_metrics
from wnrl.networks.actor_critic import actor_critic
from wnrl.networks.architecture import Architecture
from wnrl.networks.q_network import q_network
from wnrl.networks.soft_actor_critic import soft_actor_critic
from wnrl.normalizers.conversions import NORMALIZERS
from wnrl.normalizers.folding import fold

OBS = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))


def values(network, obs):
    return network(obs).q_values


def logits(network, obs):
    return network(obs).policy[0]


def make(norm="none", forward=values, **options):
    network = q_network((4,), 3, hidden=(16, 8), norm=norm, **options)
    return network, NetworkDiagnostics(network, forward)


def train(network, steps=3, forward=values):
    """Some steps on a task of its own, in training mode."""
    optimizer = torch.optim.Adam(network.parameters(), lr=0.05)
    for _ in range(steps):
        optimizer.zero_grad()
        forward(network, OBS).square().mean().backward()
        optimizer.step()


def figures(reading):
    return {name: value.item() for name, value in reading.metrics.items()} | rank_metrics(reading.gram)


def weights(network):
    return [parameter.clone() for parameter in fold(network).parameters() if parameter.ndim > 1]


@pytest.mark.parametrize("norm", NORMALIZERS)
def test_all_metrics_are_those_of_the_network_in_evaluation_mode(norm):
    network, diagnostics = make(norm)
    train(network)
    first, before, old = diagnostics.read(OBS), weights(network), copy.deepcopy(network).eval()
    train(network, steps=5)
    after = figures(diagnostics.read(OBS))
    now = copy.deepcopy(network).eval()
    q_values, features = now(OBS).q_values, now.torso(OBS)
    hidden = now.torso.layers[:3](OBS)
    assert set(first.metrics) == {"diagnostics/dormant_ratio", "diagnostics/action_gap"}  # nothing to compare with
    assert after == pytest.approx(
        {
            "diagnostics/dormant_ratio": (16 * dormant_ratio(hidden) + 8 * dormant_ratio(features)).item() / 24,
            "diagnostics/action_gap": action_gap(q_values).item(),
            "diagnostics/weight_change": relative_change(before, weights(network)).item(),
            "diagnostics/policy_churn": (q_values.argmax(1) != old(OBS).q_values.argmax(1)).float().mean().item(),
            "diagnostics/effective_rank": effective_rank(features).item(),
            "diagnostics/stable_rank": stable_rank(features).item(),
        },
        rel=1e-4,
    )
    assert after["diagnostics/weight_change"] > 0


def test_each_reading_is_compared_with_the_last():
    network, diagnostics = make()
    changes = []
    for _ in range(4):
        old = weights(network)
        train(network)
        changes.append((relative_change(old, weights(network)).item(), diagnostics.read(OBS).metrics))
    for truth, metrics in changes[1:]:
        assert metrics["diagnostics/weight_change"].item() == pytest.approx(truth, rel=1e-5)
    unchanged = diagnostics.read(OBS).metrics
    assert unchanged["diagnostics/weight_change"] == unchanged["diagnostics/policy_churn"] == 0


@pytest.mark.parametrize("norm", NORMALIZERS)
def test_a_reading_changes_and_draws_nothing(norm):
    network, diagnostics = make(norm)
    train(network)
    state, generator = copy.deepcopy(network.state_dict()), torch.get_rng_state()
    modes = [module.training for module in network.modules()]
    for _ in range(3):
        diagnostics.read(OBS)
        diagnostics.read(OBS.repeat(20, 1), torch.Generator().manual_seed(0))
    assert differences(state, dict(network.state_dict())) == []  # running statistics too
    assert torch.equal(generator, torch.get_rng_state())
    assert [module.training for module in network.modules()] == modes
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


class InPlace(nn.Module):
    """Half of the hidden units are dead; what follows changes their activations and the features."""

    def __init__(self, in_place):
        super().__init__()
        self.hidden, self.act, self.output, self._in_place = nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2), in_place
        with torch.no_grad():
            self.hidden.weight.zero_()
            self.hidden.bias.copy_(torch.tensor([1.0, 2.0, -1.0, -1.0]))

    @property
    def output_layers(self):
        return (self.output,)

    def forward(self, obs):
        h = self.act(self.hidden(obs))
        h = h.add_(1.0) if self._in_place else h + 1.0
        outputs = self.output(h)
        if self._in_place:
            h.zero_()
        return outputs


def test_what_is_changed_in_place_afterwards_was_read_before():
    torch.manual_seed(0)
    changing, same = InPlace(in_place=True), InPlace(in_place=False)
    same.load_state_dict(changing.state_dict())
    read = [NetworkDiagnostics(network) for network in (changing, same)]
    for _ in range(2):  # each copy
        ours, theirs = (figures(diagnostics.read(OBS)) for diagnostics in read)
        assert ours == theirs
        assert ours["diagnostics/dormant_ratio"] == 0.5
        assert ours["diagnostics/effective_rank"] == 1


def test_of_observations_that_are_no_numbers_nothing_is_known():
    _, diagnostics = make()
    for _ in range(2):
        read = figures(diagnostics.read(torch.full_like(OBS, torch.nan)))
    assert {name for name, value in read.items() if math.isnan(value)} == {
        "diagnostics/dormant_ratio",
        "diagnostics/action_gap",
        "diagnostics/policy_churn",
    }
    assert not {"diagnostics/effective_rank", "diagnostics/stable_rank"} & read.keys()
    assert not any(map(math.isnan, figures(diagnostics.read(OBS)).values()))  # the last one is of these alone


def test_a_reading_does_not_wait_for_the_device():
    _, diagnostics = make("weight")
    for _ in range(2):
        diagnostics.read(OBS)
    generator = torch.Generator()
    assert tape(lambda: diagnostics.read(OBS.repeat(20, 1), generator)).waits == []


def test_of_many_observations_some_are_drawn():
    network, diagnostics = make()
    many = torch.randn(1_000, 4)
    gram = diagnostics.read(many, torch.Generator().manual_seed(1)).gram
    assert len(gram) == min(OBSERVATIONS, 8)
    drawn = torch.randperm(1_000, generator=torch.Generator().manual_seed(1))[:OBSERVATIONS]
    features = network.torso(many[drawn]).double()
    torch.testing.assert_close(gram, features.T @ features)


@pytest.mark.parametrize("restored", [True, False])
def test_goes_on_from_a_state(restored, tmp_path):
    network, diagnostics = make("weight")
    train(network)
    diagnostics.read(OBS)
    write_checkpoint(tmp_path / "state", diagnostics.get_state())
    other_network, other = make("weight", seed=1)
    other.read(OBS)
    if restored:
        other.set_state(read_checkpoint(tmp_path / "state"))
    train(network)
    other_network.load_state_dict(network.state_dict())
    assert (figures(diagnostics.read(OBS)) == figures(other.read(OBS))) == restored
    assert figures(diagnostics.read(OBS)) == figures(other.read(OBS))


def test_a_state_before_the_first_reading_has_nothing_to_compare_with():
    _, diagnostics = make()
    state = diagnostics.get_state()
    diagnostics.read(OBS)
    diagnostics.set_state(state)
    assert "diagnostics/weight_change" not in diagnostics.read(OBS).metrics


# Features of each kind of network


def gram_of(network, forward=values):
    return NetworkDiagnostics(network, forward).read(OBS).gram


def test_the_features_of_streams_are_those_of_both():
    network = q_network((4,), 3, hidden=(8,), architecture=Architecture(dueling=True))
    sides = []
    for layer in network.output_layers:
        layer.register_forward_pre_hook(lambda layer, inputs: sides.append(inputs[0]))
    network(OBS)
    features = torch.cat(sides, 1).double()
    assert features.shape == (20, 16)
    torch.testing.assert_close(gram_of(network), features.T @ features)


def test_q_is_linear_in_the_features_of_an_implicit_distribution():
    network = q_network((4,), 3, hidden=(8,), architecture=Architecture(distribution="implicit"))
    kept = []
    (layer,) = network.output_layers
    layer.register_forward_pre_hook(lambda layer, inputs: kept.append(inputs[0]))
    q_values = network(OBS).q_values
    features = kept[0].mean(1)
    torch.testing.assert_close(layer(features), q_values)
    torch.testing.assert_close(gram_of(network), features.double().T @ features.double())


@pytest.mark.parametrize("discrete", [True, False])
def test_an_actor_critic_is_read_by_its_policy(discrete):
    network = actor_critic((4,), **({"num_actions": 3} if discrete else {"action_size": 2}), hidden=(8, 6))
    diagnostics = NetworkDiagnostics(network, logits)
    diagnostics.read(OBS)
    with torch.no_grad():
        for parameter in network.policy.parameters():
            parameter.neg_()
    reading = diagnostics.read(OBS)
    features = network.torso(OBS).double()
    torch.testing.assert_close(reading.gram, features.T @ features)
    assert "diagnostics/action_gap" not in reading.metrics
    assert ("diagnostics/policy_churn" in reading.metrics) == discrete
    assert not discrete or reading.metrics["diagnostics/policy_churn"] == 1


def test_a_soft_actor_critic_is_read_by_its_policy():
    network = soft_actor_critic((4,), 3, hidden=(8,))
    features = network.policy.torso(OBS).double()
    torch.testing.assert_close(gram_of(network, lambda net, obs: net(obs).policy.logits), features.T @ features)


def test_a_network_that_names_no_output_layers_has_no_ranks():
    reading = NetworkDiagnostics(nn.Sequential(nn.Linear(4, 3), nn.Softmax(1))).read(OBS)
    assert (reading.metrics, reading.gram, rank_metrics(reading.gram)) == ({}, None, {})


def test_features_that_are_not_finite_have_no_ranks():
    assert rank_metrics(torch.full((2, 2), torch.nan)) == {}


def test_a_single_action_has_no_gap():
    network = q_network((4,), 1, hidden=(8,))
    assert "diagnostics/action_gap" not in NetworkDiagnostics(network, values).read(OBS).metrics
