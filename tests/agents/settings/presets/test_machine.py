"""agents.settings.presets.machine: defaults that depend on the machine."""

import subprocess
import sys

import pytest

from agents import DQN
from agents.commands.parser import parse
from agents.registry import AGENTS
from agents.settings.presets import machine
from agents.settings.presets.machine import games_beside_a_gpu


@pytest.fixture
def beside_a_gpu(monkeypatch):
    monkeypatch.setattr(machine, "has_gpu", lambda: True)


@pytest.mark.parametrize(
    ("cores", "games"), [(1, 8), (2, 8), (3, 8), (4, 16), (6, 24), (8, 32), (16, 64), (17, 64), (128, 64)]
)
def test_games_by_cores(cores, games, beside_a_gpu, monkeypatch):
    monkeypatch.setattr("envs.atari.usable_cores", lambda: cores)
    assert games_beside_a_gpu({}) == games_beside_a_gpu({"device": "cuda:0"}) == {"num_envs": games}
    assert games_beside_a_gpu({"device": "cpu"}) == games_beside_a_gpu({"device": "cpu:0"}) == {}


@pytest.mark.parametrize(
    ("flags", "games"),
    [
        (["--game", "Pong"], 64),
        (["--game", "Pong", "--num-envs", "4"], 4),
        (["--game", "Pong", "--device", "cpu"], 8),
        (["--game", "Pong", "--preset", "nature"], 1),
        (["--game", "Pong", "--distribution", "quantile"], 64),
        (["--env", "CartPole-v1"], 4),
    ],
)
def test_preset_fast_plays_as_many_games_as_the_machine_can(flags, games, beside_a_gpu, monkeypatch):
    monkeypatch.setattr("envs.atari.usable_cores", lambda: 16)
    assert parse(AGENTS["dqn"], "", flags).run.num_envs == games


def test_without_a_gpu_it_plays_8():
    assert parse(AGENTS["dqn"], "", ["--game", "Pong", "--device", "cpu"]).run.num_envs == 8


def test_torch_is_not_imported_where_there_is_no_driver():
    code = (
        "from agents.settings.presets import machine; machine.which = lambda name: None; "
        "machine.os.path.exists = lambda path: False; import sys; print(machine.has_gpu(), 'torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.split() == ["False"] * 2


def test_images_of_other_environments_are_no_games(beside_a_gpu):
    assert AGENTS["dqn"].defaults({"env": "CarRacing-v3"}, observation="image").run.num_envs == 8


def test_the_same_in_python(beside_a_gpu, monkeypatch):
    monkeypatch.setattr("envs.atari.usable_cores", lambda: 16)
    assert DQN(game="Pong").settings.run.num_envs == 64
    assert DQN(game="Pong", device="cpu").settings.run.num_envs == 8
