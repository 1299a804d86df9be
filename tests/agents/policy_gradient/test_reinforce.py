import copy

import numpy as np
import pytest
import torch

from agents.policy_gradient import policy_gradient
from agents.training.trainer import Trainer
from envs import Chain, Gym
from tests.agents.contract import differences
from tests.agents.environments import Clockwork
from tests.agents.policy_gradient_family import (
    PolicyGradientContract,
    PolicyGradientVariant,
    Recorder,
    flat_settings,
    make,
    outputs,
    parameters,
)


class TestWeight(PolicyGradientContract):
    kind = "reinforce"
    steps_to_solve = 1_500
    steps_to_value = 450
    value_changes = {"learning_rate": 0.05, "max_grad_norm": 0.0}  # noqa: RUF012

    def counting_environment(self, num_envs):
        return Clockwork(*[4] * num_envs)

    def expected_updates(self, steps, num_envs):
        return steps // (4 * num_envs)


class TestNone(PolicyGradientVariant):
    kind = "reinforce"
    steps_to_solve = 1_500
    changes = {"norm": "none"}  # noqa: RUF012


class TestFromData(PolicyGradientVariant):
    kind = "reinforce"
    num_envs = 1
    steps_to_solve = 1_500
    changes = {"init": "data", "normalize_obs": True, "episodes_per_update": 3}  # noqa: RUF012


# An update


def whole_episodes(rows, begin, end, env, number):
    """The first `number` episodes of an environment that begin at row `begin` or later and end by row `end`."""
    episodes, steps = [], None
    for t in range(begin, end):
        timestep, action = rows[t]
        if timestep.first[env]:
            steps = []
        if steps is None or len(episodes) == number:
            continue
        if not timestep.last[env]:
            after = rows[t + 1][0]
            steps.append((timestep.obs[env], action[env], after.reward[env], after.discount[env], after.obs[env]))
            if after.last[env]:
                episodes.append(steps)
    return episodes


def after_naive_update(agent, network, episodes):
    """The parameters after one step on these episodes, one step after the other; `network` acted."""
    s, learner = flat_settings(agent), copy.deepcopy(network)
    losses, advantages, terms = [], [], []
    for steps in episodes:
        value_after = float(outputs(network, steps[-1][4][None]).value)  # the bootstrap where it was truncated
        total = value_after
        for obs, action, reward, discount, _ in reversed(steps):
            total = float(reward) + s.gamma * float(discount) * total
            policy, value = learner(torch.as_tensor(obs)[None])
            log_prob = policy.log_prob(torch.as_tensor(action)[None])[0]
            advantages.append(total - float(value.detach()))
            terms.append(
                (log_prob, s.value_coef * 0.5 * (value[0] - total) ** 2 - s.entropy_coef * policy.entropy()[0])
            )
    mean, std = (np.mean(advantages), np.std(advantages, ddof=1)) if s.normalize_advantage else (0.0, 1.0)
    for advantage, (log_prob, rest) in zip(advantages, terms, strict=True):
        losses.append(-log_prob * (advantage - mean) / std + rest)
    (sum(losses) / len(losses)).backward()
    for p in learner.parameters():  # one step of Adam, whose running means begin with the first gradient
        p.data -= s.learning_rate * p.grad / (p.grad.abs() + s.optimizer_eps)
    return parameters(learner)


@pytest.mark.parametrize("changes", [{}, {"episodes_per_update": 2, "entropy_coef": 0.1, "normalize_advantage": False}])
@pytest.mark.parametrize("terminates", [True, False])
def test_an_update_is_that_of_a_naive_implementation_on_whole_episodes(changes, terminates):
    """Environments of different lengths: some have played more than their share, some are in mid-episode."""
    environment = Clockwork(3, 7, 5, terminates=terminates, obs_shape=(2,))
    environment._obs = lambda: np.stack([environment.elapsed, environment.elapsed % 2], 1).astype(np.float32) / 5
    agent = make("reinforce", environment, max_grad_norm=0.0, optimizer_eps=0.1, **changes)
    recorder, trainer = Recorder(agent), Trainer(agent, environment, seed=0)
    while len(recorder.updates) < 2:
        network, optimizer = copy.deepcopy(agent.network), agent.learner.optimizer.state
        if len(recorder.updates) == 1:
            optimizer.clear()  # so that the second step is a first one
        trainer.run(trainer.steps + 1)
    rows = [*recorder.rows, (trainer._timestep, None)]
    begin, end = recorder.updates
    episodes = [whole_episodes(rows, begin, end, env, agent.settings.episodes_per_update) for env in range(3)]
    assert [len(played) for played in episodes] == [agent.settings.episodes_per_update] * 3
    assert {len(steps) for played in episodes for steps in played} == {3, 7, 5}
    assert sum(len(steps) for played in episodes for steps in played) < 3 * (end - begin) - 10  # others do not count
    expected = after_naive_update(agent, network, [steps for played in episodes for steps in played])
    torch.testing.assert_close(parameters(agent.network), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("chunk_size", [1, 7, 30])
@pytest.mark.parametrize("norm", ["weight", "mean-batch", "batch", "batch+projected"])
def test_chunks_give_the_update_of_the_whole(norm, chunk_size):
    ends = []
    for size in (chunk_size, 10_000):
        environment = Chain(3, length=4, max_steps=9)
        agent = make("reinforce", environment, norm=norm, chunk_size=size, optimizer_eps=0.1, entropy_coef=0.05)
        trainer = Trainer(agent, environment, seed=0)
        while agent.learner.num_updates < 2:
            trainer.run(trainer.steps + 1)
        buffers = torch.cat([torch.zeros(1), *(buffer.flatten() for buffer in agent.network.buffers())])
        ends.append((parameters(agent.network), buffers, agent.metrics(0)))
    (chunked, moved, some), (whole, all_moved, all_) = ends
    torch.testing.assert_close(chunked, whole, rtol=0, atol=1e-5)
    torch.testing.assert_close(moved, all_moved, rtol=0, atol=1e-5)
    for name in ("loss", "value_loss", "policy_gradient_loss", "entropy_loss", "grad_norm"):
        assert some[f"train/{name}"] == pytest.approx(all_[f"train/{name}"], rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("number", [10, 11, 99])
def test_statistics_of_long_episodes_are_those_of_a_sample_whatever_the_chunks(number, monkeypatch):
    monkeypatch.setattr(policy_gradient, "STATISTICS_OBS", 10)
    agents = [make("reinforce", Chain(3, length=4), norm="batch", chunk_size=size) for size in (4, 10_000)]
    obs, seen = torch.randn(number, 1, 4), []
    agents[0].network.torso.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])))
    for agent in agents:
        agent._move_statistics(obs)
    assert seen == [10]
    assert differences(*(dict(agent.network.named_buffers()) for agent in agents)) == []


def test_one_observation_has_no_statistics_and_moves_none():
    """An episode of one step, in one environment."""
    environment = Clockwork(1)
    agent = make("reinforce", environment, norm="batch")
    before = [buffer.clone() for buffer in agent.network.buffers()]
    Trainer(agent, environment, seed=0).run(1)
    assert agent.learner.num_updates == 1
    assert differences(before, list(agent.network.buffers())) == []


def test_takes_continuous_actions():
    environment = Gym("Pendulum-v1", 2)
    agent = make("reinforce", environment)
    before = parameters(agent.network)
    Trainer(agent, environment, seed=0).run(420)
    assert agent.learner.num_updates == 1
    assert not torch.equal(before, parameters(agent.network))


def test_metrics_are_known_with_one_environment_right_after_an_update():
    agent = make("reinforce", Clockwork(3))
    trainer = Trainer(agent, Clockwork(3), seed=0)
    for steps in range(1, 8):
        trainer.run(steps)
        assert all(np.isfinite(value) for value in agent.metrics(steps).values())


@pytest.mark.parametrize(
    ("changes", "saying"),
    [
        ({"episodes_per_update": 0}, "episodes_per_update must be at least 1, got 0"),
        ({"chunk_size": 0}, "chunk_size must be at least 1, got 0"),
    ],
)
def test_refuses_by_name(changes, saying):
    with pytest.raises(ValueError, match=saying):
        make("reinforce", Chain(3), **changes)
