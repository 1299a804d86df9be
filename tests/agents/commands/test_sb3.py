import importlib
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from gymnasium import spaces

from agents.commands import sb3
from agents.commands.sb3 import SB3Settings, default_run_dir, has_masks, make_environment, parse_hyperparam, policy_name
from wnrl.sb3 import crossq, dqn, ppo_recurrent

IMAGE, VECTOR = spaces.Box(0, 255, (84, 84, 4), np.uint8), spaces.Box(-1, 1, (3,), np.float32)


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("n_steps:256", ("n_steps", 256)),
        ("gamma:0.5", ("gamma", 0.5)),
        ("policy_kwargs:{'net_arch': [16]}", ("policy_kwargs", {"net_arch": [16]})),
    ],
)
def test_hyperparams_are_python_literals(text, parsed):
    assert parse_hyperparam(text) == parsed


@pytest.mark.parametrize("text", ["n_steps=3", "n_steps", "n_steps:f(1)"])
def test_a_hyperparam_of_another_form_is_refused(text):
    with pytest.raises(ValueError, match="--hyperparams takes NAME:VALUE such as n_steps:256, got") as refusal:
        parse_hyperparam(text)
    assert repr(text) in str(refusal.value)


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


def test_the_default_folder_names_the_run(monkeypatch):
    monkeypatch.setattr(sb3.time, "strftime", lambda form: "now")
    settings = SB3Settings(algo="dqn", env="ALE/Pong-v5", norm="none", seed=3)
    assert str(default_run_dir(settings)) == "runs/Pong-v5-dqn-none-s3-now"


def test_environments_are_as_many_as_asked_for():
    environment = make_environment(SB3Settings(num_envs=3))
    assert environment.num_envs == 3
    environment.close()
    with pytest.raises(ValueError, match="num_envs must be at least 1, got 0"):
        make_environment(SB3Settings(num_envs=0))


@pytest.mark.parametrize("masks", [True, False])
def test_whether_actions_are_masked_is_asked_of_the_environment(masks):
    environment = SimpleNamespace(has_attr=lambda name: masks and name == "action_masks")
    assert has_masks(SimpleNamespace(get_env=lambda: environment)) is masks
    assert has_masks(SimpleNamespace(get_env=lambda: None)) is False


def test_every_algorithm_has_its_module_of_policies():
    for algorithm in sb3.Algorithm.__args__:
        assert isinstance(importlib.import_module(f"wnrl.sb3.{algorithm}"), ModuleType)
