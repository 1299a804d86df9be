"""Small on-policy agents, and what the contract asks of each."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils._pytree import tree_map

from agents.on_policy.rollout import Rollout
from agents.policy_gradient.actors import ActorCriticMinibatch, steps_of
from agents.policy_gradient.build import build_a2c, build_ppo, build_reinforce
from agents.settings.flat import from_flat, replace, to_flat
from agents.settings.policy_gradient import A2CSettings, PPOSettings, REINFORCESettings
from agents.settings.run import RunSettings
from agents.training.trainer import Trainer
from envs import TimeStep
from envs.stream import first_rows
from tests.agents.contract import STATES, AgentContract, VariantContract
from wnrl.networks.actor_critic import ActorCriticValues, RecurrentActorCritic
from wnrl.networks.policy_heads import CategoricalPolicy, GaussianPolicy

RUN = from_flat(RunSettings, env="Chain", device="cpu")
SHARED = {"gamma": 0.9, "learning_rate": 0.01, "reward_clip": 0.0}
KINDS = {
    "ppo": (build_ppo, PPOSettings, {"rollout_length": 16, "epochs": 3, "minibatches": 2}),
    "a2c": (build_a2c, A2CSettings, {"rollout_length": 5}),
    "reinforce": (build_reinforce, REINFORCESettings, {"chunk_size": 16}),
}


def make(kind, environment, seed=0, norm="weight", steps=2_000, hidden=(16,), device="cpu", compile=False, **changes):
    """An agent of that kind with these settings of its own."""
    build, settings, numbers = KINDS[kind]
    run = replace(RUN, norm=norm, seed=seed, steps=steps, num_envs=environment.num_envs, hidden=hidden)
    run = replace(run, device=device, compile=compile)
    return build(run, from_flat(settings, {**SHARED, **numbers, **changes}), environment)


def flat_settings(agent):
    """The agent's settings, all of one level."""
    return SimpleNamespace(**to_flat(agent.settings))


def trained(kind, environment, steps, **changes):
    trainer = Trainer(make(kind, environment, **changes), environment, seed=0)
    trainer.run(steps)
    return trainer


@torch.no_grad()
def outputs(network, obs):
    """Policy and values `[N]` of states, each the first of an episode; batch normalizers use their statistics."""
    obs = torch.as_tensor(obs)
    if not isinstance(network, RecurrentActorCritic):
        return network(obs)
    first = torch.ones(1, len(obs), dtype=torch.bool)
    return network(obs[None], network.initial_state(len(obs)), first)[0]


def parameters(network):
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


def random_rollout(agent, length, num_envs, obs_shape, seed=0):
    """Rows such as an environment gives them, with ends of every kind, and the row that follows."""
    rng, draw = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    obs = torch.randn(length + 1, num_envs, *obs_shape, generator=draw)
    first = torch.from_numpy(rng.random((length + 1, num_envs)) < 0.25)
    first[0] = True
    first[1:] &= ~first[:-1]
    found = outputs(agent.network, obs[:-1].flatten(0, 1))
    action = found.policy.sample(draw)
    log_prob = found.policy.log_prob(action) + 0.5 * torch.randn(len(action), generator=draw)
    value = found.value + 0.3 * torch.randn(len(action), generator=draw)
    rollout = Rollout(
        obs[:-1],
        first[:-1],
        action.unflatten(0, (length, num_envs)),
        log_prob.view(length, num_envs),
        value.view(length, num_envs),
        torch.randn(length, num_envs, generator=draw),
        torch.from_numpy(rng.random((length, num_envs)) < 0.8).float(),
        ~first[1:],
    )
    return rollout, first_rows(obs[-1].numpy())._replace(first=first[-1].numpy())


def naive_advantages(rollout, last_value, gamma, lambda_):
    """Sums of one-step errors from each step to the end of its episode or of the rollout, `{(t, n): number}`."""
    length, num_envs = rollout.reward.shape
    values = torch.cat([rollout.value, last_value[None]])
    advantages = {}
    for n in range(num_envs):
        for t in range(length):
            total, weight, k = 0.0, 1.0, t
            while k < length and rollout.valid[k, n] and weight:
                step = gamma * float(rollout.discount[k, n])
                error = float(rollout.reward[k, n]) + step * float(values[k + 1, n]) - float(values[k, n])
                total += weight * error
                weight *= step * lambda_
                k += 1
            if rollout.valid[t, n]:
                advantages[t, n] = total
    return advantages


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def loss_example(continuous=False, sequences=False):
    """Outputs of a network, and the minibatch of 40 steps that they are for, a third of which is not valid."""
    action = draw(40, 2, seed=1) if continuous else draw(40, seed=1).gt(0).long()
    policy = GaussianPolicy(draw(40, 2), draw(2, seed=2)) if continuous else CategoricalPolicy(draw(40, 2))
    valid, old = draw(40, seed=3) > -0.4, policy.log_prob(action) + 0.5 * draw(40, seed=4)
    value, advantage, target = (draw(40, seed=seed) for seed in (5, 6, 7))
    batch = ActorCriticMinibatch(draw(40, 3), valid, action, old, value, advantage, target, valid)
    outputs = ActorCriticValues(policy, draw(40, seed=8))
    if sequences:  # [T, b]
        batch = tree_map(lambda x: x.unflatten(0, (8, 5)), batch)
        outputs = ActorCriticValues(type(policy)(policy[0].unflatten(0, (8, 5)), *policy[1:]), outputs.value.view(8, 5))
    return outputs, batch


class Recorder:
    """All rows that an agent saw and did, and its network after each update."""

    def __init__(self, agent):
        self.rows, self.updates, self._agent = [], [], agent
        self._observe, self._update = agent.observe, agent.update
        agent.observe, agent.update = self.observe, self.update

    def observe(self, timestep: TimeStep, decision):
        self.rows.append((timestep, decision.action))
        self._observe(timestep, decision)

    def update(self, rollout, timestep, step):
        self.updates.append(len(self.rows))
        self._update(rollout, timestep, step)


class PolicyGradientVariant(VariantContract):
    """The contract of one variant, a subclass with its `changes`."""

    kind = ""
    steps_to_solve = 900
    changes: dict = {}  # noqa: RUF012

    def make(self, environment, seed, **changes):
        return make(self.kind, environment, seed, **{**self.changes, **changes})

    def check_solution(self, trainer):
        """The values are those of a policy that is nearly the best; no episode begins in the later states."""
        network = trainer.agent.network
        states = STATES[:1] if isinstance(network, RecurrentActorCritic) else STATES
        optimal = trainer.environment.optimal_values(SHARED["gamma"])[: len(states)]
        assert outputs(network, states).value.flatten().numpy() == pytest.approx(optimal, abs=0.15)


class PolicyGradientContract(PolicyGradientVariant, AgentContract):
    """The whole contract."""

    def values(self, agent, obs):
        return outputs(agent.network, obs).value.flatten().numpy()

    def works(self, trainer):
        agent, obs_shape = trainer.agent, trainer.environment.obs_shape
        row = agent.actor.inputs(first_rows(np.ones((self.num_envs, *obs_shape), np.float32)), slice(None))
        noise = agent.draw_row(self.num_envs, trainer.steps)
        works = [torch.no_grad()(lambda: agent._choose(noise, *row)), agent._folded_copy.refresh]
        if agent.actor.capturable and self.kind != "reinforce":
            rollout, _ = random_rollout(agent, 6, self.num_envs, obs_shape)
            steps = steps_of(rollout, rollout.reward, rollout.value)
            batch = agent.actor.take(steps, torch.randperm(6 * self.num_envs))
            works.append(lambda: agent.gradient_step.step(batch))
        return works
