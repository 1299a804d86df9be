"""agents.pqn.pqn: rollouts, returns of Q(λ), minibatches and exploration."""

import copy

import numpy as np
import pytest
import torch

from agents.on_policy.rollout import Rollout
from agents.pqn.build import build_pqn
from agents.pqn.pqn import QMinibatch
from agents.settings.flat import from_flat, replace
from agents.settings.pqn import PQNSettings
from agents.settings.run import RunSettings
from agents.training.trainer import Trainer
from envs import Chain
from envs.stream import TimeStep, first_rows
from tests.agents.compiled import compile_gradient_steps, parts
from tests.agents.contract import STATES, AgentContract, VariantContract, check_close, parameters
from tests.agents.environments import Clockwork
from wnrl.normalizers.folding import refresh

NUMBERS = {
    "learning_rate": 5e-3,
    "gamma": 0.9,
    "rollout_length": 16,
    "epochs": 4,
    "minibatches": 4,
    "epsilon_end": 0.3,
    "epsilon_steps": 500,
    "eval_epsilon": 0.0,
}
RUN = from_flat(RunSettings, env="Chain", hidden=(32,), device="cpu", steps=2_000)
T, N = 12, 3


def make(environment, seed=0, norm="weight", device="cpu", compile=False, **changes):
    return build_pqn(
        replace(RUN, norm=norm, seed=seed, device=device, compile=compile),
        from_flat(PQNSettings, **{**NUMBERS, **changes}),
        environment,
    )


def trained(environment, steps, **changes):
    trainer = Trainer(make(environment, **changes), environment, seed=0)
    trainer.run(steps)
    return trainer


@torch.no_grad()
def values(network, obs):
    """Greatest values of observations `[..., 4]` by a network in evaluation mode."""
    network.eval()
    value = network(torch.as_tensor(obs).flatten(0, -2)).q_values.amax(1).view(obs.shape[:-1])
    network.train()
    return value


class PQNVariant(VariantContract):
    """The contract of one variant, a subclass with its `changes`."""

    changes: dict = {}  # noqa: RUF012

    def make(self, environment, seed, **changes):
        return make(environment, seed, **{**self.changes, **changes})

    def check_solution(self, trainer):
        optimal = trainer.environment.optimal_values(NUMBERS["gamma"])[:3]
        assert values(trainer.agent.network, STATES) == pytest.approx(optimal, abs=0.1)


class TestWeight(PQNVariant, AgentContract):
    as_on_a_gpu = {**AgentContract.as_on_a_gpu, "optimizer": "adam"}  # noqa: RUF012 - RAdam counts on the host elsewhere

    def values(self, agent, obs):
        return values(agent.network, obs)

    def expected_updates(self, steps, num_envs):
        return steps // (16 * num_envs) * 4 * 4

    def works(self, trainer):
        agent, obs = trainer.agent, torch.ones(6, *trainer.environment.obs_shape)
        batch = QMinibatch(obs, torch.zeros(6, dtype=torch.int64), torch.ones(6), torch.ones(6, dtype=torch.bool))
        choose = torch.no_grad()(lambda: agent._choose(obs))
        return choose, agent._folded_copy.refresh, lambda: agent.gradient_step.step(batch)


class TestNone(PQNVariant):
    changes = {"norm": "none"}  # noqa: RUF012


class TestLayer(PQNVariant):
    changes = {"norm": "layer"}  # noqa: RUF012


class TestWeightFromData(PQNVariant):
    changes = {"init": "data"}  # noqa: RUF012


class TestEverythingElse(PQNVariant):
    """One environment, one-step targets, one minibatch and another optimizer."""

    num_envs = 1
    changes = {"q_lambda": 0.0, "minibatches": 1, "optimizer": "adam", "max_grad_norm": 0.0}  # noqa: RUF012


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("optimizer", ["radam", "adam"])
def test_a_run_in_graphs_is_the_run_without(optimizer, capsys):
    networks = []
    for graphs in (False, True):
        environment = Chain(3, length=4)
        agent = make(environment, 0, device="cuda", graphs=graphs, optimizer=optimizer)
        Trainer(agent, environment, seed=0).run(700)
        networks.append(agent.network)
    check_close(*networks)
    assert capsys.readouterr().out == ""  # nothing was refused


# Returns


def rollout_of(agent, last, terminated):
    """T rows of N environments drawn at random, and the row after them.

    Args:
        agent: whose acting network values the rows.
        last: bool `[T + 1, N]`, an episode's end.
        terminated: whether these ends are terminations.
    """
    generator = torch.Generator().manual_seed(3)
    obs = torch.randn(T + 1, N, 4, generator=generator)
    rollout = Rollout(
        obs=obs[:T],
        first=torch.zeros(T, N, dtype=torch.bool),
        action=torch.randint(2, (T, N), generator=generator),
        log_prob=torch.zeros(T, N),
        value=values(agent.acting, obs[:T]),
        reward=torch.randn(T, N, generator=generator),
        discount=(~(last[1:] & terminated)).float(),
        valid=~last[:T],
    )
    after = TimeStep(obs[T].numpy(), *(np.zeros(N, kind) for kind in (np.float32, np.float32, np.bool_, np.bool_)))
    return rollout, after


def ends():
    """An end inside of the rollout, one at its last row, one at its first and one at the row behind it."""
    last = torch.zeros(T + 1, N, dtype=torch.bool)
    last[4, 0] = last[T - 1, 1] = last[0, 2] = last[T, 2] = True
    return last


def naive_return(rollout, value, t, n, gamma, lambda_):
    """The return of one step, by recursion; value `[T + 1, N]`."""
    later = value[t + 1, n]
    if t + 1 < T and rollout.valid[t + 1, n]:
        later = naive_return(rollout, value, t + 1, n, gamma, lambda_)
    bootstrap = (1 - lambda_) * value[t + 1, n] + lambda_ * later
    return rollout.reward[t, n].double() + gamma * rollout.discount[t, n].double() * bootstrap


@pytest.mark.parametrize("terminated", [True, False])
def test_an_update_is_that_of_a_naive_loop_over_transitions(terminated):
    agent = make(Chain(N, length=4), q_lambda=0.65, epochs=1, minibatches=1, max_grad_norm=0.5)
    agent.learner.anneal(0)
    naive = copy.deepcopy(agent.network).double()
    optimizer = torch.optim.RAdam(naive.parameters(), lr=5e-3)
    for _ in range(8):  # RAdam adapts its step sizes from the sixth on
        rollout, after = rollout_of(agent, ends(), terminated)
        obs = torch.cat([rollout.obs, torch.from_numpy(after.obs)[None]]).double()
        q_values = naive.head(naive.torso.layers(obs.flatten(0, 1))).view(T + 1, N, 2)  # its forward is in float32
        value = q_values.detach().amax(2)
        losses = [
            0.5 * (q_values[t, n, rollout.action[t, n]] - naive_return(rollout, value, t, n, 0.9, 0.65)) ** 2
            for t in range(T)
            for n in range(N)
            if rollout.valid[t, n]
        ]
        optimizer.zero_grad()
        torch.stack(losses).mean().backward()
        torch.nn.utils.clip_grad_norm_(naive.parameters(), 0.5)
        optimizer.step()
        agent.update(rollout, after, 0)
        refresh(agent.acting, agent.network)
    expected = torch.cat([parameter.detach().flatten() for parameter in naive.parameters()])
    torch.testing.assert_close(parameters(agent).double(), expected, rtol=1e-4, atol=1e-5)
    assert (parameters(agent) - parameters(make(Chain(N, length=4)))).abs().max() > 1e-3


@pytest.mark.parametrize("terminated", [True, False])
def test_returns_do_not_cross_an_episodes_end(terminated):
    agent = make(Chain(N, length=4), q_lambda=1.0)
    rollout, after = rollout_of(agent, ends(), terminated)
    other = rollout._replace(reward=rollout.reward.clone(), value=rollout.value.clone())
    other.reward[4:, 0] += 100  # row 4 is the last of an episode; what follows is another's
    other.value[5:, 0] += 100
    before, changed = agent.targets(rollout, after), agent.targets(other, after)
    assert torch.equal(before[:4, 0], changed[:4, 0])
    assert (changed[5:, 0] > before[5:, 0] + 1).all()
    assert torch.equal(before[:, 1:], changed[:, 1:])


@pytest.mark.parametrize("place", [(3, 0), (T - 2, 1), (T - 1, 2)])
def test_truncation_is_bootstrapped_from_the_final_observation_and_termination_is_not(place):
    agent = make(Chain(N, length=4))
    for terminated in (False, True):
        rollout, after = rollout_of(agent, ends(), terminated)
        value = torch.cat([rollout.value, values(agent.acting, torch.from_numpy(after.obs))[None]])
        t, n = place
        expected = rollout.reward[t, n] + (0 if terminated else 0.9 * value[t + 1, n])
        assert agent.targets(rollout, after)[t, n] == pytest.approx(expected.item(), abs=1e-6)


def test_the_rollouts_values_are_the_greatest_ones_of_the_network_that_acted():
    trainer = trained(Clockwork(100, 100, 100, obs_shape=(4,)), 16 * N + 9)
    rollout = trainer.agent.storage.read()
    assert len(rollout.value) == 3
    assert trainer.agent.learner.num_updates > 0
    torch.testing.assert_close(rollout.value, values(trainer.agent.acting, rollout.obs))


# Minibatches


def test_each_epoch_takes_every_step_once_in_another_order(monkeypatch):
    agent = make(Clockwork(*[100] * N, obs_shape=(4,)), minibatches=5, epochs=3)
    seen = []
    monkeypatch.setattr(agent.learner, "step", lambda parts, measured=False: None)
    loss = agent.gradient_step._loss
    monkeypatch.setattr(agent.gradient_step, "_loss", lambda batch: (seen.append(batch.obs[:, 0]), loss(batch))[1])
    rollout, after = rollout_of(agent, torch.zeros(T + 1, N, dtype=torch.bool), False)
    agent.update(rollout, after, 0)
    assert [len(batch) for batch in seen] == [8, 7, 7, 7, 7] * 3
    epochs = [torch.cat(seen[5 * i : 5 * i + 5]) for i in range(3)]
    for epoch in epochs:
        assert torch.equal(epoch.sort().values, rollout.obs[..., 0].flatten().sort().values)
    assert not torch.equal(epochs[0], epochs[1])


def test_the_last_row_of_an_episode_is_not_learned_from():
    first, second = (make(Chain(N, length=4), norm="none", minibatches=1) for _ in range(2))
    rollout, after = rollout_of(first, ends(), True)
    other = rollout._replace(action=rollout.action.clone(), reward=rollout.reward.clone())
    other.action[~rollout.valid] ^= 1
    other.reward[~rollout.valid] = torch.nan
    for agent, steps in ((first, rollout), (second, other)):
        agent.learner.anneal(0)
        agent.update(steps, after, 0)
    assert parameters(second).isfinite().all()
    assert torch.equal(parameters(first), parameters(second))


def test_a_rollout_of_one_policy():
    """The acting network stays as it is while a rollout is played, and is the learner after it."""
    trainer = trained(Clockwork(100, 100, 100, obs_shape=(4,)), 16 * N * 2)
    before = copy.deepcopy(trainer.agent.acting.state_dict())
    trainer.run(16 * N * 3 - 1 - N)
    assert all(torch.equal(before[name], x) for name, x in trainer.agent.acting.state_dict().items())
    trainer.run(16 * N * 3)
    assert not all(torch.equal(before[name], x) for name, x in trainer.agent.acting.state_dict().items())


# Exploration


def share_of_random_actions(agent, step):
    """How often the agent deviates from its greatest value, times two for two actions."""
    row = first_rows(np.tile(STATES[:1], (4_000, 1)))
    greedy = agent.policy(np.random.default_rng(0))(row)
    return 2 * (agent.act(row, step).action != greedy).mean()


@pytest.mark.parametrize(("step", "epsilon"), [(0, 1.0), (250, 0.65), (500, 0.3), (9_000, 0.3)])
def test_epsilon_falls_over_its_steps(step, epsilon):
    agent = make(Chain(N, length=4))
    assert share_of_random_actions(agent, step) == pytest.approx(epsilon, abs=0.05)
    assert agent.metrics(step)["rollout/exploration_rate"] == pytest.approx(epsilon)


def test_evaluation_has_an_epsilon_of_its_own():
    row = first_rows(np.tile(STATES[:1], (4_000, 1)))
    greedy, random = (
        make(Chain(N, length=4), eval_epsilon=epsilon).policy(np.random.default_rng(0))(row) for epsilon in (0, 1)
    )
    assert len(set(greedy)) == 1
    assert random.mean() == pytest.approx(0.5, abs=0.05)


# Rewards, schedules and the initialization


@pytest.mark.parametrize(("clip", "scale", "stored"), [(1.0, 1.0, 1.0), (0.0, 1.0, 7.0), (2.0, 0.5, 1.0)])
def test_rewards_are_clipped_and_scaled_for_learning(clip, scale, stored):
    agent = trained(Clockwork(100, 100, reward=7.0), 20, reward_clip=clip, reward_scale=scale).agent
    assert agent.storage.read().reward.unique().tolist() == [stored]


@pytest.mark.parametrize("schedule", ["linear", "constant"])
def test_the_optimizer_is_radam_and_its_step_size_falls(schedule):
    environment = Chain(4, length=600, max_steps=10**6)
    agent = make(environment, learning_rate_schedule=schedule, rollout_length=125)
    assert type(agent.learner.optimizer) is torch.optim.RAdam
    trainer, shares = Trainer(agent, environment, seed=0), []
    for steps in (500, 1_000, 1_500, 2_000):  # of 2,000
        trainer.run(steps)
        rates = agent.metrics(steps)["train/learning_rate"], agent.learner.optimizer.param_groups[0]["lr"]
        shares.append([float(rate) / 5e-3 for rate in rates])
    expected = (1.0, 0.75, 0.5, 0.25) if schedule == "linear" else (1.0,) * 4
    assert shares == [pytest.approx([share] * 2) for share in expected]


def test_the_first_rollout_initializes_and_is_not_learned_from():
    trainer = trained(Chain(N, length=4), 16 * N, init="data")
    assert trainer.agent.learner.num_updates == 0
    assert not torch.equal(parameters(trainer.agent), parameters(make(trainer.environment, init="data")))
    trainer.run(3 * 16 * N)
    assert trainer.agent.learner.num_updates > 0


# Compiled


@pytest.mark.parametrize(
    "norm", ["weight", *(pytest.param(n, marks=pytest.mark.slow) for n in ("layer", "mean-batch"))]
)
def test_compiled_gradient_steps_are_the_eager_ones(norm):
    compiled, eager = (make(Chain(2, length=4), norm=norm) for _ in range(2))
    said = compile_gradient_steps(compiled)
    for agent in (compiled, eager):
        Trainer(agent, Chain(2, length=4), seed=0).run(200)
    assert parts(said) == ["the loss"]
    assert compiled.learner.num_updates == eager.learner.num_updates > 10
    check_close(compiled.network, eager.network)
