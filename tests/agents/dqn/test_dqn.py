import copy
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from agents.dqn import dqn
from agents.dqn.build import build_dqn
from agents.off_policy.update import Sample
from agents.settings.flat import replace, to_flat
from agents.training.trainer import Trainer
from envs import Chain
from envs.stream import first_rows
from tests.agents.contract import STATES, differences, give, parameters, play
from tests.agents.dqn_family import (
    BOOTSTRAPS,
    DISTRIBUTIONS,
    NOISY,
    RAINBOW,
    RUN,
    DQNContract,
    DQNVariant,
    make,
    settings,
    trained,
    values,
)
from tests.agents.environments import Clockwork, Pictured
from tests.agents.training.recorder import AfterSteps
from tests.products import covering, mostly_slow
from wnrl.networks.noisy import NoisyLinear
from wnrl.normalizers.folding import fold


class TestWeight(DQNContract):
    pass


class TestRainbow(DQNContract):
    """All of Hessel et al. 2018 at once: its noise and its priorities are part of what is gone on with."""

    steps_to_solve = 1_200
    changes = RAINBOW
    refused_norms = frozenset({"batch", "layer", "layer-channels", "layer+projected", "batch+projected"})  # of outputs


class TestImplicitMunchausen(DQNContract):
    steps_to_solve = 1_200
    changes = {**DISTRIBUTIONS["implicit"], **BOOTSTRAPS["munchausen"]}  # noqa: RUF012


class TestNone(DQNVariant):
    changes = {"norm": "none"}  # noqa: RUF012


class TestWeightFromData(DQNVariant):
    steps_to_solve = 1_600
    changes = {"init": "data"}  # noqa: RUF012


@pytest.mark.slow
class TestNoneFromData(DQNVariant):
    changes = {"norm": "none", "init": "data"}  # noqa: RUF012


@pytest.mark.slow
class TestHe(DQNVariant):
    changes = {"init": "he"}  # noqa: RUF012


@pytest.mark.slow
class TestAnalytic(DQNVariant):
    changes = {"init": "analytic"}  # noqa: RUF012


class TestMeanBatch(DQNVariant):
    changes = {"norm": "mean-batch", "double": True}  # noqa: RUF012


class TestBatch(DQNVariant):
    changes = {"norm": "batch", "double": True}  # noqa: RUF012


class TestLayer(DQNVariant):
    changes = {"norm": "layer", "double": True}  # noqa: RUF012


class TestProjected(DQNVariant):
    changes = {"norm": "projected", "double": True}  # noqa: RUF012


@pytest.mark.slow
class TestLayerProjected(DQNVariant):
    changes = {"norm": "layer+projected", "init": "data", "double": True}  # noqa: RUF012


class TestBatchProjected(DQNVariant):
    changes = {"norm": "batch+projected", "double": True}  # noqa: RUF012


class TestWeightClip(DQNVariant):
    changes = {"norm": "weight-clip", "double": True}  # noqa: RUF012


class TestSpectral(DQNVariant):
    changes = {"norm": "spectral", "double": True}  # noqa: RUF012


class TestEverythingElse(DQNVariant):
    """Three steps, the double target, soft updates and the paper's optimizer, in one."""

    num_envs = 1
    steps_to_solve = 1_200
    changes = {  # noqa: RUF012
        "n_step": 3,
        "double": True,
        "tau": 0.1,
        "target_interval": 4,
        "optimizer": "adamax",
        "beta1": 0.5,
        "loss_reduction": "sum",
        "max_grad_norm": 0.0,
    }


# The bootstrap


def value_of_clockwork(period=2, terminates=False, steps=550, **changes):
    """What is learned of a world that pays 1 a step and ends each `period` steps."""
    numbers = {"gamma": 0.8, "learning_rate": 0.02, "target_interval": 16, "learning_starts": 50, **changes}
    environment = Clockwork(period, terminates=terminates)
    agent = trained(environment, steps, **numbers).agent
    return values(agent, np.ones((1, 1), np.float32)).mean()


@pytest.mark.parametrize("n_step", mostly_slow([3, 1]))
@pytest.mark.parametrize("distribution", mostly_slow(DISTRIBUTIONS, "quantile"))  # of others: the contract
def test_truncation_is_bootstrapped(distribution, n_step):
    value = value_of_clockwork(n_step=n_step, **DISTRIBUTIONS[distribution])
    assert value == pytest.approx(1 / (1 - 0.8), rel=0.06)


@pytest.mark.parametrize("distribution", mostly_slow(DISTRIBUTIONS))
def test_termination_is_not_bootstrapped(distribution):
    """Half of the steps end the game: whoever takes truncation for termination learns this."""
    steady = {"steps": 900, "learning_rate": 0.005, "batch_size": 128}  # the share of ends varies among batches
    value = value_of_clockwork(terminates=True, **steady, **DISTRIBUTIONS[distribution])
    assert value == pytest.approx(1 / (1 - 0.8 / 2), rel=0.1)


def test_a_categorical_value_reaches_no_further_than_its_atoms():
    value = value_of_clockwork(**{**DISTRIBUTIONS["categorical"], "v_max": 3.0})
    assert value == pytest.approx(3, rel=0.02)


def test_discount_0_stops_the_bootstrap():
    assert value_of_clockwork(gamma=0.0) == pytest.approx(1, rel=0.03)


# Updates


@pytest.mark.parametrize("num_envs", [1, 3, 8])
@pytest.mark.parametrize("train_interval", [1, 4, 10])
def test_updates_are_counted_in_steps_for_any_number_of_environments(num_envs, train_interval):
    trainer = trained(Chain(num_envs), 150, learning_starts=60, train_interval=train_interval, batch_size=2)
    num_updates = trainer.agent.learner.num_updates
    assert num_updates == (trainer.steps - 60) // train_interval > 0
    assert trainer.agent.metrics(150)["train/n_updates"] == num_updates


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


def naive_expected(outputs, action, reward, discount, value, after, delta):
    """Huber loss and absolute TD error of one transition."""
    target = (reward + discount * value.q_values[0, after]).detach()
    error = target - outputs.q_values[0, action]
    return F.huber_loss(outputs.q_values[0, action], target, delta=delta), error.abs()


def naive_categorical(outputs, action, reward, discount, value, after, delta):
    """Each atom's probability is split between its target's two neighbours; the loss is a cross-entropy."""
    atoms, projected = outputs.atoms, torch.zeros(len(outputs.atoms))
    gap = atoms[1] - atoms[0]
    for atom, probability in zip(atoms, value.logits[0, after].softmax(0).detach(), strict=True):
        place = ((reward + discount * atom).clamp(atoms[0], atoms[-1]) - atoms[0]) / gap
        lower = min(int(place), len(atoms) - 2)
        projected[lower] += probability * (lower + 1 - place)
        projected[lower + 1] += probability * (place - lower)
    loss = -(projected * outputs.logits[0, action].log_softmax(0)).sum()
    return loss, loss


def naive_quantile(outputs, action, reward, discount, value, after, delta):
    """The mean over targets, the sum over levels of the quantile Huber loss."""
    loss = torch.zeros(())
    targets = (reward + discount * value.quantiles[0, after]).detach()
    for level, quantile in zip(outputs.taus, outputs.quantiles[0, action], strict=True):
        for target in targets:
            error = target - quantile
            huber = F.huber_loss(quantile, target, delta=delta)
            loss = loss + (level - (error < 0).float()).abs() * huber / delta / len(targets)
    return loss, loss


NAIVE = {"none": naive_expected, "categorical": naive_categorical, "quantile": naive_quantile}


def naive_update(agent, batch, weights):
    """The learner after one update, one transition after the other, and its priorities."""
    s, network = SimpleNamespace(**to_flat(agent.settings)), copy.deepcopy(agent.network)
    optimizer = torch.optim.Adam(network.parameters(), lr=s.learning_rate, eps=s.optimizer_eps)
    losses, priorities = [], []
    for weight, obs, action, reward, discount, next_obs in zip(weights, *batch, strict=True):
        value = agent.target(next_obs[None])
        after = (network if s.double else agent.target)(next_obs[None]).q_values[0].argmax()
        outputs = network(obs[None])
        loss, priority = NAIVE[s.distribution](outputs, action, reward, discount, value, after, s.huber_delta)
        losses.append(weight * loss)
        priorities.append(priority.detach())
    (sum(losses) / (len(losses) if s.loss_reduction == "mean" else 1)).backward()
    norm = sum(p.grad.square().sum() for p in network.parameters()).sqrt()
    for p in network.parameters():
        p.grad *= min(1.0, (s.max_grad_norm or float("inf")) / norm)
    optimizer.step()
    return network, torch.stack(priorities)


UPDATES = [
    {},
    {"double": True},
    {"loss_reduction": "sum"},
    {"max_grad_norm": 0.01},
    {"max_grad_norm": 0.0},
    {"n_step": 2},
    {"dueling": True},
    DISTRIBUTIONS["categorical"],
    DISTRIBUTIONS["quantile"],
    {**DISTRIBUTIONS["categorical"], "double": True, "dueling": True, "n_step": 3},
]


@pytest.mark.parametrize(("changes", "weighted"), covering(UPDATES, [True, False]))
def test_an_update_is_the_naive_one(changes, weighted):
    agent = trained(Chain(2, length=4), 150, learning_starts=80, **changes).agent
    # Another learner, under an optimizer that sees the size of gradients: Adam's first step with a small eps does not.
    delta = {} if changes.get("distribution") == "categorical" else {"huber_delta": 0.1}
    fresh = make(Chain(2, length=4), seed=3, optimizer_eps=0.1, **delta, **changes)
    fresh.target.load_state_dict(agent.target.state_dict())
    batch = agent.sampler.replay.sample(16)
    weights = torch.linspace(0.1, 1.0, 16) if weighted else torch.ones(16)
    expected, priorities = naive_update(fresh, batch, weights)
    for parameter in fresh.network.parameters():
        parameter.grad = torch.ones_like(parameter)  # of an update before: it must not count
    give(fresh, Fixed(batch, weights if weighted else None))
    fresh.update(150)
    torch.testing.assert_close(dict(fresh.network.named_parameters()), dict(expected.named_parameters()))
    torch.testing.assert_close(fresh.sampler.priorities, [priorities])  # of the losses without their weights


def test_no_gradient_reaches_the_target_network():
    agent = trained(Chain(2), 150, **RAINBOW).agent
    assert all(parameter.grad is None for parameter in agent.target.parameters())
    assert all(parameter.grad is not None for parameter in agent.network.parameters())


@pytest.mark.parametrize(("num_envs", "tau"), [(1, 1.0), (3, 1.0), (3, 0.25)])
def test_the_target_moves_at_its_interval_only(num_envs, tau):
    environment = Chain(num_envs)
    agent = make(environment, learning_starts=20, target_interval=25, tau=tau)
    before, moves = {}, []

    def watch(trainer, steps_before):
        now = copy.deepcopy(agent.target.state_dict())
        if agent.learner.num_updates and before and trainer.steps // 25 > steps_before // 25:
            moves.append(trainer.steps // 25)
            learner = fold(agent.network).state_dict()
            expected = {name: old + tau * (learner[name] - old) for name, old in before.items()}
            torch.testing.assert_close(now, expected)
        elif agent.learner.num_updates and before:
            assert differences(now, before) == []
        if before:
            assert differences(agent.acting.state_dict(), fold(agent.network).state_dict()) == []
        before.update(now)

    Trainer(agent, environment, seed=0, callbacks=[AfterSteps(watch)]).run(130)
    assert moves == [1, 2, 3, 4, 5]


def test_the_optimizer_holds_g_and_v():
    agent = make(Chain(2))
    held = {id(parameter) for parameter in agent.learner.optimizer.param_groups[0]["params"]}
    head = agent.network.head
    assert {id(head.g), id(head.v), id(head.bias)} <= held
    before = head.g.clone(), head.v.clone()
    Trainer(agent, Chain(2), seed=0).run(220)
    assert not torch.equal(head.g, before[0])
    assert not torch.equal(head.v, before[1])


@pytest.mark.parametrize(("clip", "value"), [(1.0, 1.0), (0.0, 10.0)])
def test_rewards_are_clipped_for_learning_and_scores_are_not(clip, value):
    environment = Clockwork(1, reward=10.0)
    trainer = trained(environment, 500, learning_rate=0.05, learning_starts=50, reward_clip=clip)
    assert values(trainer.agent, np.ones((1, 1), np.float32)).mean() == pytest.approx(value, rel=0.05)
    assert trainer.statistics.mean_score == 10


def test_bfloat16_products_leave_parameters_in_float32_and_learn():
    environment = Chain(2, length=4)
    agent = make(environment)
    agent.learner.dtype = torch.bfloat16
    Trainer(agent, environment, seed=0).run(800)
    assert {parameter.dtype for parameter in agent.network.parameters()} == {torch.float32}
    assert play(agent, STATES).tolist() == [1, 1, 1]


# Acting


def test_plays_at_random_until_learning_starts_and_greedily_after_the_slope():
    agent = make(Chain(1), epsilon_start=0.0, epsilon_end=0.0)
    timestep = first_rows(np.zeros((200, 5), np.float32))
    assert set(agent.act(timestep, 99).action) == {0, 1}
    assert len(set(agent.act(timestep, 100).action)) == 1


@pytest.mark.parametrize(("step", "epsilon"), [(0, 1.0), (99, 1.0), (100, 0.8), (350, 0.55), (600, 0.3), (9_999, 0.3)])
def test_epsilon_follows_its_slope(step, epsilon):
    agent = make(Chain(1), epsilon_start=0.8)
    assert agent.metrics(step)["rollout/exploration_rate"] == pytest.approx(epsilon)
    obs = np.zeros((20_000, 5), np.float32)
    other = (agent.act(first_rows(obs), step).action != play(agent, obs[:1])[0]).mean()
    assert other == pytest.approx(epsilon / 2, abs=0.015)


# Noise and levels


def outputs_of(network, what):
    """All values that a network gives from now on, in the order of its calls."""
    seen = []
    network.register_forward_hook(lambda module, inputs, outputs: seen.append(outputs.q_values.detach().clone()))
    what()
    return seen


@pytest.mark.parametrize(("changes", "noisy"), [({}, False), (NOISY, True)])
def test_noise_is_drawn_anew_in_each_step_and_is_off_in_evaluation(changes, noisy):
    agent, timestep = make(Chain(2, length=4), **changes), first_rows(STATES)
    first, second = outputs_of(agent.acting, lambda: [agent.act(timestep, 100).action for _ in range(2)])
    assert torch.equal(first, second) != noisy
    with torch.no_grad():
        plain = agent.acting(torch.as_tensor(STATES)).q_values
    policy = agent.policy(np.random.default_rng(0))
    assert all(torch.equal(seen, plain) for seen in outputs_of(agent.acting, lambda: [policy(timestep)] * 2))
    assert torch.equal(first, plain) != noisy


@pytest.mark.parametrize(("changes", "noisy"), [({}, False), (NOISY, True)])
def test_noise_is_drawn_anew_in_each_update_for_both_networks(changes, noisy):
    """The same batch under a learning rate of nothing: what differs between two updates is noise."""
    trainer = trained(Chain(2, length=4), 150, learning_rate=1e-12, **changes)
    agent = trainer.agent
    give(agent, Fixed(agent.sampler.replay.sample(16)))
    for network in (agent.network, agent.target):
        first, second = outputs_of(network, lambda: [agent.update(150) for _ in range(2)])
        assert torch.allclose(first, second, atol=1e-6) != noisy


def test_the_target_network_and_the_choice_of_actions_have_noise_of_their_own():
    agent = make(Chain(2, length=4), **NOISY, double=True)
    batch = trained(Chain(2, length=4), 150).agent.sampler.replay.sample(16)
    give(agent, Fixed(batch._replace(next_obs=batch.obs)))
    target, learner = [], []
    for network, seen in ((agent.target, target), (agent.network, learner)):
        network.register_forward_hook(lambda module, inputs, outputs, seen=seen: seen.append(outputs.q_values.detach()))
    agent.update(150)
    chosen, learned = learner  # of the same states by the same weights, as the target network's
    assert not any(torch.allclose(*pair) for pair in ((chosen, learned), (chosen, target[0]), (learned, target[0])))


def test_layers_are_noisy_where_they_were_asked_to_be():
    layers = [module for module in make(Chain(1), **NOISY).network.modules() if isinstance(module, NoisyLinear)]
    assert len(layers) == 2
    assert not [module for module in make(Chain(1)).network.modules() if isinstance(module, NoisyLinear)]


def levels_of(agent, updates):
    """The levels that learner and target network are asked for."""
    seen = []
    for network in (agent.network, agent.target):
        network.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[1].clone()))
    for _ in range(updates):
        agent.update(150)
    return seen


def test_levels_are_drawn_anew_for_each_transition_from_the_agents_generator():
    numbers = {**DISTRIBUTIONS["implicit"], "taus": 5, "target_taus": 7, "policy_taus": 0}
    agents = [trained(Chain(2, length=4), 150, seed=seed, **numbers).agent for seed in (0, 0, 1)]
    torch.manual_seed(1)  # the global generator has no part in it
    first, again, other = (levels_of(agent, 2) for agent in agents)
    assert [tuple(levels.shape) for levels in first] == [(16, 7), (16, 5)] * 2
    assert all(torch.equal(*pair) for pair in zip(first, again, strict=True))
    assert not any(torch.equal(*pair) for pair in zip(first, other, strict=True))
    assert len({float(level) for levels in first for level in levels.flatten()}) > 380  # of 384


def asked(agent, batch):
    """The losses of a batch, and the levels that each network is asked for, by its name and observations."""
    seen, hooks = {}, []
    for name, network in (("learner", agent.network), ("target", agent.target)):

        def note(module, inputs, name=name):
            key = (name, "next" if inputs[0] is batch.next_obs else "now", torch.is_grad_enabled())
            seen[key] = inputs[1] if len(inputs) > 1 else agent.acting.head.taus.expand(len(batch.action), -1)

        hooks.append(network.register_forward_pre_hook(note))
    losses = agent.batch_loss(Sample(batch, None, None), None).priority
    for hook in hooks:
        hook.remove()
    return losses, seen


def naive_policy(rule, q_values, temperature=0.03):
    """Of one observation, from its values by the levels that choose; and temperature × its logarithm."""
    if rule != "munchausen":
        return F.one_hot(q_values.argmax(), len(q_values)).float(), torch.zeros(len(q_values))
    policy = (q_values / temperature).softmax(0)
    return policy, temperature * policy.log()


def naive_implicit_losses(agent, batch, levels, rule, policy_taus):
    """Transition by transition: levels of their own choose, or those that value where there are none."""
    losses = []
    for row, (obs, action, reward, discount, next_obs) in enumerate(zip(*batch, strict=True)):
        after = agent.target(next_obs[None], levels["target", "next", False][row : row + 1]).quantiles[0]
        choosing, valuing = after, after
        if rule == "double":
            choosing = agent.network(next_obs[None], levels["learner", "next", False][row : row + 1]).quantiles[0]
        elif policy_taus:
            choosing, valuing = after[:, :policy_taus], after[:, policy_taus:]
        policy, penalty = naive_policy(rule, choosing.mean(1))
        if rule == "munchausen":
            own = agent.target(obs[None], levels["target", "now", False][row : row + 1]).quantiles[0]
            reward = reward + 0.9 * naive_policy(rule, own.mean(1))[1][action].clamp(-1, 0)
        targets = reward + discount * (policy[:, None] * (valuing - penalty[:, None])).sum(0)
        taus = levels["learner", "now", True][row : row + 1]
        quantiles = agent.network(obs[None], taus).quantiles[0, action]
        loss = 0.0
        for level, quantile in zip(taus[0], quantiles, strict=True):
            errors = targets - quantile
            huber = F.huber_loss(quantile.expand_as(targets), targets, reduction="none")
            loss = loss + ((level - (errors < 0).float()).abs() * huber).mean()
        losses.append(loss)
    return torch.stack(losses)


@pytest.mark.parametrize("policy_taus", [0, 6])
@pytest.mark.parametrize("rule", ["greedy", "double", "munchausen"])
def test_levels_of_their_own_choose_what_others_value(rule, policy_taus):
    """Dabney et al. 2018b, IQN, equation 2; Vieillard et al. 2020, Munchausen-IQN."""
    numbers = {"taus": 5, "target_taus": 7, "acting_taus": 4, "policy_taus": policy_taus, "distribution": "implicit"}
    agent = trained(Chain(2, length=4), 200, **numbers, **BOOTSTRAPS[rule]).agent
    batch = agent.sampler.replay.sample(40)
    losses, levels = asked(agent, batch)
    sizes = {key: found.shape[1] for key, found in levels.items()}
    expected = {("target", "next", False): 7 if rule == "double" else 7 + policy_taus, ("learner", "now", True): 5}
    if rule == "double":
        expected["learner", "next", False] = policy_taus or 4
    if rule == "munchausen":
        expected["target", "now", False] = policy_taus or 4
    assert sizes == expected
    with torch.no_grad():
        torch.testing.assert_close(losses, naive_implicit_losses(agent, batch, levels, rule, policy_taus))
        if policy_taus and rule != "double":  # the same levels for both would be another target
            same = naive_implicit_losses(agent, batch, levels, rule, 0)
            assert not torch.allclose(losses, same, rtol=1e-3)


# State


def early(noisy):
    return {"init": "data", "learning_starts": 40, **(RAINBOW if noisy else {})}


@cache
def stopped(noisy):
    """The state of a run at step 80; and those of another run's agent, at its begin and at step 80."""
    other = Trainer(make(Chain(2, length=4), seed=7, **early(noisy)), Chain(2, length=4), seed=7)
    begin = copy.deepcopy(other.agent.get_state())
    other.run(80)
    return trained(Chain(2, length=4), 80, **early(noisy)).get_state(), [begin, other.agent.get_state()]


def gone_on(state, noisy):
    rest = Trainer(make(Chain(2, length=4), **early(noisy)), Chain(2, length=4), seed=0)
    rest.set_state(state)
    rest.run(130)
    return parameters(rest.agent)


@cache
def whole(noisy):
    return gone_on(copy.deepcopy(stopped(noisy)[0]), noisy)


@pytest.mark.parametrize(
    "part", ["learner/network", "learner/optimizer", "learner/num_updates", "target", "replay", "rng", "generator"]
)
def test_each_part_of_the_state_matters(part):
    """Leave one out, and the run that goes on is another: the contract's test of resuming would fail without it."""
    noisy = part == "generator"
    state, other = copy.deepcopy(stopped(noisy))
    *path, name = part.split("/")
    ours, theirs = state["agent"], other[part in ("replay", "rng", "generator")]
    for key in path:
        ours, theirs = ours[key], theirs[key]
    ours[name] = theirs[name]
    assert not torch.equal(gone_on(state, noisy), whole(noisy))


# Initialization


@pytest.mark.parametrize("norm", ["weight", "none", "mean-batch", "batch"])
def test_data_initialization_gives_each_unit_mean_0_and_variance_1_on_what_was_played(norm):
    environment = Chain(2, length=4)
    agent = make(environment, norm=norm, init="data", init_batch=3_000, learning_rate=1e-12)
    Trainer(agent, environment, seed=0).run(102)
    obs, network = agent.sampler.replay.sample(3_000).obs, agent.network.eval()
    for outputs in (network.torso.layers[1](obs), network(obs).q_values):
        torch.testing.assert_close(outputs.mean(0), torch.zeros(outputs.shape[1]), atol=0.15, rtol=0)
        torch.testing.assert_close(outputs.var(0, correction=0), torch.ones(outputs.shape[1]), atol=0.2, rtol=0)


def test_lsuv_gives_each_layer_variance_1_and_orthogonal_weights_on_what_was_played():
    environment = Chain(2, length=4)
    agent = make(environment, init="lsuv", init_batch=3_000, learning_rate=1e-12)
    Trainer(agent, environment, seed=0).run(102)
    obs, network = agent.sampler.replay.sample(3_000).obs, agent.network.eval()
    for outputs in (network.torso.layers[1](obs), network(obs).q_values):
        assert outputs.var(correction=0).item() == pytest.approx(1, abs=0.2)
    assert network.head.bias.abs().max() < 1e-9  # one update at the smallest of rates
    rows = network.head.weight.detach()
    torch.testing.assert_close(rows @ rows.T, rows[0].square().sum() * torch.eye(len(rows)), rtol=1e-3, atol=1e-4)


def test_data_initialization_happens_once_before_the_first_update():
    environment = Chain(2, length=4)
    agent = make(environment, init="data", learning_rate=1e-12)
    trainer, start = Trainer(agent, environment, seed=0), parameters(agent)
    trainer.run(100)
    assert torch.equal(parameters(agent), start)
    trainer.run(110)
    initialized = parameters(agent)
    assert not torch.allclose(initialized, start)
    assert (
        differences(agent.target.state_dict(), fold(agent.network).state_dict()) == [] or agent.learner.num_updates > 1
    )
    trainer.run(150)
    torch.testing.assert_close(parameters(agent), initialized)


# Figures


def run_read_at(steps, *, norm="weight", read=lambda agent, step: agent.metrics(step)):
    """A run of 160 steps in which the figures are read after these steps, and all its state but what figures hold."""
    environment = Chain(2, length=4)
    run = replace(RUN, norm=norm, normalize_output=norm == "weight")
    agent = build_dqn(run, settings(), environment)

    def hook(trainer, before):
        if trainer.steps in steps:
            read(agent, trainer.steps)

    trainer = Trainer(agent, environment, seed=0, callbacks=[AfterSteps(hook)])
    trainer.run(160)
    state = copy.deepcopy(trainer.get_state())
    del state["seconds"]
    for kept_for_readings in ("means", "diagnostics", "network_diagnostics"):
        del state["agent"]["learner"][kept_for_readings]
    return trainer, state


@pytest.mark.parametrize("norm", mostly_slow(["weight", "mean-batch", "batch", "spectral"], "mean-batch", "spectral"))
def test_learning_is_the_same_to_the_bit_however_often_figures_are_read(norm):
    never = run_read_at([], norm=norm)[1]
    assert differences(run_read_at(range(80, 160), norm=norm)[1], never) == []


def test_a_reading_that_draws_from_the_replays_generator_would_be_seen():
    never = run_read_at([])[1]
    other = run_read_at(range(120, 123), read=lambda agent, step: agent.sampler.replay.sample(32))[1]
    assert "/agent/replay/generator" in differences(other, never)


@pytest.mark.parametrize(("norm", "noisy"), [("none", False), ("weight", False), ("mean-batch", True), ("batch", True)])
def test_figures_of_every_layer(norm, noisy):
    trainer, _ = run_read_at([], norm=norm)
    figures = trainer.agent.metrics(160)
    layers = {tag: value for tag, value in figures.items() if tag.startswith("weights/")}
    assert ("weights/minibatch_noise" in layers) == noisy
    assert layers.get("weights/minibatch_noise", 1) > 0.01
    assert 0 <= layers["weights/fc/dead"] < 1
    for layer in ("fc", "q"):
        assert layers[f"weights/{layer}/w_norm"] > 0
        assert 0 < layers[f"weights/{layer}/angle"] < 10
    assert all(type(value) in (int, float) for value in figures.values())


def test_figures_are_read_on_twice_a_minibatch_so_that_halves_are_as_large_as_one():
    trainer, _ = run_read_at([], norm="batch")
    sizes, forward = [], trainer.agent.learner.diagnostics._forward
    trainer.agent.learner.diagnostics._forward = lambda network, obs: sizes.append(len(obs)) or forward(network, obs)
    trainer.agent.metrics(160)
    assert set(sizes) == {2 * 16, 16}


def test_figures_before_the_first_transition_are_of_the_weights_alone():
    figures = make(Chain(2)).metrics(0)
    assert {tag.split("/")[-1] for tag in figures if tag.startswith("weights/")} == {
        "w_norm",
        "v_norm",
        "effective_lr",
    }


def test_figures_show_the_angle_of_the_first_update_since_the_last():
    trainer, _ = run_read_at([])
    agent = trainer.agent
    angle = "weights/q/angle"
    assert angle in agent.metrics(160)
    assert angle not in agent.metrics(160)
    weights = [fold(agent.network).head.weight.detach().double()]
    for _ in range(3):
        agent.update(160)
        weights.append(fold(agent.network).head.weight.detach().double())
    expected = F.cosine_similarity(*weights[:2], dim=1).acos().rad2deg().mean()
    assert agent.metrics(160)[angle] == pytest.approx(expected.item(), rel=1e-3) != 0


def test_angles_are_lost_without_their_part_of_the_state():
    trainer, _ = run_read_at([])
    state = copy.deepcopy(trainer.agent.get_state())
    whole, rest = make(Chain(2, length=4), seed=7), make(Chain(2, length=4), seed=7)
    whole.set_state(state)
    fresh = rest.get_state()["learner"]["diagnostics"]
    rest.set_state({**state, "learner": {**state["learner"], "diagnostics": fresh}})
    figures = trainer.agent.metrics(160)
    assert differences(whole.metrics(160), figures) == []
    assert sorted(differences(rest.metrics(160), figures)) == ["/weights/fc/angle", "/weights/q/angle"]


def test_a_minibatch_of_one_has_figures():
    metrics = trained(Chain(2, length=4), 150, batch_size=1).agent.metrics(150)
    assert metrics["weights/q/w_norm"] > 0
    assert "weights/minibatch_noise" not in metrics


def test_layers_are_of_the_kind_that_was_asked_for():
    assert type(make(Chain(1), norm="none").network.head) is nn.Linear
    assert {name for name, _ in make(Chain(1)).network.head.named_parameters()} == {"g", "v", "bias"}
    assert type(make(Chain(1)).acting.head) is nn.Linear


# Observations and next observations in one pass

JOINT_NORMS = ["none", "weight", "layer", "layer-channels", "projected", "layer+projected", "weight-clip"]


def joint(monkeypatch, pays):
    monkeypatch.setattr(dqn, "joining_pays", lambda network, batch_size, device: pays)


def passes_of(agent):
    """The sizes of the batches that its learner's network gets from now on."""
    sizes = []
    agent.network.register_forward_hook(lambda module, inputs, output: sizes.append(len(inputs[0])))
    return sizes


@pytest.mark.parametrize(("norm", "distribution"), covering(JOINT_NORMS, ["none", "categorical", "quantile"]))
def test_one_pass_of_both_has_the_loss_and_gradients_of_two(norm, distribution, monkeypatch):
    """And no gradient of the choice of actions."""
    changes = {"norm": norm, "double": True, "dueling": norm == "weight", **DISTRIBUTIONS[distribution]}
    agents = []
    for pays in (False, True):
        joint(monkeypatch, pays)
        agents.append(trained(Chain(2, length=4), 110, **changes).agent)
    two, one = agents
    one.network.load_state_dict(two.network.state_dict())
    one.target.load_state_dict(two.target.state_dict())
    sample, sizes = two.sampler.sample(16), [passes_of(agent) for agent in agents]
    losses = [agent.batch_loss(sample, None) for agent in agents]
    assert sizes == [[16, 16], [32]]
    torch.testing.assert_close(losses[1].priority, losses[0].priority)
    torch.testing.assert_close(losses[1].metrics, losses[0].metrics)
    gradients = [
        torch.autograd.grad(loss.loss, list(agent.network.parameters()))
        for loss, agent in zip(losses, agents, strict=True)
    ]
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-4, atol=1e-6)
    assert any(gradient.any() for gradient in gradients[0])


@pytest.mark.parametrize(
    "changes",
    [
        {"norm": "batch"},
        {"norm": "mean-batch"},
        {"norm": "batch+projected"},
        {"norm": "spectral"},
        NOISY,
        DISTRIBUTIONS["implicit"],
        {"double": False},
    ],
    ids=str,
)
def test_what_depends_on_the_batch_the_mode_or_draws_has_a_pass_for_each(changes, monkeypatch):
    joint(monkeypatch, True)
    agent = make(Chain(2, length=4), **{"double": True, **changes})
    agent.sampler.replay = trained(Chain(2, length=4), 110).agent.sampler.replay
    sizes = passes_of(agent)
    agent.batch_loss(agent.sampler.sample(16), None)
    assert set(sizes) == {16}


def test_a_network_of_ones_own_has_a_pass_for_each():
    """It may have dropout."""
    numbers = settings(double=True)
    own = replace(RUN, own_torso=lambda shape: nn.Sequential(nn.Linear(*shape, 8), nn.Dropout(0.5)))
    assert not build_dqn(own, numbers, Chain(2))._joins
    assert build_dqn(RUN, numbers, Chain(2))._joins


def test_one_pass_is_for_small_networks_and_for_cuda():
    agent, images = make(Chain(2), double=True), make(Pictured(2), double=True)
    assert (agent._joins, images._joins) == (True, False)
    pays = [dqn.joining_pays(images.network, size, torch.device("cuda")) for size in (32, 64, 65, 256)]
    assert pays == [True, True, False, False]
    plain = make(Chain(2), norm="none").network
    most = {False: 1_000_000, True: 8_000_000}  # weights times examples
    for network, forms in ((plain, False), (agent.network, True)):
        batch = most[forms] // sum(p.numel() for p in network.parameters())
        pays = [dqn.joining_pays(network, size, torch.device("cpu")) for size in (batch - 1, batch + 1)]
        assert pays == [True, False]


@pytest.mark.parametrize("number", [1, 8])
def test_updates_with_one_pass_of_both_learn_the_same(number, monkeypatch):
    learned = []
    for pays in (False, True):
        joint(monkeypatch, pays)
        agent = trained(Pictured(2, length=4), 110, double=True).agent
        agent.update(112, number)
        learned.append(parameters(agent))
    torch.testing.assert_close(*learned, rtol=1e-3, atol=1e-5)
