"""agents.benchmarks.norm_costs: what is timed really trains, acts and counts bytes."""

import pytest
import torch

from agents.benchmarks import norm_costs
from agents.benchmarks.norm_costs import (
    acting_step,
    make_batch,
    norm_table,
    parameter_bytes,
    saved_bytes,
    training_step,
)
from wnrl.networks.q_network import q_network
from wnrl.normalizers.conversions import NORMALIZERS

CPU = torch.device("cpu")


@pytest.mark.parametrize("norm", NORMALIZERS)
def test_the_timed_step_learns(norm, monkeypatch):
    networks = []
    make = norm_costs._network
    monkeypatch.setattr(norm_costs, "_network", lambda *a: networks.append(make(*a)) or networks[-1])
    step = training_step(norm, make_batch(2, CPU), torch.float32, compile_loss=False)
    before = [p.detach().clone() for p in networks[0].parameters()]
    step()
    assert all(not torch.equal(old, new) for old, new in zip(before, networks[0].parameters(), strict=True))


def test_acting_is_without_gradients_and_folded(monkeypatch):
    seen = []
    monkeypatch.setattr(norm_costs, "_q_values", lambda network, obs, dtype: seen.append(network) or torch.zeros(1, 6))
    acting_step("weight", CPU, torch.float32)()
    plain = {type(module).__name__ for module in q_network((4, 84, 84), 6).modules()}
    assert {type(module).__name__ for module in seen[0].modules()} == plain


def test_weight_norm_adds_its_lengths_alone():
    sizes = {norm: parameter_bytes(q_network((4, 84, 84), 6, norm=norm)) for norm in ("none", "weight")}
    assert sizes["weight"] - sizes["none"] == 4 * (32 + 64 + 64 + 512 + 6)


def test_bytes_saved_for_the_backward_pass():
    batch = make_batch(2, CPU)
    saved = {norm: saved_bytes(norm, batch, torch.float32) for norm in ("none", "weight", "layer")}
    features = 4 * (4 * 84 * 84 + 32 * 20 * 20 + 64 * 9 * 9 + 64 * 7 * 7 + 512 + 6)
    assert 2 * features * 0.9 < saved["none"] < 2 * features * 1.2
    kernels, units = 4 * (32 * 4 * 64 + 64 * 32 * 16 + 64 * 64 * 9 + 6 * 512), 512 + 6
    assert 0 < saved["weight"] - saved["none"] < 1.02 * kernels + 4 * 6 * units  # w of convolutions and head, v·x
    assert saved["layer"] > 1.2 * saved["none"]


def test_table_has_units_and_ratios(monkeypatch):
    figures = norm_costs.norm_costs(
        ["none", "layer"], batch_size=2, rounds=1, times=1, device=CPU, dtype=torch.float32, compiled=[False]
    )
    assert list(figures) == ["step eager", "act", "act unfolded", "parameters", "saved for backward"]
    assert figures["parameters"]["none"] == {"median": 4.0 * 1_687_206, "ratio": 1.0}
    lines = norm_table(figures).splitlines()
    assert lines[0].split() == ["step", "eager", "(ms)", "median", "ratio"]
    assert lines[12].split() == ["parameters", "(MiB)", "median", "ratio"]
    assert lines[13].split() == ["none", "6.436", "1.000"]
