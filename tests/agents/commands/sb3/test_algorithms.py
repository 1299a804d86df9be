import importlib
import sys
import typing
from types import ModuleType

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import A2C, DQN, PPO
from stable_baselines3.common.sb2_compat.rmsprop_tf_like import RMSpropTFLike

from agents.commands.sb3 import algorithms
from agents.commands.sb3.algorithms import CONTRIB, hyperparams, make_model, parse_hyperparam, policy_name
from agents.commands.sb3.vec_envs import describe_task, make_training_envs
from agents.settings.flat import from_flat
from agents.settings.sb3 import Algorithm, SB3Settings
from wnrl.sb3 import FrameReplayBuffer, crossq, dqn, ppo_recurrent

CPU = torch.device("cpu")
IMAGE, VECTOR = spaces.Box(0, 255, (84, 84, 4), np.uint8), spaces.Box(-1, 1, (3,), np.float32)


def settings(**values):
    return from_flat(SB3Settings, values)


def values_of(*given, **more):
    return hyperparams(settings(hyperparams=given, **more), CPU)


def model_of(*given, **more):
    """A model on CartPole, or on Pong if `game` is given."""
    run = settings(hyperparams=given, device="cpu", **({} if "game" in more else {"env": "CartPole-v1"}), **more)
    environment = make_training_envs(describe_task(run.task), run.num_envs, run.seed)
    try:
        return make_model(run, environment, hyperparams(run, CPU), CPU)
    finally:
        environment.close()


# Hyperparameters as text


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("n_steps:256", ("n_steps", 256)),
        ("gamma:0.5", ("gamma", 0.5)),
        ("policy_kwargs:{'net_arch': [16]}", ("policy_kwargs", {"net_arch": [16]})),
        ("learning_rate:lin_2.5e-4", ("learning_rate", "lin_2.5e-4")),
        ("learning_rate:'lin_2.5e-4'", ("learning_rate", "lin_2.5e-4")),
    ],
)
def test_hyperparams_are_python_literals(text, parsed):
    assert parse_hyperparam(text) == parsed


@pytest.mark.parametrize("text", ["n_steps=3", "n_steps", "n_steps:f(1)"])
def test_a_hyperparam_of_another_form_is_refused(text):
    with pytest.raises(ValueError, match="--hyperparams takes NAME:VALUE such as n_steps:256, got") as refusal:
        parse_hyperparam(text)
    assert repr(text) in str(refusal.value)


def test_a_word_whose_quotes_the_shell_took_is_shown_with_them():
    with pytest.raises(ValueError, match=r"quotes inside quotes: \"policy:'MlpPolicy'\"\)$"):
        parse_hyperparam("policy:MlpPolicy")


def test_a_game_has_hyperparameters_of_its_own_and_what_is_given_wins():
    assert values_of("gamma:0.5", algo="dqn", env="CartPole-v1") == {"gamma": 0.5}
    values = values_of("batch_size:64", "policy_kwargs:{'net_arch': [8]}", algo="a2c", game="Pong")
    assert values["policy_kwargs"]["net_arch"] == [8]
    assert values["policy_kwargs"]["optimizer_class"] == "RMSpropTFLike"
    assert (values["batch_size"], values["ent_coef"]) == (64, 0.01)


def test_the_replay_buffer_of_a_game_fits_in_the_memory(monkeypatch):
    pong = {"algo": "qrdqn", "game": "Pong", "steps": 10_000_000}
    monkeypatch.setattr(algorithms, "free_memory", lambda device: 10**12)
    assert values_of(**pong)["buffer_size"] == 1_000_000
    monkeypatch.setattr(algorithms, "free_memory", lambda device: 1_440_000)
    assert values_of(**pong)["buffer_size"] == 100
    assert values_of("buffer_size:500", **pong)["buffer_size"] == 500


def test_a_step_takes_the_memory_that_is_counted():
    frames = spaces.Box(0, 255, (4, 84, 84), np.uint8)
    buffer = FrameReplayBuffer(2_000, frames, spaces.Discrete(6), "cpu")
    assert buffer.nbytes / 2_000 == pytest.approx(algorithms._STEP_BYTES, rel=0.02)


def test_steps_of_a_transition_reach_a_replay_buffer_of_its_own():
    values = values_of("n_steps:3", "gamma:0.9", algo="dqn", game="Pong")
    assert values["replay_buffer_kwargs"] == {"n_steps": 3, "gamma": 0.9}
    assert "n_steps" not in values
    assert values_of("n_steps:3", algo="dqn", env="CartPole-v1") == {"n_steps": 3}


# Models


def test_schedules_fall_to_0():
    rate = model_of("learning_rate:'lin_4e-4'", "clip_range:'lin_0.2'").lr_schedule
    assert [rate(left) for left in (1.0, 0.5, 0.0)] == pytest.approx([4e-4, 2e-4, 0.0])


def test_classes_have_names():
    text = "policy_kwargs:{'optimizer_class': 'SGD', 'activation_fn': 'ReLU', 'net_arch': [4]}"
    policy = model_of(text).policy
    assert type(policy.optimizer) is torch.optim.SGD
    assert policy.activation_fn is torch.nn.ReLU


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("learning_rate:'fast'", "learning_rate takes a number or a schedule such as 'lin_2.5e-4', got 'fast'"),
        ("policy_kwargs:{'activation_fn': 'ReLu'}", "activation_fn 'ReLu' is no class of torch.nn"),
        ("nsteps:3", r"ppo takes no nsteps \(nearest: n_steps\)"),
        ("zzz:3", "ppo takes no zzz$"),
        ("seed:3", "ppo takes no seed"),
        ("verbose:0", "ppo takes no verbose"),
        ("policy_kwargs:{'norm': 'layer'}", "^norm is a flag: give --norm layer$"),
        ("policy_kwargs:{'normalize_output': True}", "^normalize_output is a flag: give --normalize-output True$"),
        ("policy_kwargs:{'units': 'sqrt'}", "^units is a flag: give --units sqrt$"),
        ("policy_kwargs:{'net_arch': [4], 'init': 'he'}", "^init is a flag: give --init he$"),
    ],
)
def test_hyperparameters_that_do_not_fit_are_refused(text, message):
    with pytest.raises(ValueError, match=message):
        model_of(text)


@pytest.mark.parametrize(
    ("algo", "kind", "seen"),
    [
        (
            "dqn",
            DQN,
            lambda model: (model.batch_size, model.exploration_fraction, model.learning_starts) == (32, 0.1, 2),
        ),
        ("ppo", PPO, lambda model: (model.n_steps, model.batch_size, model.clip_range(0.5)) == (128, 256, 0.05)),
        ("a2c", A2C, lambda model: (model.vf_coef, type(model.policy.optimizer)) == (0.25, RMSpropTFLike)),
    ],
)
def test_models_of_games(algo, kind, seen):
    model = model_of(algo=algo, game="Pong", steps=200, num_envs=2)
    assert type(model) is kind
    assert model.observation_space.shape == (4, 84, 84)
    assert type(model.policy).__module__.startswith("wnrl.sb3.")
    assert seen(model)
    assert kind is not DQN or type(model.replay_buffer) is FrameReplayBuffer


def test_the_normalizer_is_the_policys():
    policy = model_of("policy_kwargs:{'net_arch': [4]}", norm="layer", init="analytic").policy
    assert policy._normalization["norm"] == "layer"
    assert model_of(init="data").policy is not None  # which a callback does


@pytest.mark.parametrize(
    ("policies", "space", "name"),
    [
        (dqn, VECTOR, "MlpPolicy"),
        (dqn, IMAGE, "CnnPolicy"),
        (dqn, spaces.Dict({"a": VECTOR}), "MultiInputPolicy"),
        (ppo_recurrent, VECTOR, "MlpLstmPolicy"),
        (ppo_recurrent, IMAGE, "CnnLstmPolicy"),
    ],
)
def test_the_policy_is_the_one_for_the_observations(policies, space, name):
    assert policy_name(policies, space) == name
    assert hasattr(policies, name)


def test_observations_that_an_algorithm_has_no_policy_for_are_refused():
    with pytest.raises(ValueError, match=r"wnrl.sb3.crossq has no CnnPolicy: choose another algorithm"):
        policy_name(crossq, IMAGE)


def test_every_algorithm_has_its_module_of_policies():
    for algorithm in typing.get_args(Algorithm):
        assert isinstance(importlib.import_module(f"wnrl.sb3.{algorithm}"), ModuleType)
    assert CONTRIB.keys() < set(typing.get_args(Algorithm))


def test_a_missing_sb3_contrib_is_named_with_its_extra(monkeypatch):
    for name in ("wnrl.sb3.contrib", "wnrl.sb3.qrdqn"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "sb3_contrib", None)
    with pytest.raises(ImportError, match=r'pip install "wnrl\[contrib\]"'):
        model_of(algo="qrdqn")
