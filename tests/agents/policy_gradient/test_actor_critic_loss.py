import pytest
import torch

from agents.policy_gradient.actor_critic_loss import LossWeights, actor_critic_loss
from agents.policy_gradient.ppo import ppo_loss
from tests.agents.policy_gradient_family import loss_example


def losses(outputs, batch, normalize=False, value_clip=0.0):
    """The loss of A2C and REINFORCE, and that of PPO, which weights its parts alike."""
    weights = LossWeights(0.7, 0.1)
    return (
        actor_critic_loss(outputs, batch, weights, normalize=normalize),
        ppo_loss(outputs, batch, weights, normalize=normalize, clip=0.2, value_clip=value_clip),
    )


@pytest.mark.parametrize("continuous", [False, True])
def test_the_loss_is_the_weighted_sum_of_its_metrics(continuous):
    for loss, metrics in losses(*loss_example(continuous)):
        expected = metrics["train/policy_gradient_loss"] + 0.7 * metrics["train/value_loss"]
        torch.testing.assert_close(loss, expected + 0.1 * metrics["train/entropy_loss"])
        assert all(value.ndim == 0 and value.isfinite() for value in metrics.values())


def test_entropy_is_the_mean_of_the_policys():
    outputs, batch = loss_example()
    expected = outputs.policy.entropy()[batch.valid].mean()
    for _, metrics in losses(outputs, batch):
        torch.testing.assert_close(metrics["train/entropy_loss"], -expected)


@pytest.mark.parametrize("continuous", [False, True])
def test_sequences_are_steps_like_others(continuous):
    for (loss, metrics), (other, same) in zip(
        losses(*loss_example(continuous)), losses(*loss_example(continuous, sequences=True)), strict=True
    ):
        torch.testing.assert_close(loss, other)
        torch.testing.assert_close(metrics, same)


def test_what_is_not_valid_is_ignored():
    outputs, batch = loss_example()
    for name in ("advantage", "target", "value", "log_prob"):
        spoilt = batch._replace(**{name: torch.where(batch.valid, getattr(batch, name), 1e6)})
        for (loss, _), (other, _) in zip(
            losses(outputs, batch, True, 0.3), losses(outputs, spoilt, True, 0.3), strict=True
        ):
            torch.testing.assert_close(loss, other)


def test_normalized_advantages_have_no_scale():
    outputs, batch = loss_example()
    larger = batch._replace(advantage=5 + 100 * batch.advantage)
    for normalized in (True, False):
        for (_, metrics), (_, other) in zip(
            losses(outputs, batch, normalized), losses(outputs, larger, normalized), strict=True
        ):
            difference = abs(float(metrics["train/policy_gradient_loss"] - other["train/policy_gradient_loss"]))
            assert (difference < 1e-5) is normalized
