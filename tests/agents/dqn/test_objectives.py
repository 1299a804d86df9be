import math
from dataclasses import FrozenInstanceError

import pytest
import torch
from torch.nn import functional as F

from agents.dqn.objectives import (
    Bootstrap,
    CategoricalLoss,
    DoubleBootstrap,
    ExpectedLoss,
    GreedyBootstrap,
    MunchausenBootstrap,
    Objective,
    QuantileLoss,
    make_objective,
    of_actions,
    td_errors,
)
from tests.agents.dqn_family import settings
from wnrl.networks.heads import CategoricalValues, QuantileValues, QValues
from wnrl.replay.uniform import Transition

B, A, K = 5, 3, 7
ACTION = torch.tensor([0, 2, 1, 1, 0])


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def bootstrap(penalty=True):
    """A soft policy, and a discount of 0 in one row."""
    policy = draw(B, A, seed=5).softmax(1)
    discount = torch.tensor([0.9, 0.0, 0.9, 0.81, 0.9])
    return Bootstrap(draw(B, seed=6), discount, policy, 0.1 * policy.log() if penalty else None)


def q(seed, **kwargs):
    return QValues(draw(B, A, seed=seed).requires_grad_(**kwargs))


def categorical(seed):
    logits, atoms = draw(B, A, K, seed=seed).requires_grad_(), torch.linspace(-2.0, 2.0, K)
    return CategoricalValues((logits.softmax(-1) * atoms).sum(-1), logits, atoms)


def quantiles(seed, taus=None):
    values = draw(B, A, K, seed=seed).requires_grad_()
    return QuantileValues(values.mean(-1), values, (torch.arange(K) + 0.5) / K if taus is None else taus)


def naive_target(future, values, row):
    """Σ_a π(a) (r + γ (z(a) − penalty(a))): places `[A, ...]` and their weights `[A]`."""
    penalty = torch.zeros(A) if future.penalty is None else future.penalty[row]
    penalty = penalty.reshape(A, *[1] * (values.ndim - 2))
    return future.reward[row] + future.discount[row] * (values[row] - penalty), future.policy[row]


@pytest.mark.parametrize("penalty", [False, True])
@pytest.mark.parametrize("delta", [0.3, 1.0])
def test_the_expected_loss_is_huber_of_the_td_error(penalty, delta):
    now, after, future = q(1), q(2), bootstrap(penalty)
    losses = ExpectedLoss(delta)(now, ACTION, future, after)
    for row in range(B):
        places, weights = naive_target(future, after.q_values.detach(), row)
        target, value = (places * weights).sum(), now.q_values[row, ACTION[row]]
        torch.testing.assert_close(losses.loss[row], F.huber_loss(value, target, delta=delta))
        torch.testing.assert_close(losses.priority[row], (target - value).abs().detach())
        torch.testing.assert_close(losses.error[row], (target - value).detach())
    torch.testing.assert_close(td_errors(now, ACTION, future, after).detach(), losses.error)


@pytest.mark.parametrize("penalty", [False, True])
def test_the_categorical_loss_is_cross_entropy_to_the_projection(penalty):
    now, after, future = categorical(1), categorical(2), bootstrap(penalty)
    losses = CategoricalLoss()(now, ACTION, future, after)
    gap = now.atoms[1] - now.atoms[0]
    for row in range(B):
        places, weights = naive_target(future, now.atoms.expand(B, A, K), row)  # [A, K]
        probabilities = after.logits[row].softmax(-1).detach() * weights[:, None]
        triangles = (1 - (places.clamp(-2.0, 2.0)[..., None] - now.atoms).abs() / gap).clamp(min=0)  # [A, K, K]
        target = (probabilities[..., None] * triangles).sum((0, 1))
        assert target.sum().item() == pytest.approx(1, abs=1e-5)
        loss = -(target * now.logits[row, ACTION[row]].log_softmax(0)).sum()
        torch.testing.assert_close(losses.loss[row], loss)
        torch.testing.assert_close(losses.priority[row], loss.detach())
    assert not losses.error.requires_grad
    torch.testing.assert_close(losses.error, td_errors(now, ACTION, future, after).detach())


@pytest.mark.parametrize("penalty", [False, True])
@pytest.mark.parametrize("levels", ["fixed", "drawn"])
def test_the_quantile_loss_is_the_papers(levels, penalty):
    """Every level against every quantile of the target, which is the policy's mean of the actions' quantiles."""
    taus = None if levels == "fixed" else torch.rand(B, K, generator=torch.Generator().manual_seed(3))
    now, after, future, delta = quantiles(1, taus), quantiles(2), bootstrap(penalty), 0.5
    losses = QuantileLoss(delta)(now, ACTION, future, after)
    for row in range(B):
        places, weights = naive_target(future, after.quantiles.detach(), row)  # [A, K], [A]
        expected = torch.zeros(())
        for k in range(K):
            level, value = (now.taus if taus is None else now.taus[row])[k], now.quantiles[row, ACTION[row], k]
            for target in (weights[:, None] * places).sum(0):
                below = float(target < value)
                expected = expected + (level - below).abs() * F.huber_loss(value, target, delta=delta) / delta / K
        torch.testing.assert_close(losses.loss[row], expected)
        torch.testing.assert_close(losses.priority[row], expected.detach())


@pytest.mark.parametrize(
    ("part", "make"),
    [
        (ExpectedLoss(1.0), q),
        (CategoricalLoss(), categorical),
        (QuantileLoss(1.0), quantiles),
    ],
)
def test_only_the_values_of_the_actions_taken_have_a_gradient(part, make):
    now, after = make(1), make(2)
    losses = part(now, ACTION, bootstrap(), after)
    assert (losses.loss.shape, losses.priority.shape) == ((B,), (B,))
    assert (losses.priority >= 0).all()
    assert not losses.priority.requires_grad
    assert not losses.error.requires_grad
    losses.loss.sum().backward()
    values, target = (outputs[1 if len(outputs) > 1 else 0] for outputs in (now, after))
    assert target.grad is None
    moved = values.grad.flatten(2).abs().sum(-1) if values.ndim > 2 else values.grad.abs()
    assert torch.equal(moved > 0, F.one_hot(ACTION, A).bool())


def test_of_actions_picks_the_actions_rows():
    values = draw(B, A, K)
    assert torch.equal(of_actions(values, ACTION), torch.stack([values[row, ACTION[row]] for row in range(B)]))
    assert torch.equal(of_actions(values[..., 0], ACTION), of_actions(values, ACTION)[:, 0])


# Bootstrap rules

NEXT_Q = torch.tensor([[1.0, 3.0, 2.0], [0.5, 0.0, 0.25]])
BATCH = Transition(
    obs=torch.tensor([[0.0], [1.0]]),
    action=torch.tensor([2, 0]),
    reward=torch.tensor([1.0, -2.0]),
    discount=torch.tensor([0.9, 0.0]),
    next_obs=torch.tensor([[10.0], [11.0]]),
)


def test_greedy_takes_the_target_networks_best_action():
    bootstrap = GreedyBootstrap()(BATCH, NEXT_Q, None, None)
    assert bootstrap.policy.tolist() == [[0, 1, 0], [1, 0, 0]]
    assert bootstrap.reward is BATCH.reward
    assert bootstrap.discount is BATCH.discount
    assert bootstrap.penalty is None


def test_double_takes_the_learners_best_action_in_the_next_state():
    learner = torch.tensor([[5.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    bootstrap = DoubleBootstrap()(BATCH, NEXT_Q, learner, None)
    assert bootstrap.policy.tolist() == [[1, 0, 0], [0, 0, 1]]
    assert bootstrap.reward is BATCH.reward
    assert bootstrap.penalty is None


@pytest.mark.parametrize(("temperature", "alpha", "low"), [(0.03, 0.9, -1.0), (0.5, 0.7, -0.2), (2.0, 1.0, -10.0)])
def test_munchausen_is_the_papers_formula(temperature, alpha, low):
    """Vieillard et al. 2020: r + α [τ log π(a|s)] + γ Σ π(a'|s') (q(s', a') − τ log π(a'|s')), number by number."""
    now = [[0.1, 0.2, 0.0], [1.0, 0.5, 0.9]]
    bootstrap = MunchausenBootstrap(temperature, alpha, low)(BATCH, NEXT_Q, None, torch.tensor(now))
    for row in range(2):
        action = int(BATCH.action[row])
        total = sum(math.exp((value - max(now[row])) / temperature) for value in now[row])
        log_pi = (now[row][action] - max(now[row])) / temperature - math.log(total)
        bonus = alpha * min(0.0, max(low, temperature * log_pi))
        assert bootstrap.reward[row] == pytest.approx(float(BATCH.reward[row]) + bonus, abs=1e-6)
        after = NEXT_Q[row].double()
        policy = (after / temperature).softmax(0)
        assert bootstrap.policy[row].tolist() == pytest.approx(policy.tolist(), abs=1e-6)
        penalty = temperature * (after / temperature).log_softmax(0)
        assert bootstrap.penalty[row].tolist() == pytest.approx(penalty.tolist(), abs=1e-5)
    assert bootstrap.discount is BATCH.discount


def test_the_numbers_of_a_rule_stay():
    with pytest.raises(FrozenInstanceError):
        MunchausenBootstrap(0.1, 0.8, -2.0).alpha = 0.5


def test_a_cold_munchausen_without_bonus_is_greedy():
    cold = MunchausenBootstrap(1e-4, 0.0, -1.0)
    soft = cold(BATCH, NEXT_Q, None, NEXT_Q)
    greedy = GreedyBootstrap()(BATCH, NEXT_Q, None, None)
    torch.testing.assert_close(soft.policy, greedy.policy)
    torch.testing.assert_close(soft.reward, greedy.reward)
    assert (soft.policy * soft.penalty).abs().max() < 1e-3


def test_a_rule_says_which_values_it_uses():
    uses = [(rule.uses_next_q, rule.uses_target_q) for rule in (GreedyBootstrap, DoubleBootstrap, MunchausenBootstrap)]
    assert uses == [(False, False), (True, False), (False, True)]


# Objectives


def test_an_objective_is_the_loss_to_what_its_rule_bootstraps():
    objective = Objective(DoubleBootstrap(), ExpectedLoss(1.0))
    outputs, next_outputs = QValues(torch.zeros(2, 3)), QValues(NEXT_Q)
    losses = objective(BATCH, outputs, next_outputs, next_q=torch.tensor([[5.0, 0.0, 0.0], [0.0, 0.0, 1.0]]))
    assert losses.error.tolist() == pytest.approx([1.0 + 0.9 * 1.0, -2.0])


def test_values_of_the_policy_choose_the_action_that_others_value():
    objective, outputs, next_outputs = (
        Objective(GreedyBootstrap(), ExpectedLoss(1.0)),
        QValues(torch.zeros(2, 3)),
        QValues(NEXT_Q),
    )
    for chosen in range(3):
        policy_q = F.one_hot(torch.tensor([chosen, 0]), 3).float()
        error = objective(BATCH, outputs, next_outputs, policy_q=policy_q).error
        assert error.tolist() == pytest.approx([1.0 + 0.9 * NEXT_Q[0, chosen].item(), -2.0])


def test_bootstrap_rules_by_settings():
    assert type(make_objective(settings()).bootstrap) is GreedyBootstrap
    assert type(make_objective(settings(double=True)).bootstrap) is DoubleBootstrap
    numbers = {"munchausen_temperature": 0.1, "munchausen_alpha": 0.8, "munchausen_low": -2.0}
    assert make_objective(settings(munchausen=True, **numbers)).bootstrap == MunchausenBootstrap(0.1, 0.8, -2.0)


def test_value_losses_by_settings():
    assert make_objective(settings(huber_delta=0.5)).value_loss == ExpectedLoss(0.5)
    assert type(make_objective(settings(distribution="categorical")).value_loss) is CategoricalLoss
    quantile = make_objective(settings(distribution="quantile", huber_delta=0.5)).value_loss
    assert type(quantile) is QuantileLoss
    assert quantile.delta == 0.5
    implicit = settings(distribution="implicit", huber_delta=0.5, taus=5, target_taus=7)
    assert make_objective(implicit).value_loss == QuantileLoss(0.5)
