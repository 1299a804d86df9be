"""scripts/train_sb3.py as its users call it."""

import pytest
from stable_baselines3 import DQN
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.scripts.processes import call
from wnrl.sb3 import dqn
from wnrl.weight_norm.dense import WeightNormLinear

FEW = ["--device", "cpu", "--eval-episodes", 0]
OFF_POLICY = {"crossq", "ddpg", "dqn", "qrdqn", "sac", "td3", "tqc"}
CONTINUOUS = {"crossq", "ddpg", "sac", "td3", "tqc"}
ALGORITHMS = sorted(OFF_POLICY | {"a2c", "ppo", "ppo_mask", "ppo_recurrent", "trpo"})


def refused(*arguments, saying):
    code, _, err = call("train_sb3", *arguments)
    assert code == 2
    assert saying in err
    assert err.count("\n") == 1


@pytest.mark.filterwarnings("ignore::UserWarning")  # the host's remarks on the task
@pytest.mark.parametrize("algo", ALGORITHMS)
def test_every_algorithm_trains_and_leaves_a_model(algo, tmp_path):
    env = "Pendulum-v1" if algo in CONTINUOUS else "CartPole-v1"
    numbers = "learning_starts:20" if algo in OFF_POLICY else "n_steps:32"
    code, out, err = call(
        "train_sb3", "--algo", algo, "--env", env, "--steps", 64, "--run-dir", tmp_path, "--hyperparams", numbers, *FEW
    )
    assert code == 0, err
    assert (tmp_path / "model.zip").is_file()
    assert "model of step" in out


def test_a_run_leaves_curves_and_a_model_that_loads(tmp_path):
    code, out, err = call(
        "train_sb3", "--algo", "dqn", "--steps", 120, "--run-dir", tmp_path, "--device", "cpu", "--eval-episodes", 1,
        "--norm", "weight", "--units", "paper", "--init", "analytic", "--hyperparams", "learning_starts:20",
        "policy_kwargs:{'net_arch': [16]}",
    )  # fmt: skip
    assert code == 0, err
    assert "CartPole-v1: " in out
    model = DQN.load(tmp_path / "model.zip")
    assert type(model.policy) is dqn.MlpPolicy
    layer = model.q_net.q_net[0]
    assert type(layer) is WeightNormLinear
    assert (layer.out_features, layer.units) == (16, "paper")
    events = EventAccumulator(str(next(tmp_path.glob("tensorboard*")))).Reload()
    assert "norm/q_net.q_net.0/g" in events.Tags()["scalars"]


def test_the_first_observations_can_initialize(tmp_path):
    code, _, err = call(
        "train_sb3", "--algo", "ppo", "--steps", 1_200, "--run-dir", tmp_path, "--init", "data",
        "--hyperparams", "n_steps:600", "batch_size:600", "n_epochs:1", *FEW,
    )  # fmt: skip
    assert code == 0, err


@pytest.mark.parametrize(
    ("arguments", "saying"),
    [
        (["--norm", "wieght"], "unknown norm 'wieght' (nearest: weight)"),
        (["--env", "Cartpol-v1"], "Did you mean: `CartPole`?"),
        (["--num-envs", "0"], "num_envs must be at least 1, got 0"),
        (["--hyperparams", "n_steps=3"], "--hyperparams takes NAME:VALUE such as n_steps:256, got 'n_steps=3'"),
        (["--hyperparams", "nsteps:3"], "unexpected keyword argument 'nsteps'"),
        (["--algo", "crossq", "--env", "ALE/Pong-v5"], "wnrl.sb3.crossq has no CnnPolicy"),
        (["--algo", "dqn", "--env", "Pendulum-v1"], "only supports"),
        (["--algo", "acer"], "a2c"),
    ],
)
def test_bad_input_is_one_line(arguments, saying):
    refused(*arguments, *FEW, saying=saying)
