import copy

import pytest
import torch
from stable_baselines3.common.sb2_compat.rmsprop_tf_like import RMSpropTFLike

from envs import Chain, Gym
from tests.agents.policy_gradient_family import (
    KINDS,
    PolicyGradientContract,
    PolicyGradientVariant,
    flat_settings,
    make,
    naive_advantages,
    outputs,
    parameters,
    random_rollout,
)
from wnrl.normalizers.batch_statistics import batch_norms

NUMBERS = KINDS["a2c"][2]


class TestWeight(PolicyGradientContract):
    kind = "a2c"
    steps_to_solve = 1_500
    steps_to_value = 900

    def expected_updates(self, steps, num_envs):
        return steps // num_envs // NUMBERS["rollout_length"]


class TestNone(PolicyGradientVariant):
    kind = "a2c"
    steps_to_solve = 1_500
    changes = {"norm": "none"}  # noqa: RUF012


class TestAsPublished(PolicyGradientVariant):
    """RMSprop, a linear step size and the rewards of the whole rollout; its average begins at 1, far above grad²."""

    kind = "a2c"
    steps_to_solve = 1_500
    changes = {"optimizer": "rmsprop-a2c", "learning_rate": 0.1, "entropy_coef": 0.01}  # noqa: RUF012


# An update


def after_naive_update(agent, rollout, timestep):
    """The parameters after one step on the whole rollout, one step after the other."""
    s, network = flat_settings(agent), copy.deepcopy(agent.network)
    optimizer = RMSpropTFLike(network.parameters(), lr=s.learning_rate, alpha=0.99, eps=s.optimizer_eps)
    last_value = outputs(agent.acting, timestep.obs).value
    loss, advantages = 0.0, naive_advantages(rollout, last_value, s.gamma, s.gae_lambda)
    for (t, n), advantage in advantages.items():
        policy, value = network(rollout.obs[t, n][None])
        error = value[0] - (advantage + float(rollout.value[t, n]))
        loss += -policy.log_prob(rollout.action[t, n][None])[0] * advantage
        loss += s.value_coef * 0.5 * error**2 - s.entropy_coef * policy.entropy()[0]
    (loss / len(advantages)).backward()
    norm = torch.cat([p.grad.flatten() for p in network.parameters()]).norm()
    for p in network.parameters():
        p.grad *= min(1.0, s.max_grad_norm / norm)
    optimizer.step()
    return parameters(network)


@pytest.mark.parametrize("changes", [{}, {"gae_lambda": 0.9, "entropy_coef": 0.1}, {"separate": False}])
@pytest.mark.parametrize("continuous", [False, True])
def test_an_update_is_that_of_a_naive_implementation(changes, continuous):
    environment = Gym("Pendulum-v1", 3) if continuous else Chain(3, length=4)
    # an eps that is not small beside the first average, 1, shows its size too
    agent = make("a2c", environment, optimizer="rmsprop-a2c", optimizer_eps=0.1, learning_rate=0.1, **changes)
    rollout, timestep = random_rollout(agent, 12, 3, environment.obs_shape)
    expected, before = after_naive_update(agent, rollout, timestep), parameters(agent.network)
    agent.learner.anneal(0)
    agent.update(rollout, timestep, 0)
    assert (expected - before).abs().max() > 1e-3
    torch.testing.assert_close(parameters(agent.network), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("norm", ["mean-batch", "batch"])
@pytest.mark.parametrize("statistics", ["running", "minibatch"])
def test_an_update_with_batch_statistics_is_that_of_a_naive_implementation(norm, statistics):
    """The baseline is by the network that learns: a value of other statistics has no part in it."""
    agent = make("a2c", Chain(3, length=4), norm=norm, batch_statistics=statistics)
    rollout, timestep = random_rollout(agent, 12, 3, (4,))
    network, s = copy.deepcopy(agent.network), flat_settings(agent)
    obs, valid = rollout.obs.flatten(0, 1), rollout.valid.flatten()
    for layer in batch_norms(network):
        layer.held, layer.momentum = False, 0.01 if statistics == "running" else layer.momentum
    with torch.no_grad():
        network(obs)  # moves the running statistics
        last_value = outputs(copy.deepcopy(network).eval(), timestep.obs).value
    policy, value = network.train(statistics == "minibatch")(obs)
    old = rollout._replace(value=value.detach().view(12, 3))
    advantage = torch.zeros(12, 3)
    for place, number in naive_advantages(old, last_value, s.gamma, s.gae_lambda).items():
        advantage[place] = number
    losses = -policy.log_prob(rollout.action.flatten()) * advantage.flatten()
    losses += s.value_coef * 0.5 * (value - (advantage + old.value).flatten()).square()
    losses[valid].mean().backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), s.max_grad_norm)
    torch.optim.Adam(network.parameters(), lr=s.learning_rate, eps=s.optimizer_eps).step()
    before = parameters(agent.network)
    agent.learner.anneal(0)
    agent.update(rollout, timestep, 0)
    assert (parameters(network) - before).abs().max() > 1e-3
    torch.testing.assert_close(parameters(agent.network), parameters(network), rtol=0, atol=2e-5)


def test_batch_statistics_without_effect_are_refused():
    with pytest.raises(ValueError, match="batch_statistics minibatch has no effect without norm batch, mean-batch or"):
        make("a2c", Chain(3), norm="layer", batch_statistics="minibatch")
    with pytest.raises(ValueError, match="need 2 examples or more in each minibatch, here it is 1"):
        make("a2c", Chain(1), norm="batch", batch_statistics="minibatch", rollout_length=1)


def test_rewards_of_the_whole_rollout_are_its_default():
    """Mnih et al. 2016: the longest possible n-step return."""
    settings = flat_settings(make("a2c", Chain(1)))
    assert (settings.gae_lambda, settings.rollout_length, settings.normalize_advantage) == (1.0, 5, False)


def test_normalized_advantages_do_not_depend_on_the_size_of_rewards():
    changed = []
    for scale in (1.0, 100.0):
        agent = make("a2c", Chain(3, length=4), normalize_advantage=True, value_coef=0.0)
        rollout, timestep = random_rollout(agent, 12, 3, (4,))
        rollout = rollout._replace(reward=scale * rollout.reward, value=0 * rollout.value, discount=0 * rollout.value)
        agent.update(rollout, timestep, 0)
        changed.append(parameters(agent.network))
    torch.testing.assert_close(*changed, rtol=0, atol=1e-5)
