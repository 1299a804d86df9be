"""wnrl.networks.policy_heads: policies against torch.distributions, and what the heads make of features."""

import copy
import math
import pickle

import pytest
import torch
from torch import distributions, nn

from wnrl.networks.noisy import NoisyLinear
from wnrl.networks.policy_heads import CategoricalPolicy, GaussianPolicy, GaussianPolicyHead, PolicyHead, ValueHead
from wnrl.normalizers.folding import fold
from wnrl.normalizers.normalize import normalize

HEADS = {
    "policy": lambda layer: PolicyHead(5, 3, layer),
    "gaussian": lambda layer: GaussianPolicyHead(5, 3, layer=layer),
    "value": lambda layer: ValueHead(5, layer),
}
each_head = pytest.mark.parametrize("make", HEADS.values(), ids=HEADS.keys())
each_layer = pytest.mark.parametrize("layer", [nn.Linear, NoisyLinear])
each_leading = pytest.mark.parametrize("leading", [(), (4,), (3, 4)])
KINDS = ("categorical", "gaussian")


def main_output(head, features):
    outputs = head(features)
    return outputs if isinstance(outputs, torch.Tensor) else outputs[0]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def make_policy(kind, leading=(4,)):
    if kind == "categorical":
        return CategoricalPolicy(2 * torch.randn(*leading, 3, requires_grad=True))
    return GaussianPolicy(torch.randn(*leading, 3, requires_grad=True), torch.tensor([-1.0, 0.0, 0.5]).requires_grad_())


def reference(policy):
    if isinstance(policy, CategoricalPolicy):
        return distributions.Categorical(logits=policy.logits)
    return distributions.Independent(distributions.Normal(policy.mean, policy.log_std.exp()), 1)


# Policies


@pytest.mark.parametrize("name", ["policy", "gaussian"])
def test_what_is_drawn_beforehand_samples_the_same_actions_in_parts(name):
    head, features = HEADS[name](nn.Linear), torch.randn(7, 5)
    policy, noise = head(features), head.noise(7, seeded())
    actions = policy.sample(seeded())
    assert torch.equal(policy.sample_by(noise), actions)
    parts = [head(features[part]).sample_by(noise[part]) for part in (slice(0, 2), slice(2, 7))]
    torch.testing.assert_close(torch.cat(parts), actions)
    assert not torch.equal(policy.sample_by(head.noise(7, seeded(1))), actions)


@each_leading
@pytest.mark.parametrize("kind", KINDS)
def test_probabilities_and_entropies_are_those_of_torch_with_their_gradients(kind, leading):
    policy = make_policy(kind, leading)
    twin = reference(policy)
    action = twin.sample()
    for ours, theirs in ((policy.log_prob(action), twin.log_prob(action)), (policy.entropy(), twin.entropy())):
        assert ours.shape == leading
        torch.testing.assert_close(ours, theirs)
        options = {"retain_graph": True, "allow_unused": True, "materialize_grads": True}
        gradients = [torch.autograd.grad(x.square().sum(), policy, **options) for x in (ours, theirs)]
        torch.testing.assert_close(*gradients)


def test_known_numbers():
    even = CategoricalPolicy(torch.zeros(1, 4))
    assert even.log_prob(torch.tensor([2])).item() == pytest.approx(-math.log(4))
    assert even.entropy().item() == pytest.approx(math.log(4))
    standard = GaussianPolicy(torch.zeros(1, 2), torch.zeros(2))
    assert standard.log_prob(torch.tensor([[0.0, 2.0]])).item() == pytest.approx(-2 - math.log(2 * math.pi))
    assert standard.entropy().item() == pytest.approx(math.log(2 * math.pi * math.e))


@each_leading
def test_samples_have_the_shape_of_actions_and_the_mode_is_the_likeliest(leading):
    for kind, shape, dtype in (("categorical", leading, torch.int64), ("gaussian", (*leading, 3), torch.float32)):
        policy = make_policy(kind, leading)
        sample, mode = policy.sample(seeded()), policy.mode()
        assert (sample.shape, sample.dtype, sample.requires_grad) == (shape, dtype, False)
        assert (mode.shape, mode.dtype) == (shape, dtype)
        assert policy.num_actions == (policy.logits.shape[-1] if kind == "categorical" else 0)
        for seed in range(10):
            assert (policy.log_prob(mode) >= policy.log_prob(policy.sample(seeded(seed)))).all()


def test_actions_are_drawn_as_often_as_they_are_probable():
    policy = CategoricalPolicy(torch.tensor([0.1, 0.2, 0.7, 0.0]).log().expand(40_000, 4) + 5)
    shares = policy.sample(seeded()).bincount(minlength=4) / 40_000
    torch.testing.assert_close(shares, torch.tensor([0.1, 0.2, 0.7, 0.0]), atol=0.01, rtol=0)
    assert shares[3] == 0


def test_numbers_are_drawn_with_their_mean_and_deviation():
    log_std = torch.tensor([-1.0, 0.5])
    draws = GaussianPolicy(torch.tensor([3.0, -2.0]).expand(40_000, 2), log_std).sample(seeded())
    torch.testing.assert_close(draws.mean(0), torch.tensor([3.0, -2.0]), atol=0.03, rtol=0)
    torch.testing.assert_close(draws.std(0), log_std.exp(), atol=0.03, rtol=0)
    assert abs(draws.T.corrcoef()[0, 1]) < 0.02


@pytest.mark.parametrize("kind", KINDS)
def test_the_generator_decides_the_draw_and_the_global_one_is_left_alone(kind):
    policy, state = make_policy(kind, (50,)), torch.get_rng_state()
    first, again, other = (policy.sample(seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(policy.sample(), policy.sample())


@pytest.mark.parametrize(("kind", "shape"), [("categorical", (4, 1)), ("categorical", (3,)), ("gaussian", (3,))])
def test_actions_of_another_shape_are_refused(kind, shape):
    policy = make_policy(kind)
    with pytest.raises(ValueError, match=r"expected actions of shape \[4.*\], got \["):
        policy.log_prob(torch.zeros(shape, dtype=torch.int64))


# Heads


def test_policies_and_values():
    features = torch.randn(4, 5)
    policy, gaussian, value = PolicyHead(5, 3), GaussianPolicyHead(5, 2, log_std=-0.5), ValueHead(5)
    assert torch.equal(policy(features).logits, policy.layer(features))
    assert torch.equal(gaussian(features).mean, gaussian.layer(features))
    assert gaussian(features).log_std is gaussian.log_std
    assert gaussian.log_std.tolist() == [-0.5, -0.5]
    assert isinstance(gaussian.log_std, nn.Parameter)
    assert torch.equal(value(features), value.layer(features)[:, 0])
    assert [head.out_features for head in (policy, gaussian, value)] == [3, 2, 1]


@each_head
@each_layer
def test_heads_compute_in_float32_under_autocast(make, layer):
    head, features = make(layer), torch.randn(4, 5).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = main_output(head, features)
    assert output.dtype == torch.float32
    assert torch.equal(output, main_output(head, features.float()))


@each_head
@each_layer
@pytest.mark.parametrize("norm", ["none", "weight"])
def test_every_parameter_has_a_gradient_and_folding_keeps_the_function(make, layer, norm):
    head, features = normalize(make(layer), norm), torch.randn(4, 5)
    outputs = head(features)
    if isinstance(outputs, tuple):
        outputs = outputs.log_prob(outputs.sample())
    outputs.square().sum().backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad.count_nonzero() > 0, name
    torch.testing.assert_close(main_output(fold(head), features), main_output(head, features))


@each_head
@each_layer
def test_leading_dimensions_stand_for_the_batch(make, layer):
    head, features = make(layer), torch.randn(2, 4, 5)
    torch.testing.assert_close(main_output(head, features).flatten(0, 1), main_output(head, features.flatten(0, 1)))


@each_head
def test_copies_have_the_same_function_and_state(make):
    head, features = make(NoisyLinear), torch.randn(4, 5)
    other = make(NoisyLinear)
    other.load_state_dict(head.state_dict())
    assert all(tensor.is_floating_point() for tensor in head.state_dict().values())
    for copied in (copy.deepcopy(head), pickle.loads(pickle.dumps(head)), other):
        assert torch.equal(main_output(copied, features), main_output(head, features))


@each_head
@each_layer
def test_the_output_layer_is_the_heads(make, layer):
    head = make(layer)
    assert head.output_layers == (head.layer,)
    assert type(head.layer) is layer
