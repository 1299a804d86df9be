"""wnrl.sb3.acting_ratios: what the host's acting and learning make of batch statistics is said, once."""

import re
import warnings

import gymnasium as gym
import pytest
import torch
from sb3_contrib import TRPO, MaskablePPO, RecurrentPPO
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env

import wnrl.sb3.ppo
import wnrl.sb3.ppo_mask
import wnrl.sb3.ppo_recurrent
import wnrl.sb3.trpo
from tests.products import covering
from wnrl.sb3 import acting_ratios

FAST = {"n_steps": 32, "batch_size": 32, "learning_rate": 0.02, "seed": 0, "device": "cpu"}
PPO_FAST = {**FAST, "n_epochs": 4}
CASES = {
    "PPO": (PPO, wnrl.sb3.ppo.MlpPolicy, PPO_FAST),
    "MaskablePPO": (MaskablePPO, wnrl.sb3.ppo_mask.MlpPolicy, PPO_FAST),
    "RecurrentPPO": (RecurrentPPO, wnrl.sb3.ppo_recurrent.MlpLstmPolicy, PPO_FAST),
    "TRPO": (TRPO, wnrl.sb3.trpo.MlpPolicy, {**FAST, "target_kl": 0.05, "n_critic_updates": 2}),
}


class Allowing(gym.Wrapper):
    """Allows both actions."""

    def action_masks(self):
        return [True, True]


SAID = re.compile(
    r"(\d+) % of the ratios of new to old probabilities are more than 0.1 from 1 before any gradient step"
)


def model_of(case, norm, env_id="CartPole-v1"):
    algorithm, policy, keywords = CASES[case]
    env = make_vec_env(env_id, seed=0, wrapper_class=Allowing if case == "MaskablePPO" else None)
    small = {"lstm_hidden_size": 16} if case == "RecurrentPPO" else {}
    return algorithm(policy, env, policy_kwargs={"norm": norm, "net_arch": [16], **small}, **keywords)


def learn(model, steps, **keywords):
    """The shares that warnings said."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.learn(steps, **keywords)
    return [int(match[1]) for match in (SAID.match(str(warning.message)) for warning in caught) if match]


def hosts_ratios(model):
    """Of each rollout: the share of ratios that are far from 1 in the first minibatch, as the host computes them."""
    shares, policy, buffer = [], model.policy, model.rollout_buffer
    train, get, evaluate = model.train, buffer.get, policy.evaluate_actions
    now = {}

    def spied_train():
        now.clear()
        train()

    def spied_get(size=None):
        for batch in get(size):
            now.setdefault("old", batch.old_log_prob)
            now.setdefault("played", getattr(batch, "mask", torch.ones_like(batch.old_log_prob)) > 0)  # not filled up
            yield batch

    def spied_evaluate(*arguments, **keywords):
        outputs = evaluate(*arguments, **keywords)
        if now.setdefault("log_prob", outputs[1]) is outputs[1]:
            ratio = (outputs[1].detach() - now["old"])[now["played"]].exp()
            shares.append(100 * float(((ratio - 1).abs() > 0.1).float().mean()))
        return outputs

    model.train, buffer.get, policy.evaluate_actions = spied_train, spied_get, spied_evaluate
    return shares


@pytest.mark.parametrize(("case", "norm"), covering(["PPO", "MaskablePPO", "RecurrentPPO"], ["batch", "mean-batch"]))
def test_the_share_is_that_of_the_hosts_ratios_in_the_first_rollout_where_there_is_one(case, norm):
    model = model_of(case, norm)
    shares = hosts_ratios(model)
    (said,) = learn(model, 160)
    assert len(shares) == 5
    assert any(share > 1 for share in shares[:-1])
    assert said == round(next(share for share in shares if share > 1))
    assert said > 1
    assert learn(model, 64, reset_num_timesteps=False) == []  # once


def test_trpo_says_the_share_for_actions_of_the_acting_policy():
    model = model_of("TRPO", "batch")
    (said,) = learn(model, 160)
    assert 1 <= said <= 100
    assert learn(model, 64, reset_num_timesteps=False) == []


@pytest.mark.parametrize(("case", "env_id"), covering(["PPO", "TRPO"], ["CartPole-v1", "Pendulum-v1"]))
def test_what_is_learned_stays_the_same_to_the_bit(case, env_id, monkeypatch):
    states = []
    for measured in (True, False):
        if not measured:
            monkeypatch.setattr(acting_ratios, "batch_norms", lambda policy: [])
        model = model_of(case, "batch", env_id)
        said = learn(model, 160)
        assert bool(said) is measured
        states.append({**model.policy.state_dict(), "draw": torch.rand(3)})
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


@pytest.mark.parametrize(("case", "norm"), covering(CASES, ["none", "weight", "layer"]))
def test_other_norms_have_nothing_to_say(case, norm):
    assert learn(model_of(case, norm), 160) == []
