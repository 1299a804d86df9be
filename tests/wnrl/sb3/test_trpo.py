"""wnrl.sb3.trpo: the policies of TRPO keep to the contract, and its first steps are those of the host's policy."""

from functools import partial

import numpy as np
import pytest
import torch
from sb3_contrib import TRPO
from stable_baselines3.common.callbacks import ConvertCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.envs import IdentityEnv, IdentityEnvMultiBinary, IdentityEnvMultiDiscrete
from stable_baselines3.common.logger import configure
from stable_baselines3.common.utils import safe_mean

import wnrl.sb3.trpo
from tests.products import mostly_slow
from tests.wnrl.sb3.contract import ON_POLICY, PolicyContract, Small, close, values
from wnrl.normalizers.folding import fold
from wnrl.weight_norm.weight_norm_layer import WeightNormLayer


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


@pytest.mark.parametrize("seed", mostly_slow([0, 1, 2]))
@pytest.mark.parametrize("kind", mostly_slow([IdentityEnvMultiDiscrete, IdentityEnvMultiBinary, IdentityEnv]))
def test_the_first_step_of_the_policy_layer_is_the_hosts(kind, seed):
    env = partial(kind, 4)
    hosts = first_step("MlpPolicy", env, seed)
    ours = first_step(wnrl.sb3.trpo.MlpPolicy, env, seed)
    normalized = first_step(wnrl.sb3.trpo.MlpPolicy, env, seed, normalize_output=True)
    print(f"\n{kind.__name__}(4), seed {seed}: {cosine(ours, hosts):.2f}, normalized {cosine(normalized, hosts):.2f}")
    assert cosine(ours, hosts) > 0.995
    assert cosine(normalized, hosts) < cosine(ours, hosts) - 0.03  # short rows turn around


LAYERS = ["mlp_extractor.policy_net.0", "mlp_extractor.policy_net.2", "action_net"]


@pytest.mark.parametrize("seed", mostly_slow([0, 1, 2]))
@pytest.mark.parametrize("damping", [0.1, 1e-3])
def test_the_first_step_of_the_hidden_layers_is_the_hosts_in_the_papers_units(damping, seed):
    def steps(policy, **policy_keywords):
        model = TRPO(
            policy,
            "CartPole-v1",
            seed=seed,
            device="cpu",
            n_steps=256,
            cg_damping=damping,
            policy_kwargs=policy_keywords,
        )
        weights = [model.policy.get_submodule(name) for name in LAYERS]
        before = [layer.weight.detach().clone() for layer in weights]
        model.learn(256)
        return [(layer.weight.detach() - old).flatten() for layer, old in zip(weights, before, strict=True)]

    hosts, ours = steps("MlpPolicy"), steps(wnrl.sb3.trpo.MlpPolicy)
    root = steps(wnrl.sb3.trpo.MlpPolicy, units="sqrt")
    for name, changes in (("paper's units", ours), ("units of the root", root)):
        pairs = [(cosine(a, b), (a.norm() / b.norm()).item()) for a, b in zip(changes, hosts, strict=True)]
        print(f"\ndamping {damping}, seed {seed}, {name}:", *(f"cosine {c:.2f}, length {r:.1f};" for c, r in pairs))
    assert all(cosine(*pair) > 0.99 for pair in zip(ours, hosts, strict=True))
    assert ours[1].norm() / hosts[1].norm() == pytest.approx(1, abs=0.05)
    assert cosine(root[1], hosts[1]) < 0.5
    assert root[1].norm() / hosts[1].norm() > 3


def units(policy):
    return {name: m.units for name, m in policy.named_modules() if isinstance(m, WeightNormLayer)}


def test_units_of_actor_and_critic(tmp_path):
    model = TRPO(wnrl.sb3.trpo.MlpPolicy, IdentityEnv(3), device="cpu", n_steps=8, batch_size=8)
    plain = TRPO("MlpPolicy", IdentityEnv(3), device="cpu", n_steps=8, batch_size=8, seed=1)
    expected = {
        **{f"mlp_extractor.policy_net.{i}": "paper" for i in (0, 2)},
        **{f"mlp_extractor.value_net.{i}": "sqrt" for i in (0, 2)},
        "value_net": "sqrt",
    }
    assert units(model.policy) == expected
    model.learn(8)
    model.save(tmp_path / "model")
    model.policy.save(tmp_path / "policy")
    loaded = (
        TRPO.load(tmp_path / "model", device="cpu").policy,
        wnrl.sb3.trpo.MlpPolicy.load(tmp_path / "policy", device="cpu"),
    )
    for policy in loaded:
        assert units(policy) == expected
        assert close(values(policy), values(model.policy))
    for keywords in ({"units": "sqrt"}, {"units": "log"}):
        given = TRPO(wnrl.sb3.trpo.MlpPolicy, IdentityEnv(3), device="cpu", policy_kwargs=keywords)
        assert {*units(given.policy).values()} == {keywords["units"]}
        given.policy.load_state_dict(plain.policy.state_dict())
        model.policy.load_state_dict(given.policy.state_dict())
        assert close(values(fold(model.policy)), values(plain.policy))


@pytest.mark.parametrize("share", [True, False])
def test_features_extractors_of_the_critic_alone_keep_the_units_of_its_optimizer(share):
    keywords = {"share_features_extractor": share, "features_extractor_kwargs": {"features_dim": 8}}
    policy = TRPO(wnrl.sb3.trpo.CnnPolicy, Small(True), device="cpu", policy_kwargs=keywords).policy
    assert {m.units for m in weighted(policy.pi_features_extractor)} == {"paper"}
    assert {m.units for m in weighted(policy.vf_features_extractor)} == {"paper" if share else "sqrt"}


def weighted(module):
    return [m for m in module.modules() if isinstance(m, WeightNormLayer)]


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


REGION = {"n_steps": 512, "batch_size": 512, "cg_damping": 1e-3, "gae_lambda": 0.98, "n_critic_updates": 20}


def curve(policy, seed, **policy_keywords):
    """The mean over 10 rollouts of the mean return of the last 100 games."""
    environments = make_vec_env("CartPole-v1", 2, seed=seed)
    keywords = {"seed": seed, "device": "cpu", "policy_kwargs": policy_keywords, **REGION}
    model, returns = TRPO(policy, environments, **keywords), []
    see = ConvertCallback(lambda names, _: True)
    see._on_rollout_end = lambda: returns.append(safe_mean([game["r"] for game in model.ep_info_buffer]))
    model.learn(10_240, callback=see)
    assert len(returns) == 10
    return np.mean(returns)


@pytest.mark.slow
def test_actors_in_the_papers_units_lose_less_than_in_units_of_the_root():
    seeds, ours = range(10), wnrl.sb3.trpo.MlpPolicy
    hosts = np.array([curve("MlpPolicy", seed) for seed in seeds])
    paper = np.array([curve(ours, seed) for seed in seeds])
    root = np.array([curve(ours, seed, units="sqrt") for seed in seeds])
    for name, curves in (("actor in the paper's units", paper), ("units of the root", root)):
        change = curves - hosts
        print(f"\nplain {hosts.mean():.1f}; {name}: {change.mean():+.1f} ± {standard_error(change):.1f}")
    assert (paper - root).mean() > 2 * standard_error(paper - root)


def standard_error(values):
    return values.std(ddof=1) / np.sqrt(len(values))
