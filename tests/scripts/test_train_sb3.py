"""scripts/train_sb3.py as its users call it."""

import signal
from functools import partial

import pytest
from stable_baselines3 import DQN
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from agents.commands.sb3 import saved_policy
from agents.runtime.seeds import Purpose, integer
from tests.products import mostly_slow
from tests.scripts.processes import call, read_json, start
from wnrl.sb3 import dqn
from wnrl.weight_norm.dense import WeightNormLinear

CARTPOLE = ["--env", "CartPole-v1", "--device", "cpu"]
FEW = ["--device", "cpu", "--eval-episodes", 0]
OFF_POLICY = {"crossq", "ddpg", "dqn", "qrdqn", "sac", "td3", "tqc"}
CONTINUOUS = {"crossq", "ddpg", "sac", "td3", "tqc"}
ALGORITHMS = sorted(OFF_POLICY | {"a2c", "ppo", "ppo_mask", "ppo_recurrent", "trpo"})
NARROW = "policy_kwargs:{'net_arch': [16]}"
GAMES = {
    "a2c": ["n_steps:5"],
    "dqn": ["learning_starts:40"],
    "ppo": ["n_steps:16", "batch_size:16", "n_epochs:1"],
    "ppo_mask": ["n_steps:16", "batch_size:16", "n_epochs:1"],
    "ppo_recurrent": ["n_steps:16", "batch_size:16", "n_epochs:1"],
    "qrdqn": ["learning_starts:40"],
    "trpo": ["n_steps:16", "batch_size:16"],
}


def refused(*arguments, saying):
    code, _, err = call("train_sb3", *arguments)
    assert code == 2
    assert saying in err
    assert err.startswith("train_sb3.py: error: ")
    assert err.count("\n") == 1


@pytest.mark.filterwarnings("ignore::UserWarning")  # the host's remarks on the task
@pytest.mark.parametrize("algo", mostly_slow(ALGORITHMS, "a2c", "dqn", "ppo_mask", "ppo_recurrent", "tqc", "trpo"))
def test_every_algorithm_trains_and_leaves_a_model_that_plays(algo, tmp_path):
    env = "Pendulum-v1" if algo in CONTINUOUS else "CartPole-v1"
    numbers = ["learning_starts:20"] if algo in OFF_POLICY else ["n_steps:16"]
    numbers += ["policy_kwargs:{'net_arch': [16], 'lstm_hidden_size': 16}" if "recurrent" in algo else NARROW]
    arguments = ["--steps", 32, "--run-dir", tmp_path, "--hyperparams", *numbers]
    code, out, err = call("train_sb3", "--algo", algo, "--env", env, *arguments, *FEW)
    assert code == 0, err
    assert (tmp_path / "model.zip").is_file()
    assert "model of step" in out
    code, out, err = call("evaluate", tmp_path, "--episodes", 1, "--device", "cpu")
    assert (code, err) == (0, "")
    assert out.startswith(f"{env}: ")


def test_a_run_leaves_curves_and_a_model_that_loads(tmp_path):
    code, out, err = call(
        "train_sb3", *CARTPOLE, "--algo", "dqn", "--steps", 120, "--run-dir", tmp_path, "--eval-episodes", 1,
        "--eval-interval", 50, "--norm", "weight", "--units", "paper", "--init", "analytic",
        "--hyperparams", "learning_starts:20", "policy_kwargs:{'net_arch': [16]}",
    )  # fmt: skip
    assert code == 0, err
    assert err == ""
    lines = out.splitlines()
    assert f"training in {tmp_path}" in lines
    assert f"model of step 120: {tmp_path / 'model.zip'}" in lines
    assert lines[-2].startswith("CartPole-v1: ")
    assert lines[-1] == f"finished 120 steps: python scripts/evaluate.py {tmp_path} evaluates the model"
    model = DQN.load(tmp_path / "model.zip")
    assert type(model.policy) is dqn.MlpPolicy
    layer = model.q_net.q_net[0]
    assert type(layer) is WeightNormLinear
    assert (layer.out_features, layer.units) == (16, "paper")
    events = EventAccumulator(str(tmp_path)).Reload()
    assert {"weights/q_net.fc/v_norm", "rollout/ep_rew_mean", "eval/mean_ep_length"} <= set(events.Tags()["scalars"])
    assert [scalar.step for scalar in events.Scalars("eval/mean_reward")] == [50, 100, 120]


def test_the_folder_is_named_by_the_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):  # in the same second perhaps
        arguments = ["--algo", "a2c", "--norm", "none", "--seed", 3, "--steps", 5, "--eval-episodes", 0]
        assert call("train_sb3", *CARTPOLE, *arguments).code == 0
    paths = list((tmp_path / "runs").iterdir())
    assert len(paths) == 2
    assert all(path.name.startswith("CartPole-v1-a2c-none-s3-2") for path in paths)


def test_the_first_observations_can_initialize(tmp_path):
    code, _, err = call(
        "train_sb3", "--env", "CartPole-v1", "--algo", "ppo", "--steps", 1_200, "--run-dir", tmp_path, "--init", "data",
        "--hyperparams", "n_steps:600", "batch_size:600", "n_epochs:1", *FEW,
    )  # fmt: skip
    assert code == 0, err


@pytest.mark.parametrize("algo", ["dqn", pytest.param("ppo", marks=pytest.mark.slow)])
def test_a_game_is_trained_and_evaluated(algo, tmp_path):
    play_pong(algo, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("algo", sorted(GAMES.keys() - {"dqn", "ppo"}))
def test_every_algorithm_trains_on_games(algo, tmp_path):
    play_pong(algo, tmp_path)


def play_pong(algo, path):
    code, _, err = call(
        "train_sb3", "--game", "pong", "--algo", algo, "--steps", 80, "--num-envs", 2, "--max-frames", 160,
        "--run-dir", path, "--hyperparams", *GAMES[algo], "--eval-episodes", 2, "--device", "cpu",
    )  # fmt: skip
    assert code == 0, err
    about = read_json(path / "model.json")
    assert (about["game"], about["emulator"]["max_frames"]) == ("pong", 160)
    assert about["emulator"]["terminal_on_life_loss"] is (algo != "ppo_recurrent")
    code, out, err = call("evaluate", path, "--episodes", 2, "--device", "cpu")
    assert (code, err) == (0, "")
    assert out.startswith("pong: 0.0 ± 0.0 over 2 whole games")


@pytest.mark.parametrize(
    ("arguments", "saying"),
    [
        ([], "name the task: --game Breakout for Atari or --env CartPole-v1, one of the two"),
        (["--env", "CartPole-v1", "--norm", "wieght"], "unknown norm 'wieght' (nearest: weight)"),
        (["--env", "Cartpol-v1"], "unknown environment 'Cartpol-v1': did you mean CartPole-v1"),
        (["--game", "Breakuot"], "unknown game 'Breakuot': did you mean Breakout"),
        (["--env", "ALE/Breakout-v5"], "ALE/Breakout-v5 is an Atari game: use --game Breakout"),
        (["--env", "BreakoutNoFrameskip-v4"], "BreakoutNoFrameskip-v4 is an Atari game: use --game Breakout"),
        (["--env", "CartPole-v1", "--num-envs", "0"], "num_envs must be at least 1, got 0"),
        (["--env", "CartPole-v1", "--device", "tpu"], "device 'tpu' is not available"),
        (["--env", "CartPole-v1", "--hyperparams", "n_steps=3"], "--hyperparams takes NAME:VALUE such as n_steps:256"),
        (["--env", "CartPole-v1", "--hyperparams", "nsteps:3"], "ppo takes no nsteps (nearest: n_steps)"),
        (["--algo", "crossq", "--game", "Pong"], "wnrl.sb3.crossq has no CnnPolicy"),
        (["--algo", "sac", "--game", "Pong"], "only supports"),
        (["--algo", "dqn", "--env", "Pendulum-v1"], "only supports"),
        (["--algo", "acer"], "a2c"),
        (["--algo", "dqn", "--env", "CartPole-v1", "--init", "data"], "DataDependentInit needs 500 observations"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(arguments, saying, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused(*arguments, "--eval-episodes", 0, *([] if "--device" in arguments else ["--device", "cpu"]), saying=saying)
    assert not list(tmp_path.glob("runs/*"))


def test_a_folder_of_another_run_is_refused(tmp_path):
    (tmp_path / "mine").write_text("x")
    refused(*CARTPOLE, "--run-dir", tmp_path, saying=f"{tmp_path} already holds files: choose another --run-dir\n")


def stopped(process, number):
    """The last line and the exit code of a run that gets a signal."""
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert err == ""
    return out.splitlines()[-1], process.returncode


@pytest.mark.parametrize(
    ("number", "code"), [pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow), (signal.SIGINT, 130)]
)
def test_a_signal_leaves_a_model(tmp_path, number, code):
    path = tmp_path / "run"
    endless = ["--steps", 10_000_000, "--eval-interval", 0, "--log-interval", 200]
    process = start("train_sb3", *CARTPOLE, "--algo", "a2c", "--run-dir", path, *endless)
    next(line for line in process.stdout if "total_timesteps" in line)
    last, returned = stopped(process, number)
    step = read_json(path / "model.json")["step"]
    assert (last, returned) == (
        f"stopped at step {step:,}: python scripts/evaluate.py {path} evaluates the model",
        code,
    )
    assert (path / "model.zip").is_file()
    assert call("evaluate", path, "--episodes", 1, "--device", "cpu").code == 0


@pytest.mark.slow
def test_a_signal_ends_an_evaluation(tmp_path):
    """One that would take hours; nothing is printed when it begins, so the signal comes when the folder has its row."""
    path = tmp_path / "run"
    process = start(
        "train_sb3", *CARTPOLE, "--algo", "a2c", "--run-dir", path, "--steps", 1_000, "--log-interval", 10,
        "--eval-interval", 20, "--eval-episodes", 10_000_000,
    )  # fmt: skip
    next(line for line in process.stdout if "total_timesteps" in line)
    last, returned = stopped(process, signal.SIGTERM)
    assert returned == 143
    assert last.startswith("stopped at step ")
    assert read_json(path / "model.json")["step"] <= 30


def test_what_is_played_is_in_evaluate_py_the_same(tmp_path, monkeypatch):
    """The same games with the same policy have the same scores: at the end of the run, and by evaluate.py."""
    few = ["--steps", 300, "--eval-episodes", 5, "--run-dir", tmp_path, "--hyperparams", "n_steps:32", "batch_size:32"]
    result = call("train_sb3", *CARTPOLE, *few)
    evaluate = partial(call, "evaluate", tmp_path, "--model", "last", "--episodes", 5, "--device", "cpu")
    assert evaluate().out == evaluate("--seed", 0).out != result.out.splitlines()[-2] + "\n"  # games of its own
    monkeypatch.setattr(saved_policy, "integer", lambda seed, *_, **bits: integer(0, Purpose.EVALUATION, 320, **bits))
    assert evaluate().out == result.out.splitlines()[-2] + "\n"
