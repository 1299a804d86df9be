import copy
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from agents.acting.policies import make_policy
from agents.learner.network import make_network
from agents.off_policy.update import Sample
from agents.sac.build import build_sac
from agents.sac.sac import FixedTemperature, LearnedTemperature
from agents.settings.flat import from_flat, replace, to_flat
from agents.settings.run import RunSettings
from agents.settings.sac import SACSettings
from agents.training.trainer import Trainer
from envs import Chain
from envs.stream import first_rows
from tests.agents.compiled import compile_updates, parts
from tests.agents.contract import (
    STATES,
    ReplayContract,
    VariantContract,
    check_close,
    differences,
    give,
    parameters,
    play,
)
from tests.agents.environments import Clockwork
from tests.agents.training.recorder import AfterSteps
from tests.products import covering
from wnrl.normalizers.folding import fold

NUMBERS = {
    "learning_rate": 3e-3,
    "batch_size": 16,
    "train_interval": 2,
    "learning_starts": 100,
    "replay_size": 1_000,
    "gamma": 0.9,
    "target_interval": 2,
    "tau": 0.05,
    "target_entropy": 0.4,
    "temperature_start": 0.1,
    "init_batch": 64,
}
FIXED = {"target_entropy": 0.98, "temperature_start": 1.0}  # the automatic temperature's settings are left alone
RUN = from_flat(RunSettings, env="Chain", hidden=(32,), device="cpu")


def settings(**changes):
    fixed = FIXED if "temperature" in changes else {}
    return from_flat(SACSettings, **{**NUMBERS, **fixed, **changes})


def make(environment, seed=0, norm="weight", steps=2_000, **changes):
    """An agent with these settings of its own."""
    return build_sac(replace(RUN, norm=norm, seed=seed, steps=steps), settings(**changes), environment)


def trained(environment, steps, **changes):
    trainer = Trainer(make(environment, **changes), environment, seed=0)
    trainer.run(steps)
    return trainer


@torch.no_grad()
def says(agent, obs):
    """The learner's log π `[N, A]` and the critics' values `[critics, N, A]`."""
    network = copy.deepcopy(agent.network).eval()
    policy, values = network(torch.as_tensor(obs))
    return policy.logits.log_softmax(1), values


def soft_values(agent, obs):
    """Mean over the critics of Σ π (q − α log π), `[N]`."""
    log_policy, values = says(agent, obs)
    return (log_policy.exp() * (values.mean(0) - agent.temperature() * log_policy)).sum(1).numpy()


class SACVariant(VariantContract):
    """The contract of one variant, which says what it changes."""

    steps_to_solve = 800
    soon = ReplayContract.soon
    changes: dict = {}  # noqa: RUF012

    def make(self, environment, seed, **changes):
        return make(environment, seed, **{**self.changes, **changes})

    def acting_part(self, agent):
        return agent.network.policy

    def learned(self, agent):
        return [*agent.network.parameters(), *agent.temperature.parameters()]


class TestWeight(SACVariant, ReplayContract):
    steps_to_value = 250
    value_changes = {"learning_rate": 0.03, "temperature": 0.0, "tau": 0.3, "learning_starts": 30}  # noqa: RUF012

    def values(self, agent, obs):
        return soft_values(agent, obs)

    def expected_updates(self, steps, num_envs):
        return (steps - self.soon["learning_starts"]) // NUMBERS["train_interval"]


class TestNone(SACVariant):
    changes = {"norm": "none"}  # noqa: RUF012


class TestFromData(SACVariant):
    """With a smaller step: with that of the others the policy is settled on most seeds before it has seen the end."""

    changes = {"init": "data", "learning_rate": 3e-4}  # noqa: RUF012
    steps_to_solve = 2_400

    @pytest.mark.slow
    def test_solves_the_chain(self):
        super().test_solves_the_chain()


class TestFixedTemperature(SACVariant):
    changes = {"temperature": 0.05}  # noqa: RUF012


class TestEverythingElse(SACVariant):
    """Three steps, priorities, the mean of the critics, copied targets and clipped gradients, in one."""

    num_envs = 1
    changes = {  # noqa: RUF012
        "n_step": 3,
        "prioritized": True,
        "critic": "mean",
        "tau": 1.0,
        "target_interval": 50,
        "max_grad_norm": 1.0,
    }


# The bootstrap


@pytest.mark.parametrize("temperature", [0.0, 0.5])
def test_truncation_is_bootstrapped_with_the_soft_value(temperature):
    """A world that pays 1 a step whatever is done: the policy stays at random, and each step is worth α log 2 more."""
    environment = Clockwork(1, 2, 1, terminates=False)
    numbers = {"gamma": 0.8, "learning_rate": 0.02, "temperature": temperature, "tau": 0.2}
    agent = trained(environment, 500, **numbers).agent
    value = (1 + temperature * math.log(2)) / (1 - 0.8)
    assert soft_values(agent, np.ones((1, 1), np.float32)) == pytest.approx(value, rel=0.05)


def test_several_steps_do_not_count_the_entropy_between_them():
    environment = Clockwork(10_000)
    agent = trained(environment, 500, gamma=0.8, learning_rate=0.02, tau=0.2, temperature=0.5, n_step=2).agent
    q = (1 + 0.8 + 0.8**2 * 0.5 * math.log(2)) / (1 - 0.8**2)  # q = r + γ r + γ² (q + α log 2)
    assert says(agent, np.ones((1, 1), np.float32))[1].mean() == pytest.approx(q, rel=0.05)


# Updates


class Fixed:
    """A sampler that has one batch, and remembers the priorities that it is given."""

    draws_ahead = False

    def __init__(self, batch, weights=None):
        self.drawn, self.priorities = Sample(batch, weights, None), []

    def sample(self, batch_size, ranks=None):
        return self.drawn

    def anneal(self, step):
        pass

    def update_priorities(self, sample, priority):
        self.priorities.append(priority)


def naive_update(agent, batch, weights):
    """Network and temperature after one update, each moved by an optimizer of its own, and the priorities."""
    s, network = SimpleNamespace(**to_flat(agent.settings)), copy.deepcopy(agent.network)
    temperature = copy.deepcopy(agent.temperature)
    alpha, number = temperature().item(), len(weights)
    losses = {"policy": 0.0, "critics": 0.0, "temperature": 0.0}
    priorities = []
    judge = min if s.critic == "min" else lambda q: sum(q) / len(q)
    for weight, obs, action, reward, discount, next_obs in zip(weights, *batch, strict=True):
        with torch.no_grad():
            next_p = network.policy(next_obs[None]).logits[0].softmax(0)
            next_q = [critic(next_obs[None]).q_values[0] for critic in agent.target]
            value = sum(next_p[a] * (judge([q[a] for q in next_q]) - alpha * next_p[a].log()) for a in range(2))
            target = reward + discount * value
        q_values = [critic(obs[None]).q_values[0] for critic in network.critics]
        errors = [target - q[action] for q in q_values]
        losses["critics"] += weight * sum(error**2 / 2 for error in errors) / number
        p = network.policy(obs[None]).logits[0].softmax(0)
        q = [judge([q[a].item() for q in q_values]) for a in range(2)]
        losses["policy"] += sum(p[a] * (alpha * p[a].log() - q[a]) for a in range(2)) / number
        entropy = -sum(p[a].item() * p[a].log().item() for a in range(2))
        losses["temperature"] += (
            sum(t.exp() for t in temperature.parameters())
            * (entropy - getattr(temperature, "target_entropy", 0.0))
            / number
        )
        priorities.append(torch.stack(errors).detach().abs().mean())
    for name, part in (("policy", network.policy), ("critics", network.critics), ("temperature", temperature)):
        if list(part.parameters()):
            optimizer = torch.optim.Adam(part.parameters(), lr=s.learning_rate, eps=s.optimizer_eps)
            losses[name].backward(inputs=list(part.parameters()))
            optimizer.step()
    return network, temperature, torch.stack(priorities)


@pytest.mark.parametrize(
    ("changes", "weighted"), covering([{}, {"critic": "mean"}, {"temperature": 0.3}, {"n_step": 3}], [False, True])
)
def test_an_update_is_a_naive_one_of_each_part(changes, weighted):
    agent = trained(Chain(2, length=4), 150, learning_starts=80, **changes).agent
    # Another learner, under an optimizer that sees the size of gradients: Adam's first step with a small eps does not.
    fresh = make(Chain(2, length=4), seed=3, optimizer_eps=0.1, **changes)
    fresh.target.load_state_dict(agent.target.state_dict())
    batch = agent.sampler.replay.sample(16)
    weights = torch.linspace(0.1, 1.0, 16) if weighted else torch.ones(16)
    network, temperature, priorities = naive_update(fresh, batch, weights)
    give(fresh, Fixed(batch, weights if weighted else None))
    fresh.update(150)
    torch.testing.assert_close(dict(fresh.network.named_parameters()), dict(network.named_parameters()))
    torch.testing.assert_close(fresh.temperature.state_dict(), temperature.state_dict())
    torch.testing.assert_close(fresh.sampler.priorities, [priorities])  # of the errors without their weights


def with_gradients(agent, weights):
    """The parts of the agent that gradients reach when a batch has these weights."""
    give(agent, Fixed(agent.sampler.replay.sample(16), weights))
    agent.update(150)
    parts = {"policy": agent.network.policy, "critics": agent.network.critics, "temperature": agent.temperature}
    return {name for name, part in parts.items() if any(p.grad.any() for p in part.parameters())}


def test_no_gradient_of_the_policy_enters_the_critics():
    """Where no transition counts, the critics have no loss of their own."""
    agent = trained(Chain(2, length=4), 150).agent
    assert with_gradients(agent, torch.zeros(16)) == {"policy", "temperature"}


def test_no_gradient_of_the_critics_enters_the_policy():
    """Where all actions are worth nothing and entropy neither, the policy has no loss of its own."""
    agent = trained(Chain(2, length=4), 150, temperature=0.0).agent
    for critic in agent.network.critics:
        nn.init.zeros_(critic.head.g)
        nn.init.zeros_(critic.head.bias)
    assert with_gradients(agent, torch.ones(16)) == {"critics"}


def test_no_gradient_reaches_the_target_critics():
    agent = trained(Chain(2), 150).agent
    assert all(parameter.grad is None for parameter in agent.target.parameters())
    assert all(parameter.grad is not None for parameter in agent.network.parameters())


@pytest.mark.parametrize(("num_envs", "interval", "tau"), [(1, 25, 1.0), (3, 25, 0.25), (4, 2, 0.25)])
def test_the_targets_move_at_their_interval_only(num_envs, interval, tau):
    """Where the interval passes twice in a row of the stream, they move twice."""
    environment = Clockwork(*[10_000] * num_envs)
    agent = make(environment, learning_starts=20, target_interval=interval, tau=tau)
    before, moves = {}, []

    def watch(trainer, steps_before):
        now = copy.deepcopy(agent.target.state_dict())
        ticks = trainer.steps // interval - steps_before // interval
        if before and ticks:
            moves.append(ticks)
            learner, share = fold(agent.network.critics).state_dict(), 1 - (1 - tau) ** ticks
            torch.testing.assert_close(now, {name: old + share * (learner[name] - old) for name, old in before.items()})
        elif before:
            assert differences(now, before) == []
        if agent.learner.num_updates:
            before.update(now)

    Trainer(agent, environment, seed=0, callbacks=[AfterSteps(watch)]).run(132)
    assert sum(moves) == pytest.approx((132 - 20) / interval, abs=2)


@pytest.mark.parametrize(
    ("changes", "share"),
    [
        ({"target_entropy": 0.4}, 0.4),
        pytest.param({"target_entropy": 0.8}, 0.8, marks=pytest.mark.slow),
        ({"temperature": 0.0}, 0.0),
    ],
)
def test_the_temperature_keeps_the_entropy_at_its_target_and_without_one_it_is_lost(changes, share):
    numbers = {"learning_rate": 0.02, "learning_starts": 50, **changes}
    agent = trained(Chain(3, length=4, max_steps=20), 600, **numbers).agent
    log_policy, _ = says(agent, agent.sampler.replay.sample(500).obs)
    entropy = -(log_policy.exp() * log_policy).sum(1).mean()
    assert entropy == pytest.approx(share * math.log(2), abs=0.07)


@pytest.mark.parametrize(("clip", "value"), [(1.0, 1.0), (0.0, 10.0)])
def test_rewards_are_clipped_for_learning_and_scores_are_not(clip, value):
    environment = Clockwork(1, reward=10.0)
    trainer = trained(environment, 500, learning_rate=0.05, temperature=0.0, tau=0.2, reward_clip=clip)
    assert says(trainer.agent, np.ones((1, 1), np.float32))[1].mean() == pytest.approx(value, rel=0.05)
    assert trainer.statistics.mean_score == 10


def test_bfloat16_products_leave_parameters_in_float32_and_learn():
    environment = Chain(3, length=4, max_steps=20)
    agent = make(environment)
    agent.learner.dtype = torch.bfloat16
    Trainer(agent, environment, seed=0).run(800)
    assert {parameter.dtype for parameter in agent.network.parameters()} == {torch.float32}
    assert play(agent, STATES).tolist() == [1, 1, 1]


# Acting


def lean(agent, logits):
    """Let the policy say these logits everywhere."""
    head = agent.acting.head.layer
    nn.init.zeros_(head.weight)
    with torch.no_grad():
        head.bias.copy_(torch.tensor(logits))


def test_plays_at_random_until_learning_starts_and_draws_from_the_policy_after():
    agent, timestep = make(Chain(1)), first_rows(np.zeros((20_000, 5), np.float32))
    lean(agent, [0.0, math.log(4)])
    assert agent.act(timestep, 99).action.mean() == pytest.approx(0.5, abs=0.015)
    assert agent.act(timestep, 100).action.mean() == pytest.approx(0.8, abs=0.015)


@pytest.mark.parametrize(("sample", "share"), [(False, 1.0), (True, 0.8)])
def test_evaluation_takes_the_most_probable_actions_or_draws(sample, share):
    agent = make(Chain(1), eval_sample=sample)
    lean(agent, [0.0, math.log(4)])
    assert play(agent, np.zeros((20_000, 5), np.float32)).mean() == pytest.approx(share, abs=0.015)


def test_a_saved_model_plays_as_the_agent_does():
    environment = Chain(3, length=4)
    agent = trained(environment, 300).agent
    model = fold(make_network(agent.learner.description)).eval()
    model.load_state_dict(fold(agent.network).state_dict())
    policy = make_policy(model, np.random.default_rng(0))
    assert policy(first_rows(STATES)).tolist() == play(agent, STATES).tolist()


# State


EARLY = {"init": "data", "learning_starts": 40, "temperature_start": 1.0, "target_entropy": 0.9}


@pytest.fixture(scope="module")
def stopped():
    """The states of a run at step 80, and of another run's agent."""
    ours, other = (trained(Chain(2, length=4), steps, seed=seed, **EARLY) for seed, steps in ((0, 80), (7, 60)))
    return ours.get_state(), other.agent.get_state()


def gone_on(state):
    rest = Trainer(make(Chain(2, length=4), **EARLY), Chain(2, length=4), seed=0)
    rest.set_state(state)
    rest.run(130)
    return parameters(rest.agent)


@pytest.fixture(scope="module")
def whole(stopped):
    return gone_on(copy.deepcopy(stopped[0]))


@pytest.mark.parametrize("part", ["learner", "temperature", "target", "replay", "rng", "generator"])
def test_each_part_of_the_state_matters(part, stopped, whole):
    """Leave one out, and the run that goes on is another: the contract's test of resuming would fail without it."""
    state, other = copy.deepcopy(stopped)
    state["agent"][part] = other[part]
    if part == "rng":  # what the data-dependent initialization has drawn from already
        state["steps"] = 20
    assert not torch.equal(gone_on(state), whole)


# Initialization


def test_data_initialization_gives_each_unit_mean_0_and_variance_1_on_what_was_played():
    environment = Chain(2, length=4)
    agent = make(environment, init="data", init_batch=3_000, learning_rate=1e-12)
    Trainer(agent, environment, seed=0).run(102)
    policy, values = agent.network.eval()(agent.sampler.replay.sample(3_000).obs)
    for outputs in (policy.logits, *values):
        torch.testing.assert_close(outputs.mean(0), torch.zeros(2), atol=0.15, rtol=0)
        torch.testing.assert_close(outputs.var(0, correction=0), torch.ones(2), atol=0.2, rtol=0)
    assert differences(agent.acting.state_dict(), fold(agent.network.policy).state_dict()) == []


# Temperatures

POLICY = torch.tensor([[0.5, 0.5], [0.9, 0.1], [0.2, 0.8]]).log()
ENTROPY = torch.tensor([math.log(2), 0.3250830, 0.5004024])


def test_what_is_learned_is_the_temperature_times_what_the_entropy_is_too_high():
    temperature = LearnedTemperature(0.5, target_entropy=0.4)
    assert temperature() == pytest.approx(0.5)
    loss = temperature.loss(POLICY)
    torch.testing.assert_close(loss, 0.5 * (ENTROPY - 0.4))
    loss.sum().backward()
    torch.testing.assert_close(temperature.log.grad, 0.5 * (ENTROPY - 0.4).sum())


@pytest.mark.parametrize(("target", "rises"), [(0.6, True), (0.4, False)])
def test_it_rises_while_the_entropy_is_under_the_target_and_falls_above_it(target, rises):
    temperature = LearnedTemperature(1.0, target)
    optimizer = torch.optim.Adam(temperature.parameters(), lr=0.01)
    temperature.loss(POLICY).mean().backward()
    optimizer.step()
    assert (temperature() > 1) == rises


def test_no_gradient_enters_the_policy_or_leaves_with_the_temperature():
    policy, temperature = POLICY.clone().requires_grad_(), LearnedTemperature(1.0, 0.4)
    temperature.loss(policy).sum().backward()
    assert policy.grad is None
    assert not temperature().requires_grad


def test_a_fixed_temperature_stays_and_learns_nothing():
    temperature = FixedTemperature(0.2)
    assert list(temperature.parameters()) == []
    assert temperature() == pytest.approx(0.2)
    assert temperature.loss(POLICY).tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(("kind", "options"), [(LearnedTemperature, {"target_entropy": 0.4}), (FixedTemperature, {})])
def test_the_temperature_is_saved(kind, options):
    first, other = kind(0.3, **options), kind(0.7, **options)
    other.load_state_dict(first.state_dict())
    assert other() == first()


# Compiled


@pytest.mark.parametrize(
    "changes",
    [
        {"norm": "weight", "prioritized": True},
        pytest.param({"norm": "mean-batch", "critic": "min"}, marks=pytest.mark.slow),
        pytest.param({"norm": "layer", "temperature": 0.2}, marks=pytest.mark.slow),
    ],
)
def test_compiled_updates_are_the_eager_ones(changes):
    compiled, eager = (trained(Chain(2, length=4), 110, **changes).agent for _ in range(2))
    said = compile_updates(compiled)
    for agent in (compiled, eager):
        agent.metrics(110)  # the next update is measured
        for step in (112, 114, 116):
            agent.update(step, 3)
    assert parts(said) == ["the loss"]
    assert compiled.learner.num_updates == eager.learner.num_updates > 9
    check_close(compiled.network, eager.network)
    torch.testing.assert_close(compiled.temperature.state_dict(), eager.temperature.state_dict())
