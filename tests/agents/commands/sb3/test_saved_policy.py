import io
import pickle
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from gymnasium.error import DependencyNotInstalled

from agents.commands import watch
from agents.commands.evaluate import IN_THE_RUN, EvaluateSettings, play_saved_model
from agents.commands.sb3.saved_policy import Screen
from agents.commands.sb3.sb3_run import SB3Run
from agents.settings.flat import from_flat
from agents.settings.sb3 import SB3Settings
from tests.agents.commands.test_watch import FakeWindow
from tests.videos import frames_of, full_disk, needs_ffmpeg
from wnrl.checkpoints.tensor_files import read_model, write_model

SMALL = {"device": "cpu", "eval_interval": 0, "eval_episodes": 2}
NUMBERS = ("learning_starts:20", "buffer_size:500", "policy_kwargs:{'net_arch': [8]}")


def trained(path, result=False, **values):
    """A run's folder, and the result of its own evaluation if asked for."""
    with SB3Run(from_flat(SB3Settings, {**SMALL, "run_dir": path, **values})) as run:
        run.learn()
        run.save()
        return run.evaluate() if result else path


def said(path, **options):
    return play_saved_model(EvaluateSettings(path, **{"device": "cpu", "episodes": 3, **options}))


@pytest.fixture(scope="module")
def cartpole(tmp_path_factory):
    path = tmp_path_factory.mktemp("cartpole") / "run"
    return trained(path, algo="dqn", env="CartPole-v1", steps=60, hyperparams=NUMBERS)


def always(path, right):
    """The run with a policy that goes one way."""
    tensors, about = read_model(path / "model")
    head = [name for name in tensors if name.endswith("bias")][-1]
    tensors = {name: torch.zeros_like(tensor) for name, tensor in tensors.items()}
    tensors[head] = torch.tensor([-1.0, 1.0] if right else [1.0, -1.0])
    write_model(path / "model", tensors, about)


def test_the_policy_of_the_file_plays(cartpole, tmp_path):
    """One that always goes the same way drops the pole after 8 to 10 steps; random play lasts for 20 on average."""
    path = shutil.copytree(cartpole, tmp_path / "run")
    for right in (True, False):
        always(path, right)
        line = said(path, episodes=10)
        assert 8 <= float(line.split()[1]) <= 10.5
    assert line.endswith(" over 10 whole games (epsilon 0, model.safetensors of step 60)")


def test_nothing_is_unpickled(cartpole, tmp_path, monkeypatch):
    path = shutil.copytree(cartpole, tmp_path / "run")
    (path / "model.zip").unlink()

    def refuse(*_, **__):
        raise AssertionError("a pickle was read")

    for module, name in ((pickle, "load"), (pickle, "loads"), (pickle, "Unpickler"), (torch, "load")):
        monkeypatch.setattr(module, name, refuse)
    with pytest.raises(AssertionError, match="a pickle was read"):
        pickle.load(io.BytesIO(b""))
    assert said(path).startswith("CartPole-v1: ")


def test_the_same_games_have_the_same_scores(cartpole):
    assert said(cartpole, seed=1) == said(cartpole, seed=1)
    assert said(cartpole, epsilon=1.0, seed=1, episodes=20) != said(cartpole, epsilon=1.0, seed=2, episodes=20)
    assert "(epsilon 1, model" in said(cartpole, epsilon=1.0)


def test_the_last_policy_is_played_unless_the_best_is_asked_for(tmp_path):
    path = tmp_path / "run"
    trained(path, result=True, algo="dqn", env="CartPole-v1", steps=60, hyperparams=NUMBERS)
    assert "(epsilon 0, model.safetensors" in said(path)
    assert "(epsilon 0, best.safetensors of step 60, the best of 1 evaluations in training" in said(path, model="best")


def test_a_run_without_a_best_policy_says_so(cartpole):
    with pytest.raises(ValueError, match=r"has no best.safetensors yet"):
        said(cartpole, model="best")


def test_another_environment_under_that_name_is_refused(cartpole, tmp_path):
    path = shutil.copytree(cartpole, tmp_path / "run")
    tensors, about = read_model(path / "model")
    write_model(path / "model", tensors, {**about, "env": "Acrobot-v1"})
    with pytest.raises(ValueError, match=r"has the observation_space Box\(\[-4\.8"):
        said(path)


@pytest.mark.parametrize("norm", ["none", "weight", "batch"])
def test_continuous_actions(norm, tmp_path):
    path = tmp_path / "run"
    numbers = (*NUMBERS, "batch_size:8")
    trained(path, algo="sac", env="Pendulum-v1", steps=40, hyperparams=numbers, norm=norm)
    assert said(path).startswith("Pendulum-v1: -")
    with pytest.raises(ValueError, match="epsilon needs discrete actions"):
        said(path, epsilon=0.1)


@needs_ffmpeg
def test_a_game_is_evaluated_as_its_run_did(tmp_path):
    """With its options, here games of 40 steps, and compared with a person."""
    path = tmp_path / "run"
    numbers = ("n_steps:16", "batch_size:16", "n_epochs:1")
    options = {"game": "pong", "max_frames": 160, "num_envs": 2, "steps": 32, "hyperparams": numbers}
    result = trained(path, result=True, algo="ppo", **options)
    assert result.startswith(
        "pong: 0.0 ± 0.0 over 2 whole games (epsilon 0, model.safetensors of step 32; no sticky actions, "
        "up to 30 no-ops, FIRE pressed at the start, minimal action set, life loss in training, at most 160 frames)"
    )
    line, video = said(path, model="last", episodes=2, video=IN_THE_RUN).splitlines()
    assert line == result
    assert video == f"video of the first game: {path / 'videos' / 'model-step-32.mp4'}"
    frames, fps = frames_of(path / "videos" / "model-step-32.mp4")
    assert frames.shape == (40, 210, 160, 3)
    assert fps == 15


@needs_ffmpeg
def test_a_video_of_another_environment(cartpole):
    pytest.importorskip("pygame")
    assert "video of the first game" in said(cartpole, video=IN_THE_RUN)
    frames, fps = frames_of(cartpole / "videos" / "model-step-60.mp4")
    assert frames.shape[1:] == (400, 600, 3)
    assert fps == 50  # as CartPole says


def test_a_video_that_cannot_be_written_is_an_error_below_the_scores(cartpole, tmp_path, capsys):
    pytest.importorskip("pygame")
    with full_disk(100), pytest.raises(ValueError, match=rf"^cannot write {tmp_path / 'a.gif'}: "):
        said(cartpole, video=tmp_path / "a.gif")
    assert "CartPole-v1: " in capsys.readouterr().out
    assert [*tmp_path.iterdir()] == []


def test_values_of_actions_are_of_this_library_alone(cartpole):
    with pytest.raises(ValueError, match="this run is of stable-baselines3: leave them out"):
        said(cartpole, video=IN_THE_RUN, values=True)


def test_games_in_a_window(cartpole, monkeypatch):
    pytest.importorskip("pygame")
    monkeypatch.setattr(watch, "check_display", lambda: None)
    monkeypatch.setattr(watch, "Window", FakeWindow)
    line = watch.watch_saved_model(watch.WatchSettings(cartpole, episodes=2, device="cpu"))
    window = FakeWindow.made
    assert (window.title, window.fps, window.ended) == ("CartPole-v1", 50, True)
    assert line.startswith("CartPole-v1: ")
    assert " over 2 whole games " in line
    assert {*window.texts} == {"game 1", "game 2"}
    assert window.pictures[0].shape == (400, 600, 3)
    assert (window.pictures[0] != window.pictures[3]).any()
    with pytest.raises(ValueError, match="this run is of stable-baselines3: leave them out"):
        watch.watch_saved_model(watch.WatchSettings(cartpole, values=True, device="cpu"))
    monkeypatch.setattr(watch, "Window", lambda *arguments: FakeWindow(*arguments, closes_at=2))
    settings = watch.WatchSettings(cartpole, device="cpu")
    assert watch.watch_saved_model(settings) == "no game was played to its end"


def test_its_actions_are_never_sampled(cartpole):
    assert "(epsilon 0, model" in said(cartpole, greedy=True)
    with pytest.raises(ValueError, match="no-greedy samples the actions of a policy, which this agent does not"):
        said(cartpole, greedy=False)


def test_the_pace_of_pictures():
    def pace(metadata, **task):
        return Screen(SimpleNamespace(metadata=metadata), {"game": None, "emulator": {}, **task}).render_fps

    assert pace({"render_fps": 20}) == 20
    assert pace({}) == 30
    assert pace({}, game="Pong") == 15
    assert pace({}, game="Pong", emulator={"frame_skip": 2}) == 30


def test_what_has_no_picture_is_a_runtime_error():
    def missing():
        raise DependencyNotInstalled("pygame is\nnot installed")

    task = {"game": None, "emulator": {}}
    with pytest.raises(RuntimeError, match="pygame is not installed"):
        Screen(SimpleNamespace(get_images=missing), task).render()
    for images in ([], [None]):
        with pytest.raises(RuntimeError, match="no pictures"):
            Screen(SimpleNamespace(get_images=lambda images=images: images), task).render()
    picture = np.zeros((2, 2, 3), np.uint8)
    assert Screen(SimpleNamespace(get_images=lambda: (picture, None)), task).render() is picture
