"""What on-policy agents have in common; the kinds have tests of their own."""

import math
from functools import cache

import numpy as np
import pytest
import torch

from agents.training.trainer import Trainer
from envs import Atari, Chain, Gym
from envs.stream import first_rows
from tests.agents.compiled import compile_gradient_steps, parts, unique_graphs
from tests.agents.contract import parameters
from tests.agents.environments import Clockwork
from tests.agents.policy_gradient_family import KINDS, flat_settings, make, outputs, trained


class Scaled(Chain):
    """Pays, or shows, so many times as much."""

    def __init__(self, *arguments, reward=1.0, obs=1.0, **options):
        super().__init__(*arguments, **options)
        self.factor, self.size = reward, obs

    def step(self, action):
        row = super().step(action)
        return row._replace(reward=np.float32(self.factor) * row.reward)

    def _obs(self):
        return np.float32(self.size) * super()._obs()


def learned_with(kind, change):
    return parameters(trained(kind, Chain(2, length=4, max_steps=6), 80, optimizer_eps=0.1, **change).agent)


@cache
def learned_without(kind):
    return learned_with(kind, {})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "change",
    [
        {"entropy_coef": 0.1},
        {"value_coef": 2.0},
        {"normalize_advantage": None},
        {"normalize_obs": True},
        {"normalize_return": True},
        {"reward_clip": 0.5},
        {"separate": False},
        {"orthogonal": False},
        {"max_grad_norm": 0.01},
        {"gamma": 0.5},
    ],
)
def test_each_setting_has_an_effect(kind, change):
    base = flat_settings(make(kind, Chain(2, length=4)))
    change = {name: not base.normalize_advantage if value is None else value for name, value in change.items()}
    before, after = learned_without(kind), learned_with(kind, change)
    assert before.shape != after.shape or not torch.equal(before, after)


@pytest.mark.parametrize("kind", KINDS)
def test_entropy_keeps_the_policy_from_settling(kind):
    least, most = (
        -trained(kind, Chain(3, length=4), 900, entropy_coef=coef).agent.metrics(900)["train/entropy_loss"]
        for coef in (0.0, 10.0)
    )
    assert most > 0.9 * math.log(2) > least


@pytest.mark.parametrize("normalized", [True, False])
def test_scaled_rewards_have_no_size(normalized):
    ends = [
        parameters(trained("ppo", Scaled(3, length=4, reward=size), 300, normalize_return=normalized).agent)
        for size in (1.0, 1000.0)
    ]
    assert torch.allclose(*ends, atol=0.02) is normalized


def test_scaled_observations_are_those_of_all_rollouts_so_far():
    environment = Scaled(3, length=4, obs=30.0)
    agent, rows = make("ppo", environment, normalize_obs=True), []
    observe = agent.observe
    agent.observe = lambda timestep, action: (rows.append(timestep.obs), observe(timestep, action))
    Trainer(agent, environment, seed=0).run(130)
    length = KINDS["ppo"][2]["rollout_length"]
    seen = np.concatenate(rows[: len(rows) // length * length])
    for norm in (agent.network.obs_norm, agent.acting.obs_norm):
        assert norm.running_mean.numpy() == pytest.approx(seen.mean(0), abs=1e-4)
        assert norm.running_var.numpy() == pytest.approx(seen.var(0), rel=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_rollout_is_learned_with_scaled_observations(kind):
    """With its own scale, in which its log-probabilities and values are too."""
    environment = Scaled(3, length=4, max_steps=5, obs=30.0)
    agent, seen = make(kind, environment, normalize_obs=True, orthogonal=False), []
    learn_from = agent._learn_from

    def spy(rollout, *rest):
        obs, norm = rollout.obs.flatten(0, 1), agent.network.obs_norm
        found = outputs(agent.network, obs)
        log_prob = found.policy.log_prob(rollout.action.flatten()).view(rollout.log_prob.shape)
        difference = max(float((a - b).abs().max()) for a, b in [
            (log_prob, rollout.log_prob),
            (found.value.view(rollout.value.shape), rollout.value),
            (agent._values(environment_row), outputs(agent.network, environment_row.obs).value),
        ])  # fmt: skip
        seen.append((int(norm.running_count), norm(obs).abs().max().item(), difference))
        learn_from(rollout, *rest)

    agent._learn_from = spy
    environment_row = environment.reset(0)
    trainer = Trainer(agent, environment, seed=0)
    while len(seen) < 3:
        trainer.run(trainer.steps + 1)
    sizes = [count for count, _, _ in seen]
    assert 0 < sizes[0] == sizes[1] < sizes[2]
    assert all(largest < 10 for _, largest, _ in seen)  # 30 unscaled, clipped to 10
    assert all(difference < 1e-4 for _, _, difference in seen)


def test_separate_torsos_share_no_gradient():
    for separate in (True, False):
        agent = make("ppo", Chain(2, length=4), separate=separate)
        agent.network(torch.eye(4)).value.sum().backward()
        touched = any(p.grad is not None and p.grad.any() for p in agent.network.torso.parameters())
        assert touched is not separate


@pytest.mark.parametrize("norm", ["none", "weight", "mean-batch", "batch", "layer"])
def test_orthogonal_weights_reach_the_policy(norm):
    """All actions are about as probable at first: the policy's effective weights are small."""
    logits = [
        outputs(make("ppo", Chain(2, length=4), norm=norm, orthogonal=orthogonal).acting, np.eye(4)).policy.logits
        for orthogonal in (True, False)
    ]
    small, plain = (float((x - x.mean(1, keepdim=True)).abs().max()) for x in logits)
    assert small < 0.05 < plain


@pytest.mark.parametrize("sample", [True, False])
def test_evaluation_draws_only_if_asked_to(sample):
    agent = make("ppo", Chain(2, length=4), eval_sample=sample)
    row = first_rows(np.tile(np.eye(4, dtype=np.float32)[:1], (200, 1)))
    actions = agent.policy(np.random.default_rng(0))(row)
    assert set(actions.tolist()) == ({0, 1} if sample else {actions[0]})


def test_the_values_of_a_world_that_is_cut_off_are_wrong_if_it_were_terminated():
    """The same world, once with a discount of 0 at its timeouts: 1/(1 − γ) is learned in one of them alone."""
    got = []
    for terminates in (False, True):
        world = Clockwork(2, 2, 2, terminates=terminates)
        agent = trained("ppo", world, 600, gamma=0.8, learning_rate=0.02).agent
        got.append(float(outputs(agent.network, np.ones((1, 1), np.float32)).value))
    right, wrong = got
    assert right == pytest.approx(1 / (1 - 0.8), rel=0.06)
    assert wrong == pytest.approx((2 + 0.8 * 0.95) / (2 - 0.8 * 0.05), rel=0.1)  # of 1 and 1 + 0.8, which look alike


@pytest.mark.parametrize("kind", KINDS)
def test_metrics_are_finite_where_returns_do_not_vary(kind):
    world = Clockwork(3, 3, reward=0.0)
    agent = make(kind, world, learning_rate=1e-30, orthogonal=False, gamma=0.0)
    Trainer(agent, world, seed=0).run(200)
    metrics = agent.metrics(200)
    assert agent.learner.num_updates > 0
    assert "train/explained_variance" not in metrics or np.isfinite(metrics["train/explained_variance"])
    assert all(np.isfinite(value) for value in metrics.values())


def test_a_rollout_whose_returns_do_not_vary_does_not_hide_the_others():
    agent = make("a2c", Chain(2, length=4))
    means = agent._explained_variance
    means.add({"variance": torch.tensor(0.5), "known": torch.tensor(True)})
    means.add({"variance": torch.tensor(0.0), "known": torch.tensor(False)})
    assert agent.metrics(0)["train/explained_variance"] == 0.5
    assert "train/explained_variance" not in agent.metrics(0)


@pytest.mark.parametrize("kind", KINDS)
def test_goes_on_with_new_games_where_the_environment_cannot_be_restored(kind, monkeypatch):
    monkeypatch.setattr(Gym, "resumable", False)
    environment = Gym("CartPole-v1", 2)
    first = Trainer(make(kind, environment), environment, seed=0)
    first.run(33)
    second = Trainer(make(kind, Gym("CartPole-v1", 2)), Gym("CartPole-v1", 2), seed=0)
    second.set_state(first.get_state())
    rows = len(second.agent.storage)
    second.run(35)
    rollout = second.agent.storage.read()
    assert rollout.first[rows].all()
    assert not rollout.valid[rows - 1].any()


def test_a_lost_life_ends_the_return_and_not_the_episode():
    """Breakout, whose first life is soon lost: discount 0 on a row that no first row follows."""
    environment = Atari("Breakout", 2, life_loss=True, noop_max=0)
    agent = make("ppo", environment, hidden=(32,), rollout_length=100, minibatches=1, epochs=1)
    trainer = Trainer(agent, environment, seed=0)
    while len(agent.storage) < 99:
        trainer.run(trainer.steps + 1)
    rollout = agent.storage.read()
    lost = (rollout.discount == 0) & rollout.valid
    assert lost.any()
    assert not rollout.first[1:][lost[:-1]].any()
    assert rollout.valid[1:][lost[:-1]].any()


def test_pictures_in_bfloat16_are_learned_from():
    """The policy that acts and the one that learns are rounded alike, so that ratios stay near 1."""
    environment = Atari("Breakout", 2)
    agent = make("ppo", environment, hidden=(32,), rollout_length=16, minibatches=1, epochs=1)
    agent.learner.dtype = torch.bfloat16
    Trainer(agent, environment, seed=0).run(40)
    metrics = agent.metrics(40)
    assert agent.learner.num_updates == 1
    assert abs(metrics["train/approx_kl"]) < 1e-4
    assert all(np.isfinite(value) for value in metrics.values())


@pytest.mark.parametrize(
    ("kind", "changes", "sizes"),
    [
        ("ppo", {"norm": "weight", "minibatches": 3}, 2),
        pytest.param("a2c", {"norm": "mean-batch", "normalize_obs": True}, 1, marks=pytest.mark.slow),
    ],
)
def test_compiled_gradient_steps_are_the_eager_ones(kind, changes, sizes):
    check_compiled(kind, sizes, **changes)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ppo", "a2c"])
@pytest.mark.parametrize("norm", ["none", "mean-batch", "layer", "projected", "spectral"])
def test_compiled_gradient_steps_are_the_eager_ones_with_every_kind_of_norm(kind, norm):
    check_compiled(kind, 1, norm=norm)


def check_compiled(kind, sizes, **changes):
    """The agent compiled as eager, from the same random numbers; minibatches of so many sizes, no more compiled."""
    agents = compiled, eager = [make(kind, Chain(2, length=4), **changes) for _ in range(2)]
    said = compile_gradient_steps(compiled)
    trainers = [Trainer(agent, Chain(2, length=4), seed=0) for agent in agents]
    for trainer in trainers:
        trainer.run(200)
    assert parts(said) == ["the loss"] * sizes
    with torch._dynamo.config.patch(error_on_recompile=True):
        graphs = unique_graphs()
        for trainer in trainers:
            trainer.run(300)
        assert unique_graphs() == graphs
    assert compiled.learner.compiler.enabled
    assert compiled.learner.num_updates == eager.learner.num_updates > 10
    torch.testing.assert_close(compiled.network.state_dict(), eager.network.state_dict(), rtol=1e-3, atol=1e-4)
