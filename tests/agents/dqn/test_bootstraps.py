import math

import pytest
import torch

from agents.dqn.bootstraps import MunchausenBootstrap, double_bootstrap, greedy_bootstrap
from wnrl.replay.uniform import Transition

NEXT_Q = torch.tensor([[1.0, 3.0, 2.0], [0.5, 0.0, 0.25]])
BATCH = Transition(
    obs=torch.tensor([[0.0], [1.0]]),
    action=torch.tensor([2, 0]),
    reward=torch.tensor([1.0, -2.0]),
    discount=torch.tensor([0.9, 0.0]),
    next_obs=torch.tensor([[10.0], [11.0]]),
)


def table(asked, values):
    """A Q function that remembers what it was asked."""

    def q(obs):
        asked.append(obs)
        return torch.as_tensor(values)

    return q


def never(obs):
    raise AssertionError("not asked for")


def test_greedy_takes_the_target_networks_best_action():
    bootstrap = greedy_bootstrap(BATCH, NEXT_Q, learner=never, target=never)
    assert bootstrap.policy.tolist() == [[0, 1, 0], [1, 0, 0]]
    assert bootstrap.reward is BATCH.reward
    assert bootstrap.discount is BATCH.discount
    assert bootstrap.penalty is None


def test_double_takes_the_learners_best_action_in_the_next_state():
    asked = []
    learner = table(asked, [[5.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    bootstrap = double_bootstrap(BATCH, NEXT_Q, learner=learner, target=never)
    assert bootstrap.policy.tolist() == [[1, 0, 0], [0, 0, 1]]
    assert asked == [BATCH.next_obs]
    assert bootstrap.reward is BATCH.reward
    assert bootstrap.penalty is None


@pytest.mark.parametrize(("temperature", "alpha", "low"), [(0.03, 0.9, -1.0), (0.5, 0.7, -0.2), (2.0, 1.0, -10.0)])
def test_munchausen_is_the_papers_formula(temperature, alpha, low):
    """Vieillard et al. 2020: r + α [τ log π(a|s)] + γ Σ π(a'|s') (q(s', a') − τ log π(a'|s')), number by number."""
    asked, now = [], [[0.1, 0.2, 0.0], [1.0, 0.5, 0.9]]
    part = MunchausenBootstrap(temperature, alpha, low)
    bootstrap = part(BATCH, NEXT_Q, learner=never, target=table(asked, now))
    assert asked == [BATCH.obs]
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


def test_a_cold_munchausen_without_bonus_is_greedy():
    cold = MunchausenBootstrap(1e-4, 0.0, -1.0)
    soft = cold(BATCH, NEXT_Q, learner=never, target=table([], NEXT_Q.tolist()))
    greedy = greedy_bootstrap(BATCH, NEXT_Q, learner=never, target=never)
    torch.testing.assert_close(soft.policy, greedy.policy)
    torch.testing.assert_close(soft.reward, greedy.reward)
    assert (soft.policy * soft.penalty).abs().max() < 1e-3
