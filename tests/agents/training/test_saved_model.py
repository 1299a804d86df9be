import builtins
import re

import cv2
import numpy as np
import pytest
import torch

from agents.learner.network import make_network
from agents.training import saved_model
from agents.training.run_directory import RunDirectory
from agents.training.saved_model import Model, describe, load, measure
from envs import Chain
from tests.agents.environments import Clockwork, Coloured
from wnrl.normalizers.folding import fold

NETWORK = {
    "kind": "q",
    "obs_shape": [5],
    "num_actions": 2,
    "hidden": [6],
    "architecture": {},
    "norm": "weight",
    "units": "sqrt",
    "normalize_output": True,
}
CHAIN = {"network": NETWORK, "game": None, "env": "Chain", "emulator": {}, "play": {"epsilon": 0.0}, "step": 12_000}
CALL = {"episodes": 3, "epsilon": None, "model": "auto", "num_envs": 8, "seed": 0, "device": "cpu", "video": False}


def chain_model(right):
    """A network that always goes right, or always left."""
    network = fold(make_network(NETWORK))
    with torch.no_grad():
        network.head.weight.zero_()
        network.head.bias.copy_(torch.tensor([-1.0, 1.0] if right else [1.0, -1.0]))
    return network


def save(path, name, model, /, **changes):
    path.mkdir(exist_ok=True)
    (path / "config.json").write_text("{}")
    RunDirectory(path).save_model(name, model.state_dict(), {**CHAIN, **changes})


@pytest.fixture
def run_dir(tmp_path):
    save(tmp_path / "run", "model", chain_model(right=True))
    return tmp_path / "run"


def test_a_model_that_solves_the_chain_scores_1(run_dir):
    said = measure(run_dir=run_dir, **CALL)
    assert said == "Chain: 1.0 ± 0.0 over 3 whole games (epsilon 0, model.safetensors of step 12,000)"


def test_a_model_that_does_not_scores_0(run_dir):
    save(run_dir, "best", chain_model(right=False), step=5)
    assert measure(run_dir=run_dir, **CALL).startswith("Chain: 0.0 ± 0.0 over 3 whole games (epsilon 0, best.")


def test_epsilon_is_the_runs_own_unless_given(run_dir):
    save(run_dir, "model", chain_model(right=True), play={"epsilon": 0.25})
    assert "(epsilon 0.25," in measure(run_dir=run_dir, **CALL)
    assert "(epsilon 0," in measure(run_dir=run_dir, **{**CALL, "epsilon": 0.0})


@pytest.mark.parametrize(("wanted", "there", "taken"), [
    ("auto", ["best", "model"], "best"), ("auto", ["model"], "model"), ("last", ["best", "model"], "model"),
    ("best", ["best", "model"], "best"),
])  # fmt: skip
def test_which_model_is_taken(tmp_path, wanted, there, taken):
    for name in there:
        save(tmp_path, name, chain_model(right=name == taken))
    model = load(RunDirectory(tmp_path), wanted, torch.device("cpu"))
    assert model.name == taken
    assert model.network(torch.eye(5)).q_values.argmax(1).tolist() == [1] * 5


def test_a_model_that_is_not_there_is_refused(run_dir):
    with pytest.raises(ValueError, match=r"has no best.safetensors yet: train it longer"):
        measure(run_dir=run_dir, **{**CALL, "model": "best"})


def test_a_damaged_model_is_refused(run_dir):
    file = run_dir / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(ValueError, match="damaged"):
        measure(run_dir=run_dir, **CALL)


def games(run_dir, monkeypatch, **changes):
    """The scores of the games that are played."""
    seen = []
    with monkeypatch.context() as patch:
        patch.setattr(saved_model, "make", lambda num_envs, **options: Chain(num_envs, max_steps=7))
        patch.setattr(saved_model, "describe", lambda model, scores, play: seen.extend(scores) or "")
        measure(run_dir=run_dir, **{**CALL, "episodes": 40, **changes})
    return seen


def test_random_actions_come_from_the_seed(run_dir, monkeypatch):
    """In games that end before every walk has come to the right."""
    first, again, other = (games(run_dir, monkeypatch, epsilon=0.8, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first != other
    assert games(run_dir, monkeypatch) == [1] * 40


def actor_model():
    """A policy that is as likely to go left as right, and says right where it is asked for one action."""
    description = {**NETWORK, "kind": "actor-critic"}
    network = fold(make_network(description))
    with torch.no_grad():
        network.policy.layer.weight.zero_()
        network.policy.layer.bias.copy_(torch.tensor([0.0, 1e-4]))
    return description, network


def test_a_policy_plays_as_its_run_did(run_dir, monkeypatch):
    description, network = actor_model()
    save(run_dir, "model", network, network=description, play={"sample": False})
    said = measure(run_dir=run_dir, **CALL)
    assert said == "Chain: 1.0 ± 0.0 over 3 whole games (epsilon 0, model.safetensors of step 12,000)"
    save(run_dir, "model", network, network=description, play={"sample": True})
    assert "(actions sampled, model.safetensors" in measure(run_dir=run_dir, **CALL)
    assert 0 < sum(games(run_dir, monkeypatch)) < 40
    assert "(actions sampled, epsilon 0.5, model" in measure(run_dir=run_dir, **{**CALL, "epsilon": 0.5})


def test_a_game_is_compared_with_a_person():
    model = Model(None, {"game": "Breakout", "env": None, "step": 1_000_000}, "best")
    said = describe(model, [1.7, 59.3], {"epsilon": 0.05})
    assert said.startswith(
        "Breakout: 30.5 ± 28.8 over 2 whole games (epsilon 0.05, best.safetensors of step 1,000,000)"
    )
    normalized = float(re.search(r"human-normalized ([\d.]+)", said)[1])
    assert normalized == pytest.approx((30.5 - 1.7) / (30.5 - 1.7), abs=0.01)


# Videos


def frames_of(file):
    """The pictures of a video `[frames, H, W, 3]`, and how many are shown a second."""
    video = cv2.VideoCapture(str(file))
    frames = []
    while (picture := video.read())[0]:
        frames.append(picture[1])
    return np.array(frames), video.get(cv2.CAP_PROP_FPS)


def test_the_video_is_the_first_game_of_the_first_environment(run_dir, monkeypatch):
    save(run_dir, "model", chain_model(right=True))
    monkeypatch.setattr(saved_model, "make", lambda **options: Coloured(7, 9, obs_shape=(5,)))
    said = measure(run_dir=run_dir, **{**CALL, "video": True})
    file = run_dir / "videos" / "model-step-12000.mp4"
    assert said.splitlines()[1] == f"video of the first game: {file}"
    frames, fps = frames_of(file)
    assert frames.shape == (8, 210, 160, 3)  # the first row and seven steps
    assert fps == 15  # real time at 4 frames a step
    assert np.mean(frames, axis=(1, 2, 3)) == pytest.approx(20 * np.arange(8), abs=6)


def test_a_video_of_an_atari_game(tmp_path):
    network = {**NETWORK, "obs_shape": [4, 84, 84], "num_actions": 4, "hidden": [8]}
    emulator = {"noop_max": 0, "max_frames": 80, "fire_reset": True}
    save(tmp_path, "model", fold(make_network(network)), network=network, game="Breakout", env=None, emulator=emulator)
    said = measure(run_dir=tmp_path, **{**CALL, "episodes": 1, "video": True})
    assert said.startswith("Breakout: ")
    frames, _ = frames_of(next((tmp_path / "videos").iterdir()))
    assert frames.shape == (21, 210, 160, 3)
    assert np.ptp(frames[0]) > 100  # a picture, not a blank


def test_what_has_no_picture_is_refused(run_dir, monkeypatch):
    with pytest.raises(ValueError, match=r"no picture"):
        measure(run_dir=run_dir, **{**CALL, "video": True})
    monkeypatch.setattr(saved_model, "make", lambda **options: Clockwork(7, obs_shape=(5,)))
    with pytest.raises(ValueError, match=r"Clockwork has no picture"):
        measure(run_dir=run_dir, **{**CALL, "video": True})


def test_video_without_its_packages_is_refused_with_what_to_install(run_dir, monkeypatch):
    real = builtins.__import__

    def lacking(name, *args, **kwargs):
        if name.startswith("imageio"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(saved_model, "make", lambda **options: Coloured(7, obs_shape=(5,)))
    monkeypatch.setattr(builtins, "__import__", lacking)
    with pytest.raises(ValueError, match=r'pip install "wnrl\[video\]"'):
        measure(run_dir=run_dir, **{**CALL, "video": True})
    assert not (run_dir / "videos").exists()
