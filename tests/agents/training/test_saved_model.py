import numpy as np
import pytest
import torch

from agents.training import saved_model
from agents.training.saved_model import SavedModel, read_saved_model
from envs import Chain
from tests.agents.training.chain_models import NETWORK, chain_model, save

CPU = torch.device("cpu")


@pytest.mark.parametrize(("wanted", "there", "taken"), [
    ("last", ["best", "model"], "model"), ("last", ["model"], "model"), ("best", ["best", "model"], "best"),
    ("best", ["best"], "best"),
])  # fmt: skip
def test_which_model_is_taken(tmp_path, wanted, there, taken):
    for name in there:
        save(tmp_path, name, chain_model(right=name == taken))
    model = read_saved_model(tmp_path, wanted, CPU)
    assert model.name == taken
    assert model.network(torch.eye(5)).q_values.argmax(1).tolist() == [1] * 5


def test_the_network_is_the_one_that_was_saved_and_in_evaluation_mode(tmp_path):
    network = chain_model(right=True)
    save(tmp_path, "model", network, step=7)
    model = read_saved_model(tmp_path, "last", CPU)
    assert not model.network.training
    assert (model.description["step"], model.description["network"]) == (7, NETWORK)
    obs = torch.rand(3, 5)
    assert torch.equal(model.network(obs).q_values, network.eval()(obs).q_values)


@pytest.mark.parametrize(("model", "file", "other"), [("best", "best", "last"), ("last", "model", "best")])
def test_a_model_that_is_not_there_is_refused_and_the_other_one_named(tmp_path, model, file, other):
    with pytest.raises(ValueError, match=rf"has no {file}.safetensors yet: train it longer$"):
        read_saved_model(tmp_path, model, CPU)
    save(tmp_path, {"last": "model", "best": "best"}[other], chain_model(right=True))
    with pytest.raises(ValueError, match=rf"has no {file}.safetensors yet: train it longer, or --model {other}$"):
        read_saved_model(tmp_path, model, CPU)


def test_evaluations_are_counted_in_the_table_of_the_run(tmp_path):
    save(tmp_path, "best", chain_model(right=True))
    assert read_saved_model(tmp_path, "best", CPU).evaluations == 0  # no table
    (tmp_path / "progress.csv").write_text("step,train/loss\n10,0.5\n")
    assert read_saved_model(tmp_path, "best", CPU).evaluations == 0  # no evaluation
    (tmp_path / "progress.csv").write_text("step,eval/mean_reward,a\n10,,1\n20,0.0,1\n25,3.0,\n30,nan,2\n40,,2\n")
    assert read_saved_model(tmp_path, "best", CPU).evaluations == 3


def test_a_damaged_model_is_refused(tmp_path):
    save(tmp_path, "model", chain_model(right=True))
    file = tmp_path / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(ValueError, match="damaged"):
        read_saved_model(tmp_path, "last", CPU)


def test_its_games_are_those_that_it_was_trained_on(tmp_path, monkeypatch):
    save(tmp_path, "model", chain_model(right=True))
    environment = read_saved_model(tmp_path, "last", CPU).make_environment(3)
    assert isinstance(environment, Chain)
    assert environment.reset(0).obs.shape == (3, *NETWORK["obs_shape"])
    assert np.isin(environment.reset(0).obs, [0, 1]).all()
    monkeypatch.setattr(saved_model, "make", lambda **options: options)
    about = {"game": "Breakout", "env": None, "emulator": {"noop_max": 7, "sticky_actions": 0.25}}
    assert SavedModel(None, about, "best").make_environment(2, render_mode="rgb_array") == {
        "game": "Breakout",
        "env": None,
        "num_envs": 2,
        "noop_max": 7,
        "sticky_actions": 0.25,
        "render_mode": "rgb_array",
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"game": 5},
        {"env": None},
        {"game": "Breakout"},
        {"emulator": None},
        {"emulator": {"num_threads": 10**6}},
        {"emulator": {"num_envs": 10**6}},
        {"emulator": {"stack": 10**9}},
        {"emulator": {"frame_skip": "x"}},
        {"emulator": {"resize": [10**6, 10**6]}},
        {"emulator": {"env_kwargs": {"render_mode": "human"}}},
        {"step": "../../evil"},
        {"step": -1},
        {"step": None},
        {"step": 10**30},
        {"play": {"epsilon": 2}},
        {"play": {"epsilon": float("nan")}},
        {"play": {"device": "cuda"}},
        {"play": None},
        {"protocol": "evil"},
        {"mean_reward": "high"},
    ],
)
def test_what_describes_no_task_is_one_line(tmp_path, changes):
    save(tmp_path, "model", chain_model(right=True), **changes)
    with pytest.raises(ValueError, match="model describes no task of this version: ") as raised:
        read_saved_model(tmp_path, "last", CPU)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 1_000


def test_a_module_that_a_model_names_is_imported_only_if_it_is_trusted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil_module.py").write_text("import pathlib\npathlib.Path('ran').touch()\n")
    save(tmp_path / "run", "model", chain_model(right=True), env="evil_module:X-v0")
    with pytest.raises(ValueError, match=r"learned in evil_module:X-v0, .* add --trust"):
        read_saved_model(tmp_path / "run", "last", CPU)
    assert not (tmp_path / "ran").exists()
    model = read_saved_model(tmp_path / "run", "last", CPU, trust=True)
    with pytest.raises(ValueError, match="evil_module:X-v0"):
        model.make_environment(1)  # it registers no such id
    assert (tmp_path / "ran").exists()


def test_an_environment_that_the_network_is_not_for_is_refused(tmp_path):
    save(tmp_path, "model", chain_model(right=True), env="CartPole-v1")
    model = read_saved_model(tmp_path, "last", CPU)
    with pytest.raises(ValueError, match=r"from observations \[5\] and 2 actions, its environment has \[4\] and 2 now"):
        model.make_environment(1)
