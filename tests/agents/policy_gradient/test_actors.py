import numpy as np
import pytest
import torch

from agents.policy_gradient.actors import ActorCriticMinibatch, FeedforwardActor, RecurrentActor
from envs import Recall, TimeStep
from envs.stream import first_rows
from tests.agents.policy_gradient_family import make
from wnrl.networks.actor_critic import actor_critic

T, N = 9, 4


def network(**options):
    return actor_critic((3,), num_actions=2, hidden=(8,), seed=0, **options).eval()


def numbered():
    """Steps whose values are their places, `t * N + n`."""
    place = torch.arange(T * N, dtype=torch.float32).view(T, N)
    obs = place[..., None].expand(T, N, 3)
    return ActorCriticMinibatch(obs, place == 0, place.long(), place, place, place, place, place > 5)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def step(actor, timestep):
    """The outputs for a whole row; the state moves on."""
    outputs, state = actor.act(*actor.inputs(timestep, slice(None)))
    actor.move(state, slice(None))
    return outputs


def minibatches(actor, number, seed=0):
    """All steps, shuffled in so many minibatches."""
    steps = numbered()
    return [actor.take(steps, indices) for indices in actor.order(steps.valid.shape, number, generator(seed))]


@pytest.mark.parametrize("number", [1, 4, 5, 36])
def test_minibatches_cover_every_step_once(number):
    batches = minibatches(FeedforwardActor(network()), number)
    assert len(batches) == number
    assert torch.cat([batch.action for batch in batches]).sort().values.tolist() == list(range(T * N))
    sizes = {len(batch.action) for batch in batches}
    assert max(sizes) - min(sizes) <= 1
    for batch in batches:  # all fields of a step stay together
        assert torch.equal(batch.obs[:, 0].long(), batch.action)
        assert torch.equal(batch.valid, batch.action > 5)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_sequences_stay_whole_and_are_covered_once(number):
    actor = RecurrentActor(network(lstm=5), N)
    actor._start = type(actor._start)(*(torch.arange(N)[:, None].expand(N, 5).float() for _ in range(2)))
    batches = minibatches(actor, number)
    assert len(batches) == number
    assert torch.cat([batch.action[0] for batch in batches]).sort().values.tolist() == list(range(N))
    for batch in batches:
        assert torch.equal(batch.action, batch.action[:1] + N * torch.arange(T)[:, None])
        assert torch.equal(batch.state[0][:, 0], batch.action[0].float())  # the state with which its environment began


@pytest.mark.parametrize("lstm", [0, 5])
def test_the_order_is_the_generators(lstm):
    actor = RecurrentActor(network(lstm=5), N) if lstm else FeedforwardActor(network())
    first, again, other = (
        torch.cat([batch.action.flatten() for batch in minibatches(actor, 2, seed)]) for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("lstm", [0, 5])
@pytest.mark.parametrize("number", [1, 3])
def test_what_a_minibatch_gives_is_put_where_it_was_taken(lstm, number):
    actor = RecurrentActor(network(lstm=5), N) if lstm else FeedforwardActor(network())
    steps, rows = numbered(), torch.zeros(T, N)
    for indices in actor.order(rows.shape, number, generator()):
        actor.put(actor.take(steps, indices).value, indices, rows)
    assert torch.equal(rows, steps.value)


def test_a_recurrent_actor_carries_its_state_and_resets_it_with_each_episode():
    net, rng = network(lstm=5), np.random.default_rng(0)
    actor, state = RecurrentActor(net, 2), net.initial_state(2)
    for t in range(8):
        first = np.array([t in (0, 3), t in (0, 5)])
        row = first_rows(rng.normal(size=(2, 3)).astype(np.float32))._replace(first=first)
        state = type(state)(*(part * torch.from_numpy(~first)[:, None] for part in state))
        expected, state = net(torch.from_numpy(row.obs)[None], state, torch.zeros(1, 2))
        got = step(actor, row)
        assert got.policy.logits.shape == (2, 2)
        torch.testing.assert_close(got.value, expected.value[0])
        torch.testing.assert_close(got.policy.logits, expected.policy.logits[0])


def test_the_value_of_a_row_leaves_the_state_before_it():
    actor, row = RecurrentActor(network(lstm=5), 2), first_rows(np.ones((2, 3), np.float32))
    later = row._replace(first=np.zeros(2, bool))
    step(actor, row)
    values = [actor.value(*actor.inputs(later, slice(None))).tolist() for _ in range(2)]
    assert values[0] == values[1] == step(actor, later).value.tolist()
    assert actor.value(*actor.inputs(later, slice(None))).tolist() != values[0]


def test_parts_of_a_row_move_the_state_of_their_own_environments():
    whole, parts = (RecurrentActor(network(lstm=5), 3) for _ in range(2))
    for t in range(3):
        row = first_rows(np.random.default_rng(t).normal(size=(3, 3)).astype(np.float32))
        row = row._replace(first=np.array([t == 0, t == 0, t == 2]))
        values = step(whole, row).value
        for part in (slice(0, 2), slice(2, 3)):
            outputs, state = parts.act(*parts.inputs(TimeStep(*(column[part] for column in row)), part))
            torch.testing.assert_close(outputs.value, values[part])
            parts.move(state, part)
    torch.testing.assert_close(parts.get_state(), whole.get_state())


def test_a_recurrent_actor_evaluates_a_rollout_as_it_acted():
    """From the middle of an episode on, with other episodes beginning in it."""
    environment = Recall(3, delay=2, cues=2)
    agent = make("ppo", environment, lstm=5, minibatches=1, orthogonal=False)
    timestep, rng = environment.reset(0), np.random.default_rng(0)
    rows, values = [], []
    for t in range(11):
        if t == 2:
            agent.actor.start_rollout()
        values.append(step(agent.actor, timestep).value)
        rows.append(timestep)
        timestep = environment.step(rng.integers(2, size=3))
    obs, first = (torch.from_numpy(np.stack([getattr(row, name) for row in rows[2:]])) for name in ("obs", "first"))
    acted = torch.stack(values[2:])
    (envs,) = agent.actor.order(acted.shape, 1, generator())
    batch = agent.actor.take(ActorCriticMinibatch(obs, first, *[acted] * 6), envs)
    torch.testing.assert_close(agent.actor.evaluate(agent.network, batch).value, batch.value)


def test_the_state_goes_on():
    net, row = network(lstm=5), first_rows(np.ones((2, 3), np.float32))
    first, second = RecurrentActor(net, 2), RecurrentActor(net, 2)
    later = row._replace(first=np.zeros(2, bool))
    step(first, row)
    first.start_rollout()
    step(first, later)
    second.set_state(first.get_state())
    assert torch.equal(step(first, later).value, step(second, later).value)
    assert torch.equal(first._start.h, second._start.h)
