"""The page on TensorBoard has every tag that runs write, and no other."""

import csv
import re

import pytest

import agents
from tests.metadata import ROOT

TEXT = (ROOT / "docs" / "how-to" / "tensorboard.md").read_text()
ROWS = re.findall(
    r"^\| ((?:`[a-z_]+/[\w/]+`(?:, )?)+) \| ([^|]+) \|", TEXT.partition("## Every tag")[2], flags=re.MULTILINE
)
DOCUMENTED = {tag: agents_ for tags, agents_ in ROWS for tag in re.findall(r"`([^`]+)`", tags)}
SHORT = {"log_interval": 100, "eval_interval": 100, "eval_episodes": 2, "device": "cpu", "hidden": (8,)}
REPLAY = {"learning_starts": 20, "replay_size": 200, "batch_size": 8}
RUNS = {
    "DQN": REPLAY,
    "SAC": REPLAY | {"norm": "batch"},
    "PQN": {"norm": "layer", "rollout_length": 16, "minibatches": 2},
    "PPO": {"rollout_length": 32},
    "A2C": {},
    "REINFORCE": {},
}
ATARI_ONLY = {"time/frames_per_second"}


def written_by(name, folder, **settings):
    """The tags of a short run; LAYER stands for the names of layers."""
    kind = getattr(agents, {"REINFORCE": "Reinforce"}.get(name, name))
    with kind(**{"num_envs": 2, **SHORT, **settings}) as agent:
        agent.learn(200, run_dir=folder)
    tags = next(csv.reader((folder / "progress.csv").read_text().splitlines()))
    return {re.sub(r"^weights/[\w.]+/", "weights/LAYER/", tag) for tag in tags if tag != "step"}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return {name: written_by(name, folder / name, env="Chain", **settings) for name, settings in RUNS.items()}


def test_every_tag_is_documented_and_written(written):
    assert set.union(*written.values()) == DOCUMENTED.keys() - ATARI_ONLY


def test_agents_that_are_named_write_them_and_no_others(written):
    for tag, named in DOCUMENTED.items():
        if not named.startswith("all"):
            assert {name for name, tags in written.items() if tag in tags} == set(named.split(", ")), tag
    everyone = {tag for tag, named in DOCUMENTED.items() if named == "all"}
    assert all(everyone <= tags for tags in written.values())


@pytest.mark.slow
def test_a_game_has_frames_too(tmp_path):
    tags = written_by("PPO", tmp_path / "run", game="Pong", eval_interval=0, rollout_length=16, num_envs=1)
    assert tags >= ATARI_ONLY
    assert tags <= DOCUMENTED.keys()
