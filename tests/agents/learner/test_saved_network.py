import resource
from pathlib import Path

import pytest
import torch

from agents.learner import saved_network
from agents.learner.network import make_network
from agents.learner.saved_network import read_network
from tests.agents.training.chain_models import CHAIN, NETWORK, chain_model
from wnrl.checkpoints.tensor_files import CheckpointError, write_model
from wnrl.normalizers.folding import fold


def saved(path: Path, **network) -> Path:
    """A model with other words about its network than are true."""
    write_model(path / "model", chain_model(right=True).state_dict(), {**CHAIN, "network": {**NETWORK, **network}})
    return path / "model"


def test_the_network_comes_back(tmp_path):
    network, about = read_network(saved(tmp_path))
    assert about == CHAIN
    assert network(torch.eye(5)).q_values.argmax(1).tolist() == [1] * 5


@pytest.mark.parametrize("hidden", [[20_000, 20_000], [20_000] * 6, [2**30]])
def test_a_large_network_is_refused_before_it_takes_memory(tmp_path, hidden):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CheckpointError, match=r"describes a network of [\d,]+ numbers and has 50: it is damaged$"):
        read_network(saved(tmp_path, hidden=hidden))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB


def test_a_model_of_any_size_needs_trust(tmp_path, monkeypatch):
    monkeypatch.setattr(saved_network, "MOST_NUMBERS", 49)
    with pytest.raises(CheckpointError, match="has 50 numbers: add --trust"):
        read_network(saved(tmp_path))
    assert read_network(saved(tmp_path), trust=True)[1] == CHAIN


@pytest.mark.parametrize("norm", ["none", "weight", "batch", "mean-batch", "layer", "spectral", "projected"])
@pytest.mark.parametrize("kind", ["q", "actor-critic", "soft-actor-critic"])
def test_no_network_of_ours_is_too_large_for_its_file(tmp_path, kind, norm):
    description = {**NETWORK, "kind": kind, "norm": norm, "obs_shape": [4, 84, 84], "hidden": [64]}
    description["normalize_output"] = None
    write_model(tmp_path / "model", fold(make_network(description)).state_dict(), {"network": description})
    read_network(tmp_path / "model")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"kind": "evil"}, "describes no network of this version: KeyError"),
        ({"kind": ["q"]}, "describes no network of this version: TypeError"),
        ({"hidden": "many"}, "describes no network of this version: "),
        ({"hidden": [5]}, "the network that it describes is not the one of"),
        ({"hidden": [1] * 1_000_000}, "describes 1,000,000 layers and has 8 tensors"),
        ({"hidden": [-1]}, "describes no network of this version|describes a network"),
        ({"hidden": [float("nan")]}, "describes a network with nan"),
        ({"hidden": [2**62, 2**62]}, "describes a network with 4611686018427387904"),
        ({"architecture": {"torso": "impala", "blocks": 10**8}}, "describes 100,000,000 blocks and has 8 tensors"),
        ({"architecture": {"evil": 1}}, "describes no network of this version: TypeError"),
        ({"architecture": None}, "describes no network of this version: TypeError"),
        ({"obs_shape": None}, "describes no network of this version: TypeError"),
        ({"seed": 1, "num_actions": {}}, "describes no network of this version: TypeError"),
        ({"norm": "evil"}, "norm"),
        ({"own_torso": 5}, "describes no network of this version: AttributeError"),
        ({"own_torso": "python:Maze"}, "Maze is a network made in Python: give it"),
    ],
)
def test_what_describes_no_network_is_one_line(tmp_path, words, said):
    with pytest.raises(ValueError, match=said) as raised:
        read_network(saved(tmp_path, **words))
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 1_000
