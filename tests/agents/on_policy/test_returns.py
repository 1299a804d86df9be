import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.on_policy.returns import generalized_advantages, lambda_returns

T, N, GAMMA = 40, 5, 0.9
LIMITS = [0.0, 0.5, 0.95, 1.0]


def table(*values):
    return torch.tensor(values, dtype=torch.float64).unsqueeze(1)


def rollout(seed=0, rows=T, num_envs=N, ends=0.2):
    """Random rows in which about a fifth end an episode, half of these by termination, some twice in a row."""
    random = torch.Generator().manual_seed(seed)
    reward, row_value = (torch.randn(rows + more, num_envs, generator=random, dtype=torch.float64) for more in (0, 1))
    last = torch.rand(rows + 1, num_envs, generator=random) < ends
    terminated = last[1:] & (torch.rand(rows, num_envs, generator=random) < 0.5)
    return reward, (~terminated).double(), row_value[:-1], row_value[1:], ~last[:-1]


def naive_advantage(t, reward, discount, value, next_value, valid, gamma, lambda_):
    """Σ (γλ)^l δ_{t+l}, summed forwards until the episode or the rollout ends."""
    total, weight = 0.0, 1.0
    while t < len(reward) and valid[t]:
        total += weight * (reward[t] + gamma * discount[t] * next_value[t] - value[t])
        weight *= gamma * lambda_ * discount[t]
        t += 1
    return total


def naive_return(t, reward, discount, next_value, valid, gamma, lambda_):
    """The mean of n-step returns: (1 − λ) Σ λ^(n−1) G_n, and what weight is left on the longest."""
    if not valid[t]:
        return 0.0
    n_step, weight, total = 0.0, 1.0, 0.0
    scale = 1.0
    while True:
        n_step += scale * reward[t]
        scale *= gamma * discount[t]
        longest = t + 1 == len(reward) or not valid[t + 1]
        share = 1.0 if longest else 1 - lambda_
        total += weight * share * (n_step + scale * next_value[t])
        if longest:
            return total
        weight *= lambda_
        t += 1


def columns(*tensors):
    return zip(*(tensor.T.tolist() for tensor in tensors), strict=True)


def test_advantages_by_hand():
    # Rows 0, 1, 2 are an episode that is cut off at row 2; rows 3, 4, 5 one that terminates on the way to row 5.
    reward, discount = table(1, 2, 50, 3, 4, 60), table(1, 1, 1, 1, 0, 1)
    value, next_value = table(10, 20, 30, 40, 50, 0), table(20, 30, 40, 50, 70, 0)
    valid = torch.tensor([True, True, False, True, True, False]).unsqueeze(1)
    advantage = generalized_advantages(reward, discount, value, next_value, valid, gamma=0.5, lambda_=0.5)
    # errors: 1 + 10 − 10 = 1, 2 + 15 − 20 = −3; 3 + 25 − 40 = −12, 4 − 50 = −46
    torch.testing.assert_close(advantage, table(1 - 0.75, -3, 0, -12 - 11.5, -46, 0))


def test_returns_by_hand():
    reward, discount = table(1, 2, 50, 3, 4, 5), table(1, 1, 1, 0, 1, 1)
    next_value = table(20, 30, 40, 70, 60, 80)
    valid = torch.tensor([True, True, False, True, True, True]).unsqueeze(1)
    # backwards: 5 + ½·80 = 45; 4 + ½(½·60 + ½·45) = 30.25; 3; 0; 2 + ½·30 = 17; 1 + ½(½·20 + ½·17) = 10.25
    returns = lambda_returns(reward, discount, next_value, valid, gamma=0.5, lambda_=0.5)
    torch.testing.assert_close(returns, table(10.25, 17, 0, 3, 30.25, 45))
    # λ = 1: 4 + ½·45 = 26.5; 1 + ½·17 = 9.5
    returns = lambda_returns(reward, discount, next_value, valid, gamma=0.5, lambda_=1)
    torch.testing.assert_close(returns, table(9.5, 17, 0, 3, 26.5, 45))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    rows=st.integers(1, T),
    num_envs=st.integers(1, N),
    ends=st.sampled_from([0.0, 0.2, 0.8]),
    gamma=st.floats(0, 1),
    lambda_=st.floats(0, 1),
)
def test_both_are_their_naive_sums(seed, rows, num_envs, ends, gamma, lambda_):
    reward, discount, value, next_value, valid = rollout(seed, rows, num_envs, ends)
    advantage = generalized_advantages(reward, discount, value, next_value, valid, gamma=gamma, lambda_=lambda_)
    environments = columns(reward, discount, value, next_value, valid)
    expected = [[naive_advantage(t, *of_one, gamma, lambda_) for t in range(rows)] for of_one in environments]
    torch.testing.assert_close(advantage, torch.tensor(expected, dtype=torch.float64).T)
    returns = lambda_returns(reward, discount, next_value, valid, gamma=gamma, lambda_=lambda_)
    environments = columns(reward, discount, next_value, valid)
    expected = [[naive_return(t, *of_one, gamma, lambda_) for t in range(rows)] for of_one in environments]
    torch.testing.assert_close(returns, torch.tensor(expected, dtype=torch.float64).T)


@pytest.mark.parametrize("lambda_", LIMITS)
def test_advantage_and_value_are_the_return(lambda_):
    reward, discount, value, next_value, valid = rollout()
    advantage = generalized_advantages(reward, discount, value, next_value, valid, gamma=GAMMA, lambda_=lambda_)
    returns = lambda_returns(reward, discount, next_value, valid, gamma=GAMMA, lambda_=lambda_)
    torch.testing.assert_close((advantage + value)[valid], returns[valid])


def test_a_discount_of_0_alone_also_ends_the_sum():
    reward, value, valid = table(1, 2, 4), table(0, 0, 0), torch.ones(3, 1, dtype=torch.bool)
    advantage = generalized_advantages(reward, table(1, 0, 1), value, value, valid, gamma=1, lambda_=1)
    assert advantage.squeeze(1).tolist() == [3, 2, 4]


def test_without_lambda_only_one_step_counts():
    reward, discount, value, next_value, valid = rollout()
    one_step = torch.where(valid, reward + GAMMA * discount * next_value, 0.0)
    assert torch.equal(lambda_returns(reward, discount, next_value, valid, gamma=GAMMA, lambda_=0), one_step)
    advantage = generalized_advantages(reward, discount, value, next_value, valid, gamma=GAMMA, lambda_=0)
    torch.testing.assert_close(advantage, torch.where(valid, one_step - value, 0.0))


@pytest.mark.parametrize("lambda_", LIMITS)
def test_without_gamma_only_the_reward_counts(lambda_):
    reward, discount, value, next_value, valid = rollout()
    returns = lambda_returns(reward, discount, next_value, valid, gamma=0, lambda_=lambda_)
    assert torch.equal(returns, torch.where(valid, reward, 0.0))
    advantage = generalized_advantages(reward, discount, value, next_value, valid, gamma=0, lambda_=lambda_)
    assert torch.equal(advantage, torch.where(valid, reward - value, 0.0))


def test_lambda_1_sums_rewards_up_to_termination():
    reward, value = table(1, 2, 4, 0), table(9, 9, 9, 9)
    valid = torch.tensor([True, True, True, False]).unsqueeze(1)
    returns = lambda_returns(reward, table(1, 1, 0, 1), value, valid, gamma=1, lambda_=1)
    assert returns.squeeze(1).tolist() == [7, 6, 4, 0]


@pytest.mark.parametrize("lambda_", LIMITS)
def test_nothing_crosses_an_episodes_end(lambda_):
    reward, discount, value, next_value, valid = rollout()
    valid[20] = False
    changed = [tensor.clone() for tensor in (reward, discount, value, next_value)]
    for tensor in changed:
        tensor[21:] += 1000.0
    numbers = {"gamma": GAMMA, "lambda_": lambda_}
    advantage = generalized_advantages(reward, discount, value, next_value, valid, **numbers)
    assert torch.equal(advantage[:21], generalized_advantages(*changed, valid, **numbers)[:21])
    returns = lambda_returns(reward, discount, next_value, valid, **numbers)
    assert torch.equal(returns[:21], lambda_returns(changed[0], changed[1], changed[3], valid, **numbers)[:21])


@pytest.mark.parametrize("lambda_", LIMITS)
def test_invalid_rows_are_ignored(lambda_):
    reward, discount, value, next_value, valid = rollout()
    numbers = {"gamma": GAMMA, "lambda_": lambda_}
    wild = [torch.where(valid, tensor, math.nan) for tensor in (reward, discount, value, next_value)]
    advantage = generalized_advantages(reward, discount, value, next_value, valid, **numbers)
    assert torch.equal(generalized_advantages(*wild, valid, **numbers), advantage)
    assert (advantage[~valid] == 0).all()
    returns = lambda_returns(reward, discount, next_value, valid, **numbers)
    assert torch.equal(lambda_returns(wild[0], wild[1], wild[3], valid, **numbers), returns)
    assert (returns[~valid] == 0).all()


@pytest.mark.parametrize("lambda_", LIMITS)
@pytest.mark.parametrize("treated_as_termination", [False, True])
def test_a_time_limit_does_not_lower_the_value_of_a_world_without_end(lambda_, treated_as_termination):
    """One state, reward 1 a step, episodes cut off after 4: V = 1 / (1 − γ) = 10, learnt by repeated evaluation."""
    valid = (torch.arange(24) % 5 != 4).unsqueeze(1)
    leads_to_last = (torch.arange(24) % 5 == 3).unsqueeze(1)
    discount = 1 - (leads_to_last & treated_as_termination).double()
    value = torch.zeros(24, 1, dtype=torch.float64)
    for _ in range(300):
        returns = lambda_returns(torch.ones_like(value), discount, value, valid, gamma=GAMMA, lambda_=lambda_)
        value = returns[valid].mean().expand(24, 1)
    if treated_as_termination:
        assert value[0].item() < 4
    else:
        torch.testing.assert_close(value[0].item(), 10.0)
        advantage = generalized_advantages(
            torch.ones_like(value), discount, value, value, valid, gamma=GAMMA, lambda_=lambda_
        )
        torch.testing.assert_close(advantage, torch.zeros_like(value))


def test_dtype_is_kept_and_a_rollout_may_be_one_row():
    row = torch.ones(1, 3)
    returns = lambda_returns(row, row, 2 * row, row.bool(), gamma=0.5, lambda_=0.9)
    advantage = generalized_advantages(row, row, row, 2 * row, row.bool(), gamma=0.5, lambda_=0.9)
    assert returns.tolist() == [[2, 2, 2]]
    assert advantage.tolist() == [[1, 1, 1]]
    assert returns.dtype == advantage.dtype == torch.float32


@pytest.mark.parametrize("wrong", range(5))
def test_other_shapes_are_refused(wrong):
    shapes = [(4, 3)] * 5
    shapes[wrong] = (4, 1)
    tensors = [torch.zeros(shape) for shape in shapes]
    with pytest.raises(ValueError, match="generalized_advantages takes shapes"):
        generalized_advantages(*tensors, gamma=0.9, lambda_=0.9)
    if wrong < 4:
        with pytest.raises(ValueError, match="lambda_returns takes shapes"):
            lambda_returns(*tensors[:4], gamma=0.9, lambda_=0.9)
