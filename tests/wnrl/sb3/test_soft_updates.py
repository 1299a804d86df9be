"""What the host's soft updates, which average g and v, do to the weights, beside an average of the weights."""

import sys

import pytest
import stable_baselines3
import torch
from stable_baselines3.common import utils

from wnrl.normalizers.folding import fold, polyak
from wnrl.sb3 import sac, td3


@torch.no_grad()
def farthest(network, other):
    """The largest relative distance between the weight matrices of two folded networks."""
    pairs = zip(network.parameters(), other.parameters(), strict=True)
    return max(float((a - b).norm() / b.norm()) for a, b in pairs if a.ndim == 2)


def distances(algorithm, policy, steps, monkeypatch, **settings):
    """Of the target, its values (in standard deviations) and the learner, from a target that averages w."""
    model = algorithm(policy, "Pendulum-v1", seed=0, device="cpu", learning_starts=100, **settings)
    averaged = fold(model.critic_target)

    def both(parameters, targets, tau):
        parameters, targets = list(parameters), list(targets)
        utils.polyak_update(parameters, targets, tau)
        if targets and targets[0] is next(model.critic_target.parameters()):
            polyak(averaged, model.critic, tau)

    monkeypatch.setattr(sys.modules[algorithm.__module__], "polyak_update", both)
    model.learn(steps)
    target, batch = fold(model.critic_target), model.replay_buffer.sample(256)
    with torch.no_grad():
        theirs, ours = (critic(batch.observations, batch.actions)[0] for critic in (target, averaged))
    values = float((theirs - ours).abs().mean() / ours.std())
    return farthest(target, averaged), values, farthest(fold(model.critic), averaged)


def test_a_hard_copy_is_exact(monkeypatch):
    weights, values, _ = distances(stable_baselines3.SAC, sac.MlpPolicy, 150, monkeypatch, tau=1.0)
    assert weights < 1e-5
    assert values < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("algorithm", "policy"), [(stable_baselines3.SAC, sac.MlpPolicy), (stable_baselines3.TD3, td3.MlpPolicy)]
)
def test_soft_updates_stay_near_the_average_of_the_weights(algorithm, policy, monkeypatch):
    weights, values, lag = distances(algorithm, policy, 5_000, monkeypatch)
    print(f"{algorithm.__name__}: weights {weights:.2e}, values {values:.2e}; the learner is {lag:.2e} away")
    assert weights < 0.1 * lag
