"""wnrl.sb3.trpo: the policies of TRPO keep to the contract, and its first steps are those of the host's policy."""

from functools import partial

import numpy as np
import pytest
import torch
from sb3_contrib import TRPO
from stable_baselines3.common.envs import IdentityEnv, IdentityEnvMultiBinary, IdentityEnvMultiDiscrete
from stable_baselines3.common.logger import configure

import wnrl.sb3.trpo
from tests.wnrl.sb3.contract import ON_POLICY, PolicyContract
from wnrl.normalizers.folding import fold


class TestTRPOPolicies(PolicyContract):
    algorithm, module = TRPO, "trpo"
    keywords = {**ON_POLICY, "batch_size": 8, "cg_max_steps": 2, "n_critic_updates": 2}  # noqa: RUF012
    stranger = "wnrl.sb3.ppo_mask.MlpPolicy"


def first_step(policy, env, seed, **policy_keywords):
    """The change of the action layer's effective weight in the first update."""
    np.random.seed(seed)
    model = TRPO(policy, env(), seed=seed, n_steps=512, device="cpu", policy_kwargs=policy_keywords)
    before = fold(model.policy).action_net.weight.detach().clone()
    model.learn(512)
    return (fold(model.policy).action_net.weight.detach() - before).flatten()


def cosine(first, second):
    return torch.cosine_similarity(first, second, dim=0).item()


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("kind", [IdentityEnvMultiDiscrete, IdentityEnvMultiBinary, IdentityEnv])
def test_the_first_step_of_the_policy_layer_is_the_hosts(kind, seed):
    env = partial(kind, 4)
    hosts = first_step("MlpPolicy", env, seed)
    ours = first_step(wnrl.sb3.trpo.MlpPolicy, env, seed)
    normalized = first_step(wnrl.sb3.trpo.MlpPolicy, env, seed, normalize_output=True)
    assert cosine(ours, hosts) > 0.995
    assert cosine(normalized, hosts) < cosine(ours, hosts) - 0.03  # short rows turn around


@pytest.mark.slow
def test_no_line_search_fails_on_cartpole():
    failed = 0
    for seed in range(10):
        model = TRPO(wnrl.sb3.trpo.MlpPolicy, "CartPole-v1", n_steps=1_024, seed=seed, device="cpu")
        model.set_logger(configure(None, []))
        record, successes = model.logger.record, []

        def see(name, value, *arguments, record=record, successes=successes, **keywords):
            if name == "train/is_line_search_success":
                successes.append(value)
            record(name, value, *arguments, **keywords)

        model.logger.record = see
        model.learn(10_240)
        assert len(successes) == 10
        failed += sum(success < 1 for success in successes)
    print(f"\nfailed line searches: {failed} of 100")
    assert failed == 0
