import pytest
import torch

from agents.learner.network import make_network
from agents.learner.trained_network import differences, take_over
from wnrl.checkpoints.tensor_files import write_model
from wnrl.normalizers.folding import fold

NETWORK = {
    "kind": "q",
    "obs_shape": [5],
    "num_actions": 3,
    "hidden": [8],
    "architecture": {"torso": "mlp", "activation": "relu"},
    "norm": "weight",
    "norm_layers": "auto",
    "units": "sqrt",
    "normalize_output": None,
}
OBS = torch.randn(7, 5, generator=torch.Generator().manual_seed(1))


def values(network):
    network.eval()
    with torch.no_grad():
        return network(OBS).q_values


def save(path, **changes):
    """The model of a run with such a network, and the values that it gives."""
    path.mkdir()
    network = make_network({**NETWORK, **changes}, seed=1)
    write_model(path / "model", fold(network).state_dict(), {"network": {**NETWORK, **changes}})
    return values(network)


@pytest.mark.parametrize("norm", ["none", "weight", "projected", "spectral", "mean-batch"])
@pytest.mark.parametrize("units", ["sqrt", "paper"])
def test_a_folded_model_becomes_a_network_with_any_normalizer_that_folds(tmp_path, norm, units):
    expected = save(tmp_path / "run")
    description = {**NETWORK, "norm": norm, "units": units}
    network = make_network(description, seed=2)
    assert not torch.allclose(values(network), expected)
    take_over(network, description, tmp_path / "run")
    if norm not in ("projected", "spectral"):  # whose weights have a norm of their own
        torch.testing.assert_close(values(network), expected)


def test_layer_norm_stays_layer_norm(tmp_path):
    expected = save(tmp_path / "run", norm="layer")
    description = {**NETWORK, "norm": "layer"}
    network = make_network(description, seed=2)
    take_over(network, description, tmp_path / "run")
    torch.testing.assert_close(values(network), expected)
    with pytest.raises(ValueError, match=r"keeps layers of its normalizer: norm layer cannot become norm weight$"):
        take_over(make_network(NETWORK), NETWORK, tmp_path / "run")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"hidden": [8, 4]}, "hidden 8, here 8 4"),
        ({"num_actions": 2}, "num_actions 3, here 2"),
        ({"architecture": {"torso": "mlp", "activation": "tanh"}}, "activation relu, here tanh"),
    ],
)
def test_another_network_is_refused_with_the_difference(tmp_path, changes, said):
    save(tmp_path / "run")
    description = {**NETWORK, **changes}
    network = make_network(description)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(ValueError, match=rf"^init_from: the network of .*run is another one: {said}$"):
        take_over(network, description, tmp_path / "run")
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_what_differs_is_named_and_the_normalizer_may():
    other = {**NETWORK, "norm": "none", "units": "paper", "normalize_output": True, "architecture": {"torso": "nature"}}
    assert list(differences(NETWORK, other)) == ["torso mlp, here nature"]
    assert list(differences(NETWORK, NETWORK)) == []


def test_a_run_without_a_model_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"init_from: .*nowhere has no model.safetensors to begin with"):
        take_over(make_network(NETWORK), NETWORK, tmp_path / "nowhere")
