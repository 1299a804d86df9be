import math
import re

import pytest
import torch
from torch.autograd import gradcheck
from torch.nn import functional as F

from agents.losses.value import expected_target, greedy, huber, munchausen_bonus, softmax_policy, td_error

REWARD = torch.tensor([1.0, -1.0, 0.5, 2.0])
DISCOUNT = torch.tensor([0.9, 0.9, 0.0, 0.81])  # the third terminated, the last is of two steps
LEARNER = torch.tensor([[5.0, 1.0], [0.0, 3.0], [9.0, 9.5], [1.0, 0.0]])
TARGET = torch.tensor([[2.0, 4.0], [-1.0, -2.0], [7.0, 8.0], [10.0, 20.0]])


def q_target(reward, discount, next_q):
    """The target of Q-learning, Mnih et al. 2015, equation 2."""
    return expected_target(reward, discount, next_q, greedy(next_q))


def double_q_target(reward, discount, next_q_learner, next_q_target):
    """The target of double Q-learning, van Hasselt et al. 2016, equation 4."""
    return expected_target(reward, discount, next_q_target, greedy(next_q_learner))


def test_q_target_takes_the_greatest_value():
    torch.testing.assert_close(q_target(REWARD, DISCOUNT, TARGET), torch.tensor([4.6, -1.9, 0.5, 18.2]))


def test_double_q_target_takes_the_value_of_the_learners_choice():
    values = double_q_target(REWARD, DISCOUNT, LEARNER, TARGET)
    torch.testing.assert_close(values, torch.tensor([2.8, -2.8, 0.5, 10.1]))


def test_double_equals_plain_where_both_choose_alike():
    torch.testing.assert_close(
        double_q_target(REWARD, DISCOUNT, 3 * TARGET + 1, TARGET), q_target(REWARD, DISCOUNT, TARGET)
    )


def test_a_terminal_row_ignores_what_comes_after():
    wild = torch.full((4, 2), 1e9)
    assert q_target(REWARD, torch.zeros(4), wild).tolist() == REWARD.tolist()


@pytest.mark.parametrize(
    ("reward", "discount", "learner", "target"),
    [
        ((4,), (4,), (4,), (4,)),
        ((4,), (4,), (4, 2), (4, 3)),
        ((4, 1), (4, 1), (4, 2), (4, 2)),
        ((4,), (1,), (4, 2), (4, 2)),
        ((3,), (3,), (4, 2), (4, 2)),
    ],
)
def test_shapes_that_would_broadcast_are_refused(reward, discount, learner, target):
    with pytest.raises(ValueError, match=r"\[B"):
        double_q_target(*(torch.zeros(shape) for shape in (reward, discount, learner, target)))


def test_greedy_is_one_at_the_first_of_the_greatest_values():
    q_values = torch.tensor([[1.0, 3.0, 2.0], [-1.0, -1.0, -5.0], [0.0, 0.0, 0.1]], dtype=torch.float64)
    policy = greedy(q_values)
    assert policy.tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 1]]
    assert policy.dtype == torch.float64


def test_softmax_policy_by_hand():
    q_values = torch.tensor([[7.0, 7.0], [0.0, 2 * math.log(3)]])
    policy, log_policy = softmax_policy(q_values, 2.0)
    torch.testing.assert_close(policy, torch.tensor([[0.5, 0.5], [0.25, 0.75]]))
    torch.testing.assert_close(log_policy, torch.tensor([[-0.693147, -0.693147], [-1.386294, -0.287682]]))


def test_softmax_policy_is_stable_where_the_division_first_is_not():
    q_values = 2000 + 0.01 * torch.randn(64, 6, generator=torch.Generator().manual_seed(0))
    expected = (q_values.double() / 0.03).log_softmax(1).float()
    _, log_policy = softmax_policy(q_values, 0.03)
    torch.testing.assert_close(log_policy, expected, rtol=1e-5, atol=1e-6)
    assert ((q_values / 0.03).log_softmax(1) - expected).abs().max() > 1e-3


def test_a_value_far_below_rounds_away_no_difference_between_the_others():
    policy, _ = softmax_policy(torch.tensor([[-1e6, 0.0, 0.03]]), 0.03)
    torch.testing.assert_close(policy, torch.tensor([[0.0, 0.268941, 0.731059]]))  # 1 / (1 + e), e / (1 + e)


def test_softmax_policy_of_distant_values_is_finite():
    policy, log_policy = softmax_policy(torch.tensor([[1e6, -1e6], [-1e6, 1e6]]), 0.03)
    assert policy.tolist() == [[1, 0], [0, 1]]
    assert log_policy.isfinite().all()


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan])
def test_a_temperature_that_is_not_above_0_is_refused(temperature):
    with pytest.raises(ValueError, match="temperature must be above 0"):
        softmax_policy(TARGET, temperature)


def test_munchausen_bonus_by_hand():
    q_values = torch.tensor([[0.0, 2 * math.log(3)], [0.0, 2 * math.log(3)], [0.0, 100.0], [0.0, 100.0]])
    bonus = munchausen_bonus(q_values, torch.tensor([0, 1, 0, 1]), temperature=2.0, alpha=0.9, low=-3.0)
    # τ log π: 2 log ¼ = −2.7726, 2 log ¾ = −0.5754, −100 clipped to −3, and 0
    torch.testing.assert_close(bonus, torch.tensor([-2.495330, -0.517828, -2.7, 0.0]), rtol=1e-5, atol=1e-6)


def test_expected_target_by_hand():
    policy = torch.tensor([[0.25, 0.75], [1.0, 0.0], [0.5, 0.5], [0.5, 0.5]])
    penalty = torch.tensor([[-1.0, 3.0], [0.0, -9.0], [1.0, 1.0], [-2.0, -4.0]])
    torch.testing.assert_close(
        expected_target(REWARD, DISCOUNT, TARGET, policy), torch.tensor([4.15, -1.9, 0.5, 14.15])
    )
    # Σ π penalty: 2, 0, 1, −3
    torch.testing.assert_close(
        expected_target(REWARD, DISCOUNT, TARGET, policy, penalty), torch.tensor([2.35, -1.9, 0.5, 16.58])
    )


def test_expected_target_of_a_greedy_policy_is_exactly_the_target_of_q_learning():
    random = torch.Generator().manual_seed(0)
    reward, discount, learner, target = (torch.randn(shape, generator=random) for shape in (64, 64, (64, 5), (64, 5)))
    assert torch.equal(q_target(reward, discount, target), reward + discount * target.amax(1))
    choice = learner.argmax(1, keepdim=True)
    double = reward + discount * target.gather(1, choice).squeeze(1)
    assert torch.equal(double_q_target(reward, discount, learner, target), double)


@pytest.mark.parametrize("temperature", [0.1, 1.0, 10.0])
def test_the_soft_target_is_that_of_the_log_sum_of_exponentials(temperature):
    q_values = TARGET.double()
    policy, log_policy = softmax_policy(q_values, temperature)
    target = expected_target(REWARD.double(), DISCOUNT.double(), q_values, policy, temperature * log_policy)
    soft_maximum = temperature * (q_values / temperature).logsumexp(1)
    torch.testing.assert_close(target, REWARD.double() + DISCOUNT.double() * soft_maximum)


def test_the_soft_target_without_temperature_is_that_of_q_learning():
    policy, log_policy = softmax_policy(TARGET, 1e-3)
    target = expected_target(REWARD, DISCOUNT, TARGET, policy, 1e-3 * log_policy)
    torch.testing.assert_close(target, q_target(REWARD, DISCOUNT, TARGET))


def test_gradients_of_the_soft_formulas():
    random = torch.Generator().manual_seed(0)
    q_values = torch.randn(4, 3, generator=random, dtype=torch.float64, requires_grad=True)

    def formula(q_values):
        policy, log_policy = softmax_policy(q_values, 0.7)
        bonus = munchausen_bonus(q_values, torch.tensor([0, 1, 2, 0]), temperature=0.7, alpha=0.9, low=-50.0)
        return expected_target(bonus, DISCOUNT.double(), q_values, policy, 0.7 * log_policy)

    assert gradcheck(formula, q_values)


@pytest.mark.parametrize(
    ("next_values", "policy", "penalty"),
    [
        *[((4,), (4,), None), ((4, 2), (4, 1), None), ((4, 2), (4, 2), (4, 1)), ((3, 2), (3, 2), None)],
        ((4, 2, 3), (4, 2, 3), None),
    ],
)
def test_expected_target_refuses_shapes_that_would_broadcast(next_values, policy, penalty):
    with pytest.raises(ValueError, match="expected_target takes shapes"):
        expected_target(
            REWARD,
            DISCOUNT,
            torch.zeros(next_values),
            torch.zeros(policy),
            None if penalty is None else torch.zeros(penalty),
        )


@pytest.mark.parametrize("reward", [(), (1,), (4, 1), (4, 2)])
def test_expected_target_refuses_rewards_and_discounts_that_would_broadcast(reward):
    policy = torch.zeros(4, 2)
    for discount in (reward, (4,)):
        with pytest.raises(ValueError, match="expected_target takes shapes"):
            expected_target(torch.zeros(reward), torch.zeros(discount), policy, policy)


@pytest.mark.parametrize("shape", [(4,), (4, 2, 3)])
def test_policies_and_bonuses_refuse_other_ranks(shape):
    for formula in (greedy, lambda q_values: softmax_policy(q_values, 1.0)):
        with pytest.raises(ValueError, match=rf"takes shapes \[B, A\], got {re.escape(str(shape))}"):
            formula(torch.zeros(shape))
    with pytest.raises(ValueError, match="munchausen_bonus takes shapes"):
        munchausen_bonus(TARGET, torch.zeros(4, 1, dtype=torch.int64), temperature=1.0, alpha=1.0, low=-1.0)


def test_td_error_is_the_target_minus_the_value_of_the_action_taken():
    q_values = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [-1.0, 0.5, 0.0]])
    error = td_error(q_values, torch.tensor([2, 0, 1]), torch.tensor([2.5, 10.0, 0.5]))
    torch.testing.assert_close(error, torch.tensor([-0.5, 6.0, 0.0]))


def test_td_error_sends_its_gradient_to_the_action_taken_and_none_into_the_target():
    q_values, target = torch.zeros(2, 3, requires_grad=True), torch.ones(2, requires_grad=True)
    td_error(q_values, torch.tensor([1, 2]), target).sum().backward()
    assert q_values.grad.tolist() == [[0, -1, 0], [0, 0, -1]]
    assert target.grad is None


@pytest.mark.parametrize(
    ("q_values", "action", "target"),
    [
        *[
            ((4,), (4,), (4,)),
            ((4, 2), (4, 1), (4,)),
            ((4, 2), (4,), (4, 1)),
            ((4, 2), (3,), (3,)),
            ((4, 2), (4,), (1,)),
        ],
        *[((4, 2, 3), (4,), (4,)), ((4, 2), (4, 2), (4, 2)), ((4, 2), (), ())],
    ],
)
def test_td_error_refuses_shapes_that_would_broadcast(q_values, action, target):
    with pytest.raises(ValueError, match=r"\[B, A\], \[B\], \[B\], got") as refusal:
        td_error(torch.zeros(q_values), torch.zeros(action, dtype=torch.int64), torch.zeros(target))
    assert str(target) in str(refusal.value)


def test_huber_by_hand():
    error = torch.tensor([-3.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0])
    torch.testing.assert_close(huber(error), torch.tensor([2.5, 0.5, 0.125, 0.0, 0.125, 0.5, 1.5]))
    torch.testing.assert_close(huber(error, 2.0), torch.tensor([4.0, 0.5, 0.125, 0.0, 0.125, 0.5, 2.0]))


@pytest.mark.parametrize("delta", [0.3, 1.0, 5.0])
def test_huber_is_torchs_and_its_gradient_the_clipped_error(delta):
    error = torch.linspace(-4, 4, 33, requires_grad=True)
    losses = huber(error, delta)
    torch.testing.assert_close(losses, F.huber_loss(error, torch.zeros(33), reduction="none", delta=delta))
    losses.sum().backward()
    torch.testing.assert_close(error.grad, error.detach().clamp(-delta, delta))
