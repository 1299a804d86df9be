import pytest
import torch

from agents.policy_gradient.actor_critic_loss import Weights, policy_gradient, proximal
from agents.policy_gradient.actors import Minibatch
from wnrl.networks.actor_critic import ActorCriticValues
from wnrl.networks.policy_heads import CategoricalPolicy, GaussianPolicy

B = 40


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def example(continuous=False, sequences=False):
    """Outputs of a network and what they were evaluated on, a third of which is not valid."""
    action = draw(B, 2, seed=1) if continuous else draw(B, seed=1).gt(0).long()
    policy = GaussianPolicy(draw(B, 2), draw(2, seed=2)) if continuous else CategoricalPolicy(draw(B, 2))
    valid, old = draw(B, seed=3) > -0.4, policy.log_prob(action) + 0.5 * draw(B, seed=4)
    batch = Minibatch(
        draw(B, 3), valid, action, old, draw(B, seed=5), draw(B, seed=6), draw(B, seed=7), valid, state=()
    )
    outputs = ActorCriticValues(policy, draw(B, seed=8))
    if sequences:  # [T, b]
        batch = batch.map(lambda x: x.unflatten(0, (8, 5)))
        outputs = ActorCriticValues(type(policy)(policy[0].unflatten(0, (8, 5)), *policy[1:]), outputs.value.view(8, 5))
    return outputs, batch


def losses(outputs, batch, normalized=False, clip=0.2, value_clip=0.0):
    weights = Weights(0.7, 0.1)
    return (
        policy_gradient(outputs, batch, weights, normalized),
        proximal(outputs, batch, weights, normalized, clip, value_clip),
    )


@pytest.mark.parametrize("continuous", [False, True])
def test_the_loss_is_the_weighted_sum_of_its_figures(continuous):
    for loss, figures in losses(*example(continuous)):
        expected = figures["train/policy_gradient_loss"] + 0.7 * figures["train/value_loss"]
        torch.testing.assert_close(loss, expected + 0.1 * figures["train/entropy_loss"])
        assert all(value.ndim == 0 and value.isfinite() for value in figures.values())


def test_entropy_is_the_mean_of_the_policys():
    outputs, batch = example()
    expected = outputs.policy.entropy()[batch.valid].mean()
    for _, figures in losses(outputs, batch):
        torch.testing.assert_close(figures["train/entropy_loss"], -expected)


@pytest.mark.parametrize("continuous", [False, True])
def test_sequences_are_steps_like_others(continuous):
    for (loss, figures), (other, same) in zip(
        losses(*example(continuous)), losses(*example(continuous, sequences=True)), strict=True
    ):
        torch.testing.assert_close(loss, other)
        torch.testing.assert_close(figures, same)


def test_what_is_not_valid_is_ignored():
    outputs, batch = example()
    for name in ("advantage", "target", "value", "log_prob"):
        spoilt = batch._replace(**{name: torch.where(batch.valid, getattr(batch, name), 1e6)})
        for (loss, _), (other, _) in zip(
            losses(outputs, batch, True, 0.2, 0.3), losses(outputs, spoilt, True, 0.2, 0.3), strict=True
        ):
            torch.testing.assert_close(loss, other)


def test_normalized_advantages_have_no_scale():
    outputs, batch = example()
    larger = batch._replace(advantage=5 + 100 * batch.advantage)
    for normalized in (True, False):
        for (_, figures), (_, other) in zip(
            losses(outputs, batch, normalized), losses(outputs, larger, normalized), strict=True
        ):
            difference = abs(float(figures["train/policy_gradient_loss"] - other["train/policy_gradient_loss"]))
            assert (difference < 1e-5) is normalized


def test_each_clip_changes_its_own_part():
    outputs, batch = example()
    _, base = proximal(outputs, batch, Weights(1, 0), False, 0.2, 0.0)
    _, wide = proximal(outputs, batch, Weights(1, 0), False, 10.0, 0.0)
    _, valued = proximal(outputs, batch, Weights(1, 0), False, 0.2, 0.1)
    assert base["train/clip_fraction"] > 0.2 > wide["train/clip_fraction"] == 0
    assert base["train/policy_gradient_loss"] > wide["train/policy_gradient_loss"]  # the surrogate is a lower bound
    assert valued["train/value_loss"] > base["train/value_loss"]
    assert valued["train/policy_gradient_loss"] == base["train/policy_gradient_loss"]


def test_without_any_move_the_proximal_gradient_is_the_policy_gradient():
    logits = draw(B, 2).requires_grad_()
    outputs, batch = example()
    outputs = ActorCriticValues(CategoricalPolicy(logits), outputs.value)
    batch = batch._replace(log_prob=outputs.policy.log_prob(batch.action).detach())
    gradients = [torch.autograd.grad(loss, logits)[0] for loss, _ in losses(outputs, batch)]
    torch.testing.assert_close(*gradients)
