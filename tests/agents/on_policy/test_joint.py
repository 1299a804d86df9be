"""agents.on_policy.joint: several processes learn from their rollouts what one learns from all of them together."""

import numpy as np
import pytest
import torch
from torch.utils._pytree import tree_map

from agents.losses.policy import masked_mean, normalize_advantages
from agents.on_policy.joint import joint_rollout, jointly_normalized, update_jointly
from agents.on_policy.reward_scaling import RewardClipping, RewardScaling
from agents.on_policy.rollout import Rollout
from agents.runtime.distributed import OneProcess, joint_weight
from envs import Chain, TimeStep
from tests.agents import policy_gradient_family as family
from tests.agents.contract import check_close, differences
from tests.agents.pqn import test_pqn as pqn
from tests.agents.ranks import in_ranks
from wnrl.networks.observation_norm import NoNorm, RunningNorm

T, N = 8, 3  # of each process


def rollout(generator, number, steps=T):
    """Random steps, some of which are not valid: in one process more than in the other."""
    shape = (steps, number)
    numbers = iter(torch.randn(5, *shape, generator=generator))
    valid = torch.rand(shape, generator=generator) < torch.linspace(0.3, 1.0, number)
    return Rollout(
        torch.randn(*shape, 4, generator=generator),
        torch.rand(shape, generator=generator) < 0.2,
        torch.randint(2, shape, generator=generator),
        -next(numbers).abs(),
        next(numbers),
        next(numbers),
        torch.ones(shape),
        valid,
    )


def part(tree, rank, dim):
    return tree_map(lambda x: x.chunk(2, dim)[rank], tree)


def row(obs):
    number = len(obs)
    flags = np.zeros(number, np.bool_)
    return TimeStep(obs.numpy(), np.zeros(number), np.ones(number, np.float32), flags, flags)


def agents_of(kind, number, **changes):
    if kind == "pqn":
        return pqn.make(Chain(number, length=4), minibatches=1, **changes)
    return family.make(kind, Chain(number, length=4), **({"minibatches": 1} if kind == "ppo" else {}), **changes)


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("ppo", {"normalize_advantage": True, "normalize_obs": True}),
        ("ppo", {"target_kl": 0.01, "epochs": 20, "learning_rate": 0.03}),
        ("a2c", {"normalize_advantage": True}),
        ("a2c", {"normalize_obs": True}),
        ("pqn", {}),
    ],
)
def test_two_processes_learn_from_their_rollouts_what_one_learns_from_both(kind, changes):
    generator = torch.Generator().manual_seed(1)
    both, last = rollout(generator, 2 * N), torch.randn(2 * N, 4, generator=generator)
    whole = agents_of(kind, 2 * N, **changes)
    if "target_kl" in changes:  # the policy that acted is the present one
        policy = family.outputs(whole.network, both.obs.flatten(0, 1)).policy
        both = both._replace(log_prob=policy.log_prob(both.action.flatten()).detach().view(T, -1))
    for _ in range(2):
        whole.update(both, row(last), 100)

    def learn(ranks):
        agent = agents_of(kind, N, **changes)
        agent.learner.share(ranks)
        for _ in range(2):
            agent.update(part(both, ranks.rank, 1), row(part(last, ranks.rank, 0)), 100)
        return agent

    first, second = in_ranks(learn)
    assert first.learner.num_updates == second.learner.num_updates == whole.learner.num_updates > 1
    if "target_kl" in changes:
        assert whole.learner.num_updates < 40  # it stopped early
    check_close(first.network, whole.network)
    assert not differences(first.network.state_dict(), second.network.state_dict())
    for name, buffer in whole.network.named_buffers():
        torch.testing.assert_close(dict(first.network.named_buffers())[name], buffer)
    alone = agents_of(kind, N, **changes)
    alone.update(part(both, 0, 1), row(part(last, 0, 0)), 100)
    assert differences(alone.network.state_dict(), first.network.state_dict())


@pytest.mark.parametrize("kind", ["ppo", "a2c", "pqn"])
def test_an_initialization_from_data_is_that_of_the_joint_data(kind):
    both = rollout(torch.Generator().manual_seed(2), 2 * N)

    def initialized(agent, own):
        agent._initialize(agent._initial_rollout(own))
        agent.learner.share(agent.learner.ranks)
        return agent

    def work(ranks):
        agent = agents_of(kind, N, init="data", seed=0)
        agent.learner.share(ranks)
        return initialized(agent, part(both, ranks.rank, 1))

    whole = initialized(agents_of(kind, 2 * N, init="data", seed=0), both)
    first, second = in_ranks(work)
    check_close(first.network, whole.network)
    assert not differences(first.network.state_dict(), second.network.state_dict())


def test_a_recurrent_network_is_initialized_from_the_first_process_rollout():
    both = rollout(torch.Generator().manual_seed(2), 2 * N)

    def work(ranks):
        agent = family.make("ppo", Chain(N, length=4), init="data", lstm=4)
        agent.learner.share(ranks)
        assert agent._initial_rollout(part(both, ranks.rank, 1)).valid.shape == (T, N)
        return True

    assert in_ranks(work) == [True, True]


def test_rewards_are_scaled_by_the_returns_of_all():
    rng, whole = np.random.default_rng(0), RewardScaling(2 * N, 0.9)
    rows = [
        TimeStep(
            np.zeros((2 * N, 1)),
            rng.normal(size=2 * N),
            (rng.random(2 * N) > 0.1).astype(np.float32),
            rng.random(2 * N) < (0.2 if step else 2.0),
            np.zeros(2 * N, np.bool_),
        )
        for step in range(30)
    ]
    expected = [whole(timestep) for timestep in rows]

    def work(ranks):
        own, half = RewardScaling(N, 0.9), slice(ranks.rank * N, (ranks.rank + 1) * N)
        return [own(TimeStep(*(field[half] for field in timestep)), ranks) for timestep in rows]

    for own, joint in zip(zip(*in_ranks(work), strict=True), expected, strict=True):
        np.testing.assert_allclose(np.concatenate(own), joint, rtol=1e-6)
    alone = RewardScaling(N, 0.9)
    separate = [alone(TimeStep(*(field[:N] for field in timestep))) for timestep in rows]
    assert not np.allclose(np.stack(separate), np.stack(expected)[:, :N])
    clipped = RewardClipping(0.5)(rows[0], OneProcess())
    assert np.array_equal(clipped, np.clip(rows[0].reward, -0.5, 0.5).astype(np.float32))


def test_joint_statistics_are_those_of_all_entries():
    generator = torch.Generator().manual_seed(3)
    advantage, valid = torch.randn(12, generator=generator), torch.rand(12, generator=generator) < 0.6
    valid[:6] = torch.tensor([True, False, False, False, False, False])

    def work(ranks):
        own, mask = part(advantage, ranks.rank, 0), part(valid, ranks.rank, 0)
        mean = ranks.gather(joint_weight(mask, ranks) * masked_mean(own, mask)).mean()
        return jointly_normalized(own, mask, ranks), mean

    (first, mean), (second, same) = in_ranks(work)
    torch.testing.assert_close(torch.cat([first, second]), normalize_advantages(advantage, valid))
    torch.testing.assert_close(mean, masked_mean(advantage, valid))
    assert mean == same


def test_where_no_process_has_a_valid_step_there_is_no_nan():
    nothing = torch.zeros(4, dtype=torch.bool)

    def work(ranks):
        return jointly_normalized(torch.ones(4), nothing, ranks), joint_weight(nothing, ranks)

    for normalized, weight in in_ranks(work):
        assert normalized.tolist() == [0] * 4
        assert weight == 0


def test_observations_of_all_are_counted():
    obs, whole = torch.randn(T, 2 * N, 4, generator=torch.Generator().manual_seed(4)), RunningNorm((4,))
    whole.update(obs)
    whole.update(2 * obs)

    def work(ranks):
        norm = RunningNorm((4,))
        for factor in (1, 2):
            update_jointly(norm, factor * part(obs, ranks.rank, 1), ranks)
        update_jointly(NoNorm(), obs, ranks)
        return norm

    for norm in in_ranks(work):
        torch.testing.assert_close(norm.state_dict(), whole.state_dict())


def test_rollouts_are_beside_each_other_in_the_order_of_the_processes():
    both = rollout(torch.Generator().manual_seed(5), 2 * N)
    for joint in in_ranks(lambda ranks: joint_rollout(part(both, ranks.rank, 1), ranks)):
        assert all(torch.equal(one, other) and one.dtype == other.dtype for one, other in zip(joint, both, strict=True))
    assert joint_rollout(both, OneProcess()) is both
