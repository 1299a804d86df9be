"""Saved models whose play on the chain is known beforehand."""

import torch

from agents.learner.network import make_network
from wnrl.checkpoints.tensor_files import write_model
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


def chain_model(right):
    """A network that always goes right, or always left."""
    network = fold(make_network(NETWORK))
    with torch.no_grad():
        network.head.weight.zero_()
        network.head.bias.copy_(torch.tensor([-1.0, 1.0] if right else [1.0, -1.0]))
    return network


def actor_model():
    """A policy that is as likely to go left as right, and says right where it is asked for one action."""
    description = {**NETWORK, "kind": "actor-critic"}
    network = fold(make_network(description))
    with torch.no_grad():
        network.policy.layer.weight.zero_()
        network.policy.layer.bias.copy_(torch.tensor([0.0, 1e-4]))
    return description, network


def save(path, name, model, /, **changes):
    """Write the model into a run's folder; `changes` are to its description."""
    path.mkdir(exist_ok=True)
    (path / "config.json").write_text("{}")
    write_model(path / name, model.state_dict(), {**CHAIN, **changes})
