"""Each algorithm on its standard easy task, with the host's policy and with ours: 5 seeds each."""

from importlib import import_module

import numpy as np
import pytest
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.envs import IdentityEnvMultiBinary
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv

from agents.commands.sb3.algorithms import CONTRIB

pytestmark = pytest.mark.slow

SEEDS = range(5)
SOLVED = {"CartPole-v1": 475.0, "Pendulum-v1": -250.0}


def falling(learning_rate):
    """A learning rate that falls to 0 at the end of the run, so that the last policy does not fluctuate."""
    return lambda left: left * learning_rate


# Settings tuned for the host's own policies (RL Zoo), with fewer steps and a falling learning rate on CartPole.
VALUES = {
    "learning_rate": falling(2.3e-3),
    "batch_size": 64,
    "learning_starts": 1_000,
    "target_update_interval": 10,
    "train_freq": 256,
    "gradient_steps": 128,
    "exploration_fraction": 0.16,
    "exploration_final_eps": 0.04,
}
PROXIMAL = {"n_steps": 32, "batch_size": 256, "gae_lambda": 0.8, "gamma": 0.98, "n_epochs": 20}
RECURRENT = {**PROXIMAL, "policy_kwargs": {"lstm_hidden_size": 64}}
REGION = {"n_steps": 512, "batch_size": 512, "cg_damping": 1e-3, "gae_lambda": 0.98, "n_critic_updates": 20}
TASKS = {  # algorithm: environment, environments, steps, settings
    "dqn": ("CartPole-v1", 1, 50_000, VALUES),
    "qrdqn": ("CartPole-v1", 1, 50_000, {**VALUES, "policy_kwargs": {"n_quantiles": 10}}),
    "a2c": ("CartPole-v1", 8, 200_000, {}),
    "ppo": ("CartPole-v1", 8, 50_000, {**PROXIMAL, "learning_rate": falling(1e-3)}),
    "ppo_mask": ("CartPole-v1", 8, 50_000, {**PROXIMAL, "learning_rate": falling(1e-3)}),
    "ppo_recurrent": ("CartPole-v1", 8, 50_000, {**RECURRENT, "learning_rate": falling(1e-3)}),
    "trpo": ("CartPole-v1", 2, 50_000, {**REGION, "learning_rate": 1e-3}),
    "sac": ("Pendulum-v1", 1, 8_000, {"learning_rate": 1e-3}),
    "td3": ("Pendulum-v1", 1, 10_000, {"learning_rate": 1e-3, "policy_kwargs": {"net_arch": [256, 256]}}),
    "ddpg": ("Pendulum-v1", 1, 10_000, {"learning_rate": 1e-3, "policy_kwargs": {"net_arch": [256, 256]}}),
    "tqc": ("Pendulum-v1", 1, 6_000, {"learning_rate": 1e-3}),
    "crossq": ("Pendulum-v1", 1, 5_000, {"policy_kwargs": {"net_arch": {"pi": [256, 256], "qf": [256, 256]}}}),
}


def score(algorithm, module, seed):
    """Mean return over 20 games of a policy of `module`, after learning."""
    environment, number, steps, settings = TASKS[algorithm]
    kind = getattr(import_module("sb3_contrib" if algorithm in CONTRIB else "stable_baselines3"), _class(algorithm))
    policy = "MlpLstmPolicy" if algorithm == "ppo_recurrent" else "MlpPolicy"
    policies = import_module(f"{module}.{algorithm}")
    masks = {"use_masking": False} if algorithm == "ppo_mask" else {}
    environments = make_vec_env(environment, number, seed=seed)
    model = kind(getattr(policies, policy), environments, seed=seed, device="cpu", **settings).learn(steps, **masks)
    return float(evaluate_policy(model, make_vec_env(environment, 1, seed=1_000 + seed), n_eval_episodes=20)[0])


def _class(algorithm):
    return CONTRIB.get(algorithm, algorithm.upper())


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("algorithm", TASKS)
def test_learns_its_easy_task_as_well_as_the_policy_of_the_host(algorithm):
    environment, _, steps, _ = TASKS[algorithm]
    package = "sb3_contrib" if algorithm in CONTRIB else "stable_baselines3"
    hosts, ours = (np.array([score(algorithm, module, seed) for seed in SEEDS]) for module in (package, "wnrl.sb3"))
    figures = " | ".join(f"{scores.mean():.1f} ± {scores.std():.1f}" for scores in (hosts, ours))
    print(f"\n| {_class(algorithm)} | {environment} | {steps:,} | {figures} |")
    error = np.sqrt((hosts.var(ddof=1) + ours.var(ddof=1)) / len(SEEDS))  # of the difference of the means
    margin = 0.02 * abs(SOLVED[environment])
    assert ours.mean() >= min(hosts.mean() - 2 * error, SOLVED[environment]) - margin


@pytest.mark.parametrize("algorithm", ["a2c", "ppo"])
def test_several_bits_are_learned_as_well_as_by_the_policy_of_the_host(algorithm):
    """As `test_identity.py` of the host, which has one seed."""
    keywords = {"n_epochs": 4, "n_steps": 256} if algorithm == "ppo" else {}
    kind = getattr(import_module("stable_baselines3"), _class(algorithm))
    scores = {}
    for module in ("stable_baselines3", "wnrl.sb3"):
        policy, scores[module] = import_module(f"{module}.{algorithm}").MlpPolicy, []
        for seed in range(8):
            np.random.seed(seed)
            env = DummyVecEnv([lambda: IdentityEnvMultiBinary(4)])
            model = kind(policy, env, gamma=0.4, learning_rate=0.002, seed=seed, device="cpu", **keywords).learn(1_200)
            scores[module].append(evaluate_policy(model, env, n_eval_episodes=20, warn=False)[0])
    hosts, ours = (np.array(each) for each in scores.values())
    for name, each in scores.items():
        print(f"\n{_class(algorithm)} {name}: {np.mean(each):.1f}, above 90 {sum(s > 90 for s in each)} of {len(each)}")
    assert ours.mean() >= hosts.mean() - 2 * np.sqrt((hosts.var(ddof=1) + ours.var(ddof=1)) / len(ours))
