import pytest
import torch
from torch.nn import functional as F

from agents.dqn.bootstraps import Bootstrap
from agents.dqn.objectives import CategoricalLoss, ExpectedLoss, ImplicitQuantileLoss, QuantileLoss, taken, td_errors
from wnrl.networks.heads import CategoricalValues, QuantileValues, QValues

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
    part = QuantileLoss(delta) if levels == "fixed" else ImplicitQuantileLoss(delta, K, K)
    losses = part(now, ACTION, future, after)
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
        (ImplicitQuantileLoss(1.0, 8, 8), quantiles),
    ],
)
def test_only_the_values_of_the_actions_taken_have_a_gradient(part, make):
    now, after = make(1), make(2)
    losses = part(now, ACTION, bootstrap(), after)
    assert (losses.loss.shape, losses.priority.shape) == ((B,), (B,))
    assert (losses.priority >= 0).all()
    assert not losses.priority.requires_grad
    losses.loss.sum().backward()
    values, target = (outputs[1 if len(outputs) > 1 else 0] for outputs in (now, after))
    assert target.grad is None
    moved = values.grad.flatten(2).abs().sum(-1) if values.ndim > 2 else values.grad.abs()
    assert torch.equal(moved > 0, F.one_hot(ACTION, A).bool())


def test_levels_are_asked_of_implicit_distributions_alone():
    generator = torch.Generator().manual_seed(0)
    for part in (ExpectedLoss(1.0), CategoricalLoss(), QuantileLoss(1.0)):
        assert part.taus(4, generator, False) is None
        assert part.taus(4, generator, True) is None
    part = ImplicitQuantileLoss(1.0, 1_000, 9)
    levels = part.taus(4, generator, False)
    assert (tuple(levels.shape), tuple(part.taus(4, generator, True).shape)) == ((4, 1_000), (4, 9))
    assert not torch.equal(levels, part.taus(4, generator, False))
    again = part.taus(4, torch.Generator().manual_seed(0), False)
    assert torch.equal(levels, again)
    assert 0 <= levels.min() < 0.01 < 0.99 < levels.max() < 1


def test_taken_picks_the_actions_rows():
    values = draw(B, A, K)
    assert torch.equal(taken(values, ACTION), torch.stack([values[row, ACTION[row]] for row in range(B)]))
    assert torch.equal(taken(values[..., 0], ACTION), taken(values, ACTION)[:, 0])
