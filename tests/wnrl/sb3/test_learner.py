"""wnrl.sb3.learner: the networks that learn, and what the host's buffers give them."""

import copy

import numpy as np
import pytest
import torch
from sb3_contrib import QRDQN, RecurrentPPO
from stable_baselines3 import A2C, DQN, PPO, SAC, TD3
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.envs import IdentityEnv, IdentityEnvBox, SimpleMultiObsEnv
from torch import nn

from wnrl.sb3 import DataDependentInit, NormDiagnostics, a2c, dqn, ppo, ppo_recurrent, qrdqn, sac, td3
from wnrl.sb3.learner import Learner, copy_policy, optimizers, replay_inputs, rollout_inputs, sample_inputs, take

OFF_POLICY = {"learning_starts": 4, "buffer_size": 64, "batch_size": 4}


def learned(algorithm, policy, env, steps=16, **keywords):
    """A model that has learned a little."""
    return algorithm(policy, env, seed=0, device="cpu", **keywords).learn(steps)


def continuous(algorithm, module, **keywords):
    """As `learned`, of an off-policy actor-critic algorithm."""
    return learned(algorithm, module.MlpPolicy, IdentityEnvBox(), **OFF_POLICY, **keywords)


def two(env_class, *arguments):
    """Two environments of a kind."""
    return make_vec_env(lambda: env_class(*arguments), 2)


@pytest.mark.parametrize(("algorithm", "module"), [(DQN, dqn), (QRDQN, qrdqn)])
def test_the_learner_of_q_networks_gives_their_values_and_has_no_targets(algorithm, module):
    model = learned(algorithm, module.MlpPolicy, IdentityEnv(3), **OFF_POLICY)
    obs, actions = replay_inputs(model, 5)
    network = next(iter(Learner(model.policy).children()))
    assert torch.equal(Learner(model.policy)(obs, actions), network(obs).flatten(1))
    assert all("_target" not in name for name, _ in Learner(model.policy).named_modules())


class Auxiliary(dqn.MlpPolicy):
    """With a layer that takes no observations."""

    def _build(self, lr_schedule):
        super()._build(lr_schedule)
        self.aux = nn.Linear(7, 3)


def test_networks_that_take_no_observations_are_held_and_not_called():
    model = learned(DQN, Auxiliary, IdentityEnv(3), **OFF_POLICY)
    obs, actions = replay_inputs(model, 5)
    learner = Learner(model.policy)
    assert torch.equal(learner(obs, actions), model.policy.q_net(obs))
    assert dict(learner.named_children()) == {"q_net": model.policy.q_net, "aux": model.policy.aux}


def test_an_auxiliary_layer_is_left_uninitialized_with_a_warning():
    model = DQN(Auxiliary, IdentityEnv(3), seed=0, device="cpu", **OFF_POLICY)
    with pytest.warns(UserWarning, match="not initialized, since the forward pass did not reach them: aux$"):
        model.learn(16, callback=[DataDependentInit(4), NormDiagnostics(4)])


def test_the_learner_of_actor_critics_gives_actions_and_values():
    model = continuous(TD3, td3)
    obs, actions = replay_inputs(model, 5)
    expected = torch.cat([model.actor(obs), *model.critic(obs, actions)], dim=1)
    assert torch.equal(Learner(model.policy)(obs, actions), expected)


ROLLOUTS = [
    (PPO, ppo.MlpPolicy, (IdentityEnv, 3), {"batch_size": 16}),
    (PPO, ppo.MlpPolicy, (IdentityEnvBox,), {"batch_size": 16}),
    (PPO, ppo.MultiInputPolicy, (SimpleMultiObsEnv,), {"batch_size": 16}),
    (A2C, a2c.MlpPolicy, (IdentityEnv, 3), {}),
    (RecurrentPPO, ppo_recurrent.MlpLstmPolicy, (IdentityEnv, 3, None, 5), {"batch_size": 16}),
]


@pytest.mark.parametrize(("algorithm", "policy", "env", "keywords"), ROLLOUTS)
def test_rollouts_are_read_so_that_the_policy_gives_the_values_and_probabilities_that_they_hold(
    algorithm, policy, env, keywords
):
    model = learned(algorithm, policy, two(*env), n_steps=8, learning_rate=0.0, **keywords)
    model.collect_rollouts(model.env, _callback(model), model.rollout_buffer, model.n_steps)
    outputs = Learner(model.policy)(*rollout_inputs(model))
    assert outputs.shape == (16, 2)
    assert outputs[:, 0].detach().numpy() == pytest.approx(model.rollout_buffer.values.flatten(), abs=1e-5)
    assert outputs[:, 1].detach().numpy() == pytest.approx(model.rollout_buffer.log_probs.flatten(), abs=1e-5)


def _callback(model):
    return model._init_callback(None)


def test_rows_are_taken_of_every_input():
    model = learned(RecurrentPPO, ppo_recurrent.MlpLstmPolicy, two(IdentityEnv, 3), n_steps=8, batch_size=16)
    model.collect_rollouts(model.env, _callback(model), model.rollout_buffer, model.n_steps)
    inputs, rows = rollout_inputs(model), torch.tensor([3, 1])
    learner = Learner(model.policy)
    assert torch.allclose(learner(*take(inputs, rows)), learner(*inputs)[rows], atol=1e-6)


def test_samples_of_a_rollout_are_different_rows_and_no_more_than_there_are():
    model = learned(PPO, ppo.MlpPolicy, IdentityEnvBox(), n_steps=16, batch_size=16)
    model.collect_rollouts(model.env, _callback(model), model.rollout_buffer, model.n_steps)
    obs, actions = sample_inputs(model, 10)
    assert len(torch.unique(actions)) == len(obs) == 10
    assert len(sample_inputs(model, 100)[0]) == 16


@pytest.mark.parametrize("keywords", [{}, {"use_sde": True}])
def test_a_policy_is_copied_although_its_distribution_remembers_an_update(keywords):
    model = continuous(SAC, sac, **keywords)
    model.train(1, 4)
    if keywords:
        with pytest.raises(RuntimeError, match="deepcopy"):
            copy.deepcopy(model.policy)
    policy = copy_policy(model.policy)
    obs = np.array([[0.3]], dtype=np.float32)
    assert policy.predict(obs, deterministic=True)[0] == model.predict(obs, deterministic=True)[0]
    assert not list(policy.critic_target.parameters())
    assert policy.actor.optimizer == ()


def test_a_deep_copy_learns_apart():
    model = continuous(SAC, sac)
    inputs = replay_inputs(model, 5)
    learner = Learner(model.policy)
    twin = copy.deepcopy(learner)
    assert torch.equal(twin(*inputs), learner(*inputs))
    before = learner(*inputs)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.add_(1.0)
    assert torch.equal(learner(*inputs), before)
    assert not torch.equal(twin(*inputs), before)


def test_the_optimizers_of_a_policy_and_its_parts():
    policy = learned(SAC, sac.MlpPolicy, IdentityEnvBox(), **OFF_POLICY).policy
    policy.again = policy.actor.optimizer
    assert set(optimizers(policy)) == {policy.actor.optimizer, policy.critic.optimizer}
    assert len(optimizers(policy)) == 2
