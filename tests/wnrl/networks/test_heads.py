"""wnrl.networks.heads: what the outputs mean, against formulas written out."""

import copy
import pickle
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from wnrl.initialization.initialize import initialize
from wnrl.networks.heads import (
    CategoricalHead,
    CategoricalValues,
    DuelingLayer,
    Head,
    HeadMLP,
    QuantileHead,
    QuantileValues,
    QValues,
    SharedBiasLinear,
    output_layers,
)
from wnrl.networks.noisy import NoisyLinear
from wnrl.normalizers.folding import fold
from wnrl.normalizers.normalize import normalize

DUELING = partial(DuelingLayer, num_actions=3, hidden=6)
HEADS = {
    "categorical": lambda layer: CategoricalHead(5, 3, 7, layer=layer),
    "quantile": lambda layer: QuantileHead(5, 3, 7, layer=layer),
    "dueling categorical": lambda layer: CategoricalHead(5, 3, 7, layer=partial(DUELING, layer=layer)),
    "dueling quantile": lambda layer: QuantileHead(5, 3, 7, layer=partial(DUELING, layer=layer)),
    "MLP quantile": lambda layer: QuantileHead(5, 3, 7, layer=partial(HeadMLP, hidden=6, layer=layer)),
}
each_head = pytest.mark.parametrize("make", HEADS.values(), ids=HEADS.keys())
each_layer = pytest.mark.parametrize("layer", [nn.Linear, NoisyLinear])


class Given(nn.Module):
    """In the place of a layer: the outputs that a test wants."""

    def __init__(self, *outputs):
        super().__init__()
        self.outputs = torch.tensor(outputs)

    def forward(self, features):
        return self.outputs.expand(len(features), -1)


@pytest.mark.parametrize(
    ("value", "advantage", "q"),
    [
        ([10.0], [1.0, 2.0, 6.0], [8.0, 9.0, 13.0]),
        ([0.0], [5.0, 5.0], [0.0, 0.0]),
        ([1.0, -1.0], [1.0, 0.0, 3.0, 4.0], [0.0, -3.0, 2.0, 1.0]),  # two outputs for each of two actions
    ],
)
def test_the_streams_are_joined_as_in_equation_9(value, advantage, q):
    layer = DuelingLayer(2, len(advantage), num_actions=len(advantage) // len(value))
    layer.value, layer.advantage = Given(*value), Given(*advantage)
    torch.testing.assert_close(layer(torch.zeros(1, 2)), torch.tensor([q]))


@settings(max_examples=25, deadline=None)
@given(
    actions=st.integers(1, 4),
    outputs=st.integers(1, 3),
    hidden=st.sampled_from([None, 4]),
    leading=st.sampled_from([(2,), (2, 3)]),
)
def test_a_dueling_layer_is_its_formula_and_its_mean_is_the_value(actions, outputs, hidden, leading):
    layer = DuelingLayer(5, actions * outputs, num_actions=actions, hidden=hidden)
    features = torch.randn(*leading, 5)
    got = layer(features)
    value, advantage = layer.value(features), layer.advantage(features)
    assert got.shape == (*leading, actions * outputs)
    for k in range(outputs):
        streams = advantage[..., k::outputs]  # [..., A]
        twin = value[..., k : k + 1] + streams - streams.mean(-1, keepdim=True)
        torch.testing.assert_close(got[..., k::outputs], twin)
        torch.testing.assert_close(got[..., k::outputs].mean(-1), value[..., k], atol=1e-5, rtol=1e-4)


def test_each_stream_has_its_hidden_layer():
    sizes = [(m.in_features, m.out_features) for m in DUELING(5, 21).modules() if isinstance(m, nn.Linear)]
    assert sizes == [(5, 6), (6, 7), (5, 6), (6, 21)]
    layer = DuelingLayer(5, 21, num_actions=3, hidden=None)
    assert [(m.in_features, m.out_features) for m in layer.modules() if isinstance(m, nn.Linear)] == [(5, 7), (5, 21)]


def test_a_perceptron_is_its_formula_and_stands_for_a_linear_layer():
    mlp, features = HeadMLP(5, 4, hidden=6), torch.randn(2, 5)
    torch.testing.assert_close(mlp(features), mlp[2](mlp[0](features).clamp(min=0)))
    assert (mlp.in_features, mlp.out_features) == (5, 4)
    alone = HeadMLP(5, 4, hidden=None, layer=NoisyLinear)
    assert [type(layer) for layer in alone] == [NoisyLinear]
    assert alone.output_layers == (alone[0],)
    assert mlp.output_layers == (mlp[2],)


@pytest.mark.parametrize("norm", ["none", "weight", "layer"])
def test_all_values_share_one_bias(norm):
    """Tuned Double DQN (van Hasselt et al. 2016)."""
    layer = SharedBiasLinear(5, 3)
    features = torch.randn(4, 5)
    expected = torch.stack([features @ row for row in layer.linear.weight], 1) + layer.shared_bias
    network = nn.Sequential(nn.Linear(5, 5), layer)
    assert output_layers(network[-1]) == (layer.linear,)
    assert sorted(p.numel() for p in layer.parameters()) == [1, 15]
    normalize(network, norm)
    torch.testing.assert_close(layer(features), expected)
    assert abs(float(layer.shared_bias.detach())) <= 5**-0.5
    torch.testing.assert_close(fold(network)(features), network(features))
    initialize(network, "he")


def test_outputs_that_the_actions_do_not_share_are_refused():
    with pytest.raises(ValueError, match="10 outputs are not a multiple of 3 actions"):
        DuelingLayer(5, 10, num_actions=3)


def test_categorical_values_of_known_logits():
    head = CategoricalHead(2, 2, atoms=3, v_min=-2, v_max=4)
    assert head.atoms.tolist() == [-2.0, 1.0, 4.0]
    head.layer = Given(0.0, 0.0, 0.0, 100.0, 0.0, 0.0)
    values = head(torch.zeros(1, 2))
    torch.testing.assert_close(values.q_values, torch.tensor([[1.0, -2.0]]))
    assert values.logits.tolist() == [[[0.0, 0.0, 0.0], [100.0, 0.0, 0.0]]]
    assert torch.equal(values.atoms, head.atoms)


def test_categorical_values_are_the_means_of_the_distributions():
    head, features = CategoricalHead(5, 3, 51, -10, 10), torch.randn(4, 5)
    values = head(features)
    assert values.logits.shape == (4, 3, 51)
    for b in range(4):
        for a in range(3):
            weights = values.logits[b, a].exp()
            torch.testing.assert_close(values.q_values[b, a], (weights / weights.sum()) @ torch.linspace(-10, 10, 51))


@pytest.mark.parametrize("arguments", [(1, -10, 10), (51, 10, 10), (51, 10, -10)])
def test_atoms_without_a_range_are_refused(arguments):
    with pytest.raises(ValueError, match=rf"got {arguments[0]} in \[{arguments[1]}, {arguments[2]}\]"):
        CategoricalHead(5, 3, *arguments)


def test_quantile_values_of_known_quantiles():
    head = QuantileHead(2, 2, 4)
    assert head.taus.tolist() == [0.125, 0.375, 0.625, 0.875]
    head.layer = Given(1.0, 2.0, 3.0, 6.0, -1.0, -1.0, -1.0, -1.0)
    values = head(torch.zeros(1, 2))
    assert values.q_values.tolist() == [[3.0, -1.0]]
    assert values.quantiles.tolist() == [[[1.0, 2.0, 3.0, 6.0], [-1.0] * 4]]
    assert torch.equal(values.taus, head.taus)


def test_no_quantile_is_refused():
    with pytest.raises(ValueError, match="at least 1, got 0"):
        QuantileHead(5, 3, 0)


def test_streams_of_a_distribution_are_joined_before_the_softmax():
    head, features = HEADS["dueling categorical"](nn.Linear), torch.randn(4, 5)
    value, advantage = head.layer.value(features), head.layer.advantage(features).view(4, 3, 7)
    values = head(features)
    torch.testing.assert_close(values.logits, value[:, None] + advantage - advantage.mean(1, keepdim=True))
    after = value.softmax(-1)[:, None] + advantage.softmax(-1) - advantage.softmax(-1).mean(1, keepdim=True)
    assert not torch.allclose(values.q_values, (after * head.atoms).sum(-1), atol=1e-3)


@each_head
@each_layer
def test_heads_compute_in_float32_under_autocast(make, layer):
    head, features = make(layer), torch.randn(4, 5).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = head(features).q_values
    assert output.dtype == torch.float32
    assert torch.equal(output, head(features.float()).q_values)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert head.layer(features.float()).dtype == torch.bfloat16  # what the head does without


@each_head
@each_layer
@pytest.mark.parametrize("norm", ["none", "weight"])
def test_every_parameter_has_a_gradient_and_folding_keeps_the_function(make, layer, norm):
    head, features = normalize(make(layer), norm), torch.randn(4, 5)
    sum(part.square().sum() for part in head(features) if part.requires_grad).backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad.count_nonzero() > 0, name
    torch.testing.assert_close(fold(head)(features).q_values, head(features).q_values)


@each_head
@each_layer
def test_leading_dimensions_stand_for_the_batch(make, layer):
    head, features = make(layer), torch.randn(2, 4, 5)
    torch.testing.assert_close(head(features).q_values.flatten(0, 1), head(features.flatten(0, 1)).q_values)


@each_head
def test_copies_have_the_same_function_and_state(make):
    head, features = make(NoisyLinear), torch.randn(4, 5)
    other = make(NoisyLinear)
    other.load_state_dict(head.state_dict())
    assert all(tensor.is_floating_point() for tensor in head.state_dict().values())
    for copied in (copy.deepcopy(head), pickle.loads(pickle.dumps(head)), other):
        assert torch.equal(copied(features).q_values, head(features).q_values)


def test_output_layers_of_each_head():
    for name, make in HEADS.items():
        head = make(nn.Linear)
        streams = (head.layer.value[-1], head.layer.advantage[-1]) if "dueling" in name else (head.layer,)
        streams = (head.layer[-1],) if "MLP" in name else streams
        assert head.output_layers == output_layers(head) == streams
        assert [type(layer) for layer in make(NoisyLinear).output_layers] == [NoisyLinear] * len(streams)
    linear = nn.Linear(2, 2)
    assert output_layers(linear) == (linear,)


def test_output_layers_of_a_normalized_head_are_the_normalized_ones():
    head = normalize(HEADS["dueling categorical"](nn.Linear), "weight")
    assert [layer.v.shape for layer in head.output_layers] == [(7, 6), (21, 6)]


@each_layer
def test_normalizing_all_but_the_output_leaves_the_last_layer_of_each_stream_plain(layer):
    network = normalize(DUELING(5, 21, layer=layer), "weight", normalize_output=False)
    shapes = [tuple(p.shape) for name, p in network.named_parameters() if name.rsplit(".", 1)[1] == "v"]
    assert shapes == [(6, 5), (6, 5)]
    assert len([module for module in network.modules() if type(module) is nn.Linear]) == 2


def test_the_base_has_no_reading():
    with pytest.raises(NotImplementedError):
        Head(nn.Linear(2, 2), 2)(torch.zeros(1, 2))


@each_head
def test_gradients_reach_features_of_another_dtype(make):
    features = torch.randn(4, 5).bfloat16().requires_grad_()
    make(nn.Linear)(features).q_values.sum().backward()
    assert features.grad.dtype == torch.bfloat16
    assert features.grad.count_nonzero()


@pytest.mark.parametrize(
    "outputs",
    [
        QValues(torch.tensor([[0.0, 2.0, 1.0], [3.0, 2.0, 1.0]])),
        CategoricalValues(torch.tensor([[0.0, 2.0, 1.0], [3.0, 2.0, 1.0]]), torch.zeros(2, 3, 5), torch.zeros(5)),
        QuantileValues(torch.tensor([[0.0, 2.0, 1.0], [3.0, 2.0, 1.0]]), torch.zeros(2, 3, 5), torch.zeros(5)),
    ],
    ids=["values", "categorical", "quantile"],
)
def test_the_policy_of_values_is_greedy(outputs):
    policy = outputs.policy
    assert policy.num_actions == 3
    assert policy.mode().tolist() == policy.sample(torch.Generator().manual_seed(0)).tolist() == [1, 0]
