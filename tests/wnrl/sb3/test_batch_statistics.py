"""SAC and TD3 with batch normalization: the actor's gradient through the statistics of its minibatch."""

from functools import partial

import numpy as np
import pytest
import stable_baselines3
from stable_baselines3.common.envs import IdentityEnvBox
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.sac.policies import SACPolicy
from stable_baselines3.td3.policies import TD3Policy
from torch import nn
from torch.nn import functional as F

from wnrl.sb3 import sac, td3

SEEDS = range(3)
ALGORITHMS = {
    "SAC": (SACPolicy, sac.MlpPolicy, {}),
    "TD3": (TD3Policy, td3.MlpPolicy, {"action_noise": NormalActionNoise(np.zeros(1), np.full(1, 0.1))}),
}
OWN = "host, nn.BatchNorm1d"


class ActorsNorm(nn.BatchNorm1d):
    """A BatchNorm1d whose values and gradients in the actor's step come from different statistics.

    Args:
        features: units.
        values: "batch" (the minibatch's) or "running".
        gradients: likewise.
    """

    def __init__(self, features, values, gradients):
        super().__init__(features)
        self.values, self.gradients, self.in_actors_step = values, gradients, False

    def forward(self, x):
        if not (self.training and self.in_actors_step):
            return super().forward(x)
        values, gradients = self.normalized(x, self.values), self.normalized(x, self.gradients)
        return gradients + (values - gradients).detach()

    def normalized(self, x, kind):
        statistics = (None, None) if kind == "batch" else (self.running_mean.clone(), self.running_var.clone())
        return F.batch_norm(x, *statistics, self.weight, self.bias, kind == "batch", 0.0, self.eps)


def batch_normalized(network, norm=nn.BatchNorm1d):
    """With a norm after each hidden layer."""
    layers = []
    for i, layer in enumerate(network):
        hidden = isinstance(layer, nn.Linear) and i + 1 < len(network) and layer.out_features > 1
        layers += [layer, norm(layer.out_features)] if hidden else [layer]
    return nn.Sequential(*layers)


def with_batch_norm(policy, norm=nn.BatchNorm1d):
    """The host's policy class with batch normalization in the actor and `norm` in the critic."""

    class Policy(policy):
        def make_actor(self, features_extractor=None):
            actor, name = super().make_actor(features_extractor), "latent_pi" if policy is SACPolicy else "mu"
            setattr(actor, name, batch_normalized(getattr(actor, name)))
            return actor

        def make_critic(self, features_extractor=None):
            critic = super().make_critic(features_extractor)
            critic.q_networks = [batch_normalized(network, norm) for network in critic.q_networks]
            for i, network in enumerate(critic.q_networks):
                setattr(critic, f"qf{i}", network)
            return critic

    return Policy


def in_the_actors_step(critic, before, after):
    """Call `before` and `after` around the passes of its networks whose gradient goes on to the actions."""
    for network in critic.q_networks:
        network.register_forward_pre_hook(lambda q, inputs: before(q) if inputs[0].requires_grad else None)
        network.register_forward_hook(lambda q, inputs, _: after(q) if inputs[0].requires_grad else None)


def use_running_statistics(critic):
    in_the_actors_step(critic, before=lambda q: q.train(False) and None, after=lambda q: q.train() and None)


def tell_norms(critic):
    def tell(q, now):
        for norm in q.modules():
            norm.in_actors_step = now

    in_the_actors_step(critic, before=lambda q: tell(q, True), after=lambda q: tell(q, False))


def score(algorithm, kind, seed, prepare=lambda critic: None, **norms):
    """Mean return of 20 games of 100 steps, each worth 1 if the action is within 0.5 of the observation, in [-1, 1]."""
    numbers = {"learning_rate": 1e-3, "gamma": 0.95, "seed": seed, "device": "cpu", **ALGORITHMS[algorithm][2]}
    env = IdentityEnvBox(eps=0.5)
    model = getattr(stable_baselines3, algorithm)(kind, env, policy_kwargs={"net_arch": [64, 64], **norms}, **numbers)
    prepare(model.critic)
    return evaluate_policy(model.learn(400), env, 20, warn=False)[0]


def scores(label, *arguments, **keywords):
    """Of three seeds, printed as a row."""
    found = [score(*arguments[:2], seed, *arguments[2:], **keywords) for seed in SEEDS]
    print(f"| {arguments[0]}, {label} | {' '.join(f'{each:.0f}' for each in found)} |", flush=True)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_batch_normalization_learns_with_running_statistics_in_the_actors_step(algorithm):
    host, ours, _ = ALGORITHMS[algorithm]
    for norm in ("none", "weight"):
        assert min(scores(norm, algorithm, ours, norm=norm)) > 85
    kinds = {"batch": (ours, {"norm": "batch"}), "mean-batch": (ours, {"norm": "mean-batch"})}
    for label, (kind, norm) in {**kinds, OWN: (with_batch_norm(host), {})}.items():
        plain = scores(label, algorithm, kind, **norm)  # 44 is chance, 50 an action of 0
        mended = scores(f"{label}, running statistics", algorithm, kind, use_running_statistics, **norm)
        assert max(plain) < 75
        assert np.mean(mended) > max(plain) + 10


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_it_is_the_gradient_through_the_statistics_and_not_the_values(algorithm):
    found = {}
    for values, gradients in (("batch", "running"), ("running", "batch")):
        norm = partial(ActorsNorm, values=values, gradients=gradients)
        kind = with_batch_norm(ALGORITHMS[algorithm][0], norm)
        found[gradients] = scores(f"values {values}, gradients {gradients}", algorithm, kind, tell_norms)
    assert np.mean(found["batch"]) < 75
    assert np.mean(found["running"]) > np.mean(found["batch"]) + 15
