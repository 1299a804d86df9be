import numpy as np
import pytest
import torch

from agents.acting.policies import Recurrence, make_policy
from envs import TimeStep
from envs.stream import first_rows
from wnrl.networks.actor_critic import actor_critic
from wnrl.networks.q_network import q_network
from wnrl.networks.soft_actor_critic import soft_actor_critic

OBS = np.random.default_rng(0).normal(size=(50, 5)).astype(np.float32)
MANY = first_rows(np.repeat(OBS[:1], 20_000, 0))


def rng(seed=0):
    return np.random.default_rng(seed)


def q(**options):
    return q_network((5,), 3, hidden=(8,), **options).eval()


def actor(**options):
    return actor_critic((5,), num_actions=3, hidden=(8,), **options).eval()


def tilted():
    """A policy with probabilities 0.2, 0.5 and 0.3, whatever is seen."""
    network = actor()
    with torch.no_grad():
        network.policy.layer.weight.zero_()
        network.policy.layer.bias.copy_(torch.tensor([0.2, 0.5, 0.3]).log())
    return network


def test_a_q_network_is_followed_greedily():
    network = q()
    expected = network(torch.as_tensor(OBS)).q_values.argmax(1).numpy()
    assert (make_policy(network, rng())(first_rows(OBS)) == expected).all()
    assert (make_policy(network, rng(), sample=True)(first_rows(OBS)) == expected).all()
    assert len(set(expected)) > 1


def test_outputs_are_seen_row_by_row():
    network, seen = q(), []
    policy = make_policy(network, rng(), seen=seen.append)
    policy(first_rows(OBS[:1]))
    policy(first_rows(OBS[1:3]))
    assert [len(outputs.q_values) for outputs in seen] == [1, 2]
    assert (seen[1].q_values == network(torch.as_tensor(OBS[1:3])).q_values).all()


def test_epsilon_is_the_share_of_uniform_actions_from_the_rng():
    network = q()
    greedy = make_policy(network, rng())(first_rows(OBS[:1]))[0]
    first, again, other = (make_policy(network, rng(seed), epsilon=0.3)(MANY) for seed in (0, 0, 1))
    assert (first == greedy).mean() == pytest.approx(0.8, abs=0.01)
    assert (first == again).all()
    assert (first != other).any()


def test_a_policy_head_is_followed_or_sampled():
    network = tilted()
    assert (make_policy(network, rng())(MANY) == 1).all()
    first, again, other = (make_policy(network, rng(seed), sample=True)(MANY) for seed in (0, 0, 1))
    np.testing.assert_allclose(np.bincount(first, minlength=3) / len(first), [0.2, 0.5, 0.3], atol=0.015)
    assert (first == again).all()
    assert (first != other).any()
    exploring = make_policy(network, rng(), epsilon=0.3)(MANY)
    assert (exploring == 1).mean() == pytest.approx(0.8, abs=0.01)


def test_the_policy_of_a_soft_actor_critic_is_followed_with_and_without_its_critics():
    whole = soft_actor_critic((5,), 3, hidden=(8,)).eval()
    expected = whole.policy(torch.as_tensor(OBS)).logits.argmax(1).numpy()
    for network in (whole, whole.policy):
        assert (make_policy(network, rng())(first_rows(OBS)) == expected).all()
        assert len(set(make_policy(network, rng(), epsilon=1.0)(MANY))) == 3


def test_continuous_actions_have_no_random_share():
    network = actor_critic((5,), action_size=2, hidden=(8,)).eval()
    assert make_policy(network, rng())(first_rows(OBS)).shape == (50, 2)
    with pytest.raises(ValueError, match="epsilon needs discrete actions"):
        make_policy(network, rng(), epsilon=0.1)(first_rows(OBS))


def test_a_policy_follows_a_network_that_goes_on_learning():
    network = q()
    policy = make_policy(network, rng())
    for best in (0, 2):
        with torch.no_grad():
            network.head.weight.zero_()
            network.head.bias.copy_(torch.eye(3)[best])
        assert (policy(first_rows(OBS)) == best).all()


def test_what_is_random_is_drawn_from_the_rng_alone():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    make_policy(tilted(), rng(), sample=True)(MANY)
    assert torch.equal(before, torch.get_rng_state())


def rows(number):
    """Rows of one environment, the third of which begins a new game."""
    for index in range(number):
        first = np.array([index in (0, 2)])
        yield TimeStep(OBS[index : index + 1], np.zeros(1), np.ones(1), first, np.zeros(1, bool))


def test_a_recurrent_network_carries_its_state_until_a_game_begins():
    network = actor(lstm=6)
    recurrence, seen = Recurrence(network), []
    for timestep in rows(4):
        seen.append(recurrence(timestep).policy.logits.flatten())
    sequence = torch.as_tensor(OBS[:4, None])
    first = torch.tensor([[True], [False], [True], [False]])
    with torch.no_grad():
        expected = network(sequence, network.initial_state(1), first)[0].policy.logits[:, 0]
        blind = network(sequence, network.initial_state(1), torch.ones(4, 1, dtype=torch.bool))[0].policy.logits[:, 0]
    torch.testing.assert_close(torch.stack(seen), expected)
    same = [torch.allclose(*pair) for pair in zip(expected, blind, strict=True)]
    assert same == [True, False, True, False]  # the second and the fourth row depend on what was before


def test_each_recurrent_policy_has_a_state_of_its_own():
    network = actor(lstm=6)
    first, second = (make_policy(network, rng()) for _ in range(2))
    timesteps = list(rows(4))
    alone = [first(timestep).tolist() for timestep in timesteps]
    again = [second(timestep).tolist() for timestep in timesteps]
    assert alone == again
