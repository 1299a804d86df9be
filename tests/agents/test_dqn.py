import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from agents.building import make_dqn
from agents.dqn import DQNSettings
from agents.settings import RunSettings
from agents.training import Trainer
from envs import Chain
from tests.agents.contract import AgentContract, differences, parameters
from tests.agents.environments import Clockwork
from wnrl.folding import fold

NUMBERS = DQNSettings(
    learning_rate=3e-3,
    batch_size=16,
    train_interval=2,
    learning_starts=100,
    replay_size=1_000,
    gamma=0.9,
    target_interval=50,
    epsilon_end=0.3,
    epsilon_steps=500,
    init_batch=64,
)
RUN = RunSettings(env="Chain", hidden=(32,), device="cpu")


def make(environment, seed=0, norm="weight", **changes):
    return make_dqn(replace(RUN, norm=norm, seed=seed), replace(NUMBERS, **changes), environment)


def trained(environment, steps, **changes):
    trainer = Trainer(make(environment, **changes), environment, seed=0)
    trainer.run(steps)
    return trainer


def values(agent, obs):
    return agent.network(torch.as_tensor(obs)).q_values.detach().numpy()


class DQNContract(AgentContract):
    changes = {}  # noqa: RUF012 - each variant has its own

    def make(self, environment, seed):
        return make(environment, seed, **self.changes)

    def check_solution(self, trainer):
        optimal = trainer.environment.optimal_values(0.9)[:3]
        assert values(trainer.agent, np.eye(4, dtype=np.float32)[:3])[:, 1] == pytest.approx(optimal, abs=0.1)


class TestWeight(DQNContract):
    pass


class TestNone(DQNContract):
    changes = {"norm": "none"}  # noqa: RUF012


class TestWeightFromData(DQNContract):
    changes = {"init": "data"}  # noqa: RUF012


class TestNoneFromData(DQNContract):
    changes = {"norm": "none", "init": "data"}  # noqa: RUF012


class TestHe(DQNContract):
    changes = {"init": "he"}  # noqa: RUF012


class TestAnalytic(DQNContract):
    changes = {"init": "analytic"}  # noqa: RUF012


class TestRivals(DQNContract):
    @pytest.fixture(autouse=True, params=["mean-batch", "batch", "layer", "projected", "spectral"])
    def norm(self, request):
        self.changes = {"norm": request.param, "double": True}


class TestEverythingElse(DQNContract):
    """Three steps, the double target, soft updates and the paper's optimizer, in one."""

    num_envs = 1
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


def value_of_clockwork(period=2, terminates=False, **changes):
    """What is learned of a world that pays 1 a step and ends each `period` steps."""
    numbers = {"gamma": 0.8, "learning_rate": 0.02, "target_interval": 16, "learning_starts": 50, **changes}
    environment = Clockwork(period, terminates=terminates)
    agent = trained(environment, 900, **numbers).agent
    return values(agent, np.ones((1, 1), np.float32)).mean()


@pytest.mark.parametrize("n_step", [1, 3])
def test_truncation_is_bootstrapped(n_step):
    assert value_of_clockwork(n_step=n_step) == pytest.approx(1 / (1 - 0.8), rel=0.06)


def test_termination_is_not_bootstrapped():
    value = value_of_clockwork(terminates=True, learning_rate=0.01)
    assert value == pytest.approx(1 / (1 - 0.8 / 2), rel=0.1)


def test_discount_0_stops_the_bootstrap():
    assert value_of_clockwork(gamma=0.0) == pytest.approx(1, rel=0.03)


# Updates


@pytest.mark.parametrize("num_envs", [1, 3, 8])
@pytest.mark.parametrize("train_interval", [1, 4, 10])
def test_updates_are_counted_in_steps_for_any_number_of_environments(num_envs, train_interval):
    trainer = trained(Chain(num_envs), 150, learning_starts=60, train_interval=train_interval, batch_size=2)
    assert trainer.agent.num_updates == (trainer.steps - 60) // train_interval > 0
    assert trainer.agent.figures(150)["train/n_updates"] == trainer.agent.num_updates


def naive_update(agent, batch):
    """The learner after one update, one transition after the other."""
    s, network = agent.settings, copy.deepcopy(agent.network)
    optimizer = torch.optim.Adam(network.parameters(), lr=s.learning_rate, eps=s.optimizer_eps)
    losses = []
    for obs, action, reward, discount, next_obs in zip(*batch, strict=True):
        q, after, judge = (
            n(o[None]).q_values[0] for n, o in ((network, obs), (network, next_obs), (agent.target, next_obs))
        )
        value = judge[after.argmax()] if s.double else judge.max()
        losses.append(F.huber_loss(q[action], (reward + discount * value).detach(), delta=s.huber_delta))
    (sum(losses) / (len(losses) if s.loss_reduction == "mean" else 1)).backward()
    norm = sum(p.grad.square().sum() for p in network.parameters()).sqrt()
    for p in network.parameters():
        p.grad *= min(1.0, (s.max_grad_norm or float("inf")) / norm)
    optimizer.step()
    return network


@pytest.mark.parametrize(
    "changes",
    [{}, {"double": True}, {"loss_reduction": "sum"}, {"max_grad_norm": 0.01}, {"max_grad_norm": 0.0}, {"n_step": 2}],
)
def test_an_update_is_the_naive_one(changes):
    agent = trained(Chain(2, length=4), 150, learning_starts=80, **changes).agent
    # Another learner, under an optimizer that sees the size of gradients: Adam's first step with a small eps does not.
    fresh = make(Chain(2, length=4), seed=3, huber_delta=0.1, optimizer_eps=0.1, **changes)
    fresh.target.load_state_dict(agent.target.state_dict())
    batch = agent.replay.sample(16)
    expected = naive_update(fresh, batch)
    for parameter in fresh.network.parameters():
        parameter.grad = torch.ones_like(parameter)  # of an update before: it must not count
    fresh._update(batch)
    torch.testing.assert_close(dict(fresh.network.named_parameters()), dict(expected.named_parameters()))


def test_no_gradient_reaches_the_target_network():
    agent = trained(Chain(2), 150).agent
    assert all(parameter.grad is None for parameter in agent.target.parameters())
    assert all(parameter.grad is not None for parameter in agent.network.parameters())


@pytest.mark.parametrize(("num_envs", "tau"), [(1, 1.0), (3, 1.0), (3, 0.25)])
def test_the_target_moves_at_its_interval_only(num_envs, tau):
    environment = Chain(num_envs)
    agent = make(environment, learning_starts=20, target_interval=25, tau=tau)
    before, moves = {}, []

    def watch(trainer, steps_before):
        now = copy.deepcopy(agent.target.state_dict())
        if agent.num_updates and before and trainer.steps // 25 > steps_before // 25:
            moves.append(trainer.steps // 25)
            learner = fold(agent.network).state_dict()
            expected = {name: old + tau * (learner[name] - old) for name, old in before.items()}
            torch.testing.assert_close(now, expected)
        elif agent.num_updates and before:
            assert differences(now, before) == []
        before.update(now)

    Trainer(agent, environment, seed=0, hooks=[watch]).run(130)
    assert moves == [1, 2, 3, 4, 5]


def test_the_optimizer_holds_g_and_v():
    agent = make(Chain(2))
    held = {id(parameter) for parameter in agent.optimizer.param_groups[0]["params"]}
    head = agent.network.head
    assert {id(head.g), id(head.v), id(head.bias)} <= held
    before = head.g.clone(), head.v.clone()
    Trainer(agent, Chain(2), seed=0).run(220)
    assert not torch.equal(head.g, before[0])
    assert not torch.equal(head.v, before[1])


@pytest.mark.parametrize(("clip", "value"), [(1.0, 1.0), (0.0, 10.0)])
def test_rewards_are_clipped_for_learning_and_scores_are_not(clip, value):
    environment = Clockwork(1, reward=10.0)
    trainer = trained(environment, 1_000, learning_rate=0.05, learning_starts=50, reward_clip=clip)
    assert values(trainer.agent, np.ones((1, 1), np.float32)).mean() == pytest.approx(value, rel=0.05)
    assert trainer.statistics.mean_score == 10


def test_bfloat16_products_leave_parameters_in_float32_and_learn():
    environment = Chain(2, length=4)
    agent = make(environment)
    agent._dtype = torch.bfloat16
    Trainer(agent, environment, seed=0).run(1_200)
    assert {parameter.dtype for parameter in agent.network.parameters()} == {torch.float32}
    assert agent.act_greedily(np.eye(4, dtype=np.float32)[:3], 0.0, np.random.default_rng(0)).tolist() == [1, 1, 1]


# Acting


def test_plays_at_random_until_learning_starts_and_greedily_after_the_slope():
    agent = make(Chain(1), epsilon_start=0.0, epsilon_end=0.0)
    obs = np.zeros((200, 5), np.float32)
    assert set(agent.act(obs, 99)) == {0, 1}
    assert len(set(agent.act(obs, 100))) == 1


@pytest.mark.parametrize(("step", "epsilon"), [(0, 1.0), (99, 1.0), (100, 0.8), (350, 0.55), (600, 0.3), (9_999, 0.3)])
def test_epsilon_follows_its_slope(step, epsilon):
    agent = make(Chain(1), epsilon_start=0.8)
    assert agent.figures(step)["rollout/exploration_rate"] == pytest.approx(epsilon)
    obs = np.zeros((20_000, 5), np.float32)
    greedy = agent.act_greedily(obs[:1], 0.0, np.random.default_rng(0))[0]
    other = (agent.act(obs, step) != greedy).mean()
    assert other == pytest.approx(epsilon / 2, abs=0.015)


# State


@pytest.mark.parametrize("part", ["network", "target", "optimizer", "replay", "rng", "num_updates"])
def test_each_part_of_the_state_matters(part):
    """Leave one out, and the run that goes on is another: the contract's test of resuming would fail without it."""
    results = []
    for left_out in (None, part):
        environment = Chain(2, length=4)
        first = trained(environment, 190, init="data")
        state = first.get_state()
        if left_out:
            state["agent"][left_out] = make(Chain(2, length=4), seed=7, init="data").get_state()[left_out]
            if left_out == "replay":
                state["agent"]["replay"] = trained(Chain(2, length=4), 190, seed=7).agent.replay.get_state()
        rest = Trainer(make(environment, init="data"), environment, seed=0)
        rest.set_state(copy.deepcopy(state))
        rest.run(260)
        results.append(parameters(rest.agent))
    assert not torch.equal(*results)


# Initialization


@pytest.mark.parametrize("norm", ["weight", "none", "mean-batch", "batch"])
def test_data_initialization_gives_each_unit_mean_0_and_variance_1_on_what_was_played(norm):
    environment = Chain(2, length=4)
    agent = make(environment, norm=norm, init="data", init_batch=3_000, learning_rate=1e-12)
    Trainer(agent, environment, seed=0).run(102)
    obs, network = agent.replay.sample(3_000).obs, agent.network.eval()
    for outputs in (network.torso.layers[1](obs), network(obs).q_values):
        torch.testing.assert_close(outputs.mean(0), torch.zeros(outputs.shape[1]), atol=0.15, rtol=0)
        torch.testing.assert_close(outputs.var(0, correction=0), torch.ones(outputs.shape[1]), atol=0.2, rtol=0)


def test_data_initialization_happens_once_before_the_first_update():
    environment = Chain(2, length=4)
    agent = make(environment, init="data", learning_rate=1e-12)
    trainer, start = Trainer(agent, environment, seed=0), parameters(agent)
    trainer.run(100)
    assert torch.equal(parameters(agent), start)
    trainer.run(110)
    initialized = parameters(agent)
    assert not torch.allclose(initialized, start)
    assert differences(agent.target.state_dict(), fold(agent.network).state_dict()) == [] or agent.num_updates > 1
    trainer.run(150)
    torch.testing.assert_close(parameters(agent), initialized)


# Figures


def run_read_at(steps, *, norm="weight", read=lambda agent, step: agent.figures(step)):
    """A run of 160 steps in which the figures are read after these steps, and all its state but what figures hold."""
    environment = Chain(2, length=4)
    run = replace(RUN, norm=norm, normalize_output=norm == "weight")
    agent = make_dqn(run, NUMBERS, environment)

    def hook(trainer, before):
        if trainer.steps in steps:
            read(agent, trainer.steps)

    trainer = Trainer(agent, environment, seed=0, hooks=[hook])
    trainer.run(160)
    state = copy.deepcopy(trainer.get_state())
    del state["seconds"], state["agent"]["means"], state["agent"]["diagnostics"]
    return trainer, state


@pytest.mark.parametrize("norm", ["weight", "mean-batch", "batch", "spectral"])
def test_learning_is_the_same_to_the_bit_however_often_figures_are_read(norm):
    never = run_read_at([], norm=norm)[1]
    assert differences(run_read_at(range(80, 160), norm=norm)[1], never) == []


def test_a_reading_that_draws_from_the_replays_generator_would_be_seen():
    never = run_read_at([])[1]
    other = run_read_at(range(120, 123), read=lambda agent, step: agent.replay.sample(32))[1]
    assert "/agent/replay/generator" in differences(other, never)


@pytest.mark.parametrize(("norm", "noisy"), [("none", False), ("weight", False), ("mean-batch", True), ("batch", True)])
def test_figures_of_every_layer(norm, noisy):
    trainer, _ = run_read_at([], norm=norm)
    figures = trainer.agent.figures(160)
    layers = {tag: value for tag, value in figures.items() if tag.startswith("norm/")}
    assert (layers["norm/minibatch_noise"] > 0.01) == noisy
    assert layers["norm/minibatch_noise"] == 0 or noisy
    assert 0 <= layers["norm/torso.layers.1/dead"] < 1
    for layer in ("torso.layers.1", "head"):
        assert layers[f"norm/{layer}/w_norm"] > 0
        assert 0 < layers[f"norm/{layer}/angle"] < 10
    assert all(type(value) in (int, float) for value in figures.values())


def test_figures_are_read_on_twice_a_minibatch_so_that_halves_are_as_large_as_one():
    trainer, _ = run_read_at([])
    sizes, forward = [], trainer.agent._diagnostics._forward
    trainer.agent._diagnostics._forward = lambda network, obs: sizes.append(len(obs)) or forward(network, obs)
    trainer.agent.figures(160)
    assert set(sizes) == {2 * 16, 16}


def test_figures_before_the_first_transition_are_of_the_weights_alone():
    figures = make(Chain(2)).figures(0)
    assert {tag.split("/")[-1] for tag in figures if tag.startswith("norm/")} == {
        "w_norm",
        "g",
        "v_norm",
        "effective_lr",
    }


def test_figures_show_the_angle_of_the_first_update_since_the_last():
    trainer, _ = run_read_at([])
    agent = trainer.agent
    angle = "norm/head/angle"
    assert angle in agent.figures(160)
    assert angle not in agent.figures(160)
    weights = [fold(agent.network).head.weight.detach().double()]
    for _ in range(3):
        agent.update()
        weights.append(fold(agent.network).head.weight.detach().double())
    expected = F.cosine_similarity(*weights[:2], dim=1).acos().rad2deg().mean()
    assert agent.figures(160)[angle] == pytest.approx(expected.item(), rel=1e-3) != 0


def test_angles_are_lost_without_their_part_of_the_state():
    trainer, _ = run_read_at([])
    state = copy.deepcopy(trainer.agent.get_state())
    whole, rest = make(Chain(2, length=4), seed=7), make(Chain(2, length=4), seed=7)
    whole.set_state(state)
    rest.set_state({**state, "diagnostics": rest.get_state()["diagnostics"]})
    figures = trainer.agent.figures(160)
    assert differences(whole.figures(160), figures) == []
    assert sorted(differences(rest.figures(160), figures)) == ["/norm/head/angle", "/norm/torso.layers.1/angle"]


def test_a_minibatch_of_one_has_figures():
    trainer = trained(Chain(2, length=4), 150, batch_size=1)
    assert trainer.agent.figures(150)["norm/minibatch_noise"] == 0


# Settings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("batch_size", 0),
        ("train_interval", 0),
        ("replay_size", 0),
        ("n_step", 0),
        ("target_interval", 0),
        ("init_batch", 0),
        ("learning_rate", 0.0),
        ("huber_delta", -1.0),
        ("gamma", 1.1),
        ("tau", -0.1),
        ("epsilon_start", 2.0),
        ("epsilon_end", -1.0),
        ("beta1", 1.5),
        ("learning_starts", -1),
        ("epsilon_steps", -1),
        ("optimizer_eps", -1e-8),
        ("max_grad_norm", -1.0),
        ("reward_clip", -1.0),
    ],
)
def test_numbers_out_of_range_are_refused_by_name_and_value(name, value):
    with pytest.raises(ValueError, match=f"{name} must .*{value}"):
        DQNSettings(**{name: value})


def test_limits_are_allowed():
    DQNSettings(gamma=0, tau=0, epsilon_end=0, learning_starts=0, max_grad_norm=0, reward_clip=0, epsilon_steps=0)


def test_layers_are_of_the_kind_that_was_asked_for():
    assert type(make(Chain(1), norm="none").network.head) is nn.Linear
    assert {name for name, _ in make(Chain(1)).network.head.named_parameters()} == {"g", "v", "bias"}
    assert type(make(Chain(1)).acting.head) is nn.Linear
