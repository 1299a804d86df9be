"""wnrl.sb3.ppo_recurrent: the policies of RecurrentPPO keep to the contract."""

import pytest
import torch
from sb3_contrib import RecurrentPPO
from sb3_contrib import ppo_recurrent as host

import wnrl.weight_norm.weight_norm_layer
from tests.wnrl.sb3.contract import ON_POLICY, PolicyContract
from wnrl.sb3 import ppo_recurrent as ours
from wnrl.weight_norm.recurrent import WeightNormLSTM


class TestRecurrentPPOPolicies(PolicyContract):
    algorithm, module = RecurrentPPO, "ppo_recurrent"
    keywords = {**ON_POLICY, "batch_size": 4, "n_epochs": 2}  # noqa: RUF012
    policies = ("MlpLstmPolicy", "CnnLstmPolicy", "MultiInputLstmPolicy")
    policy_keywords = {"net_arch": [16], "lstm_hidden_size": 8}  # noqa: RUF012
    stranger = "wnrl.sb3.ppo.MlpPolicy"


def sequences(begins):
    """Three sequences of five steps, one after the other, states before them, and where episodes begin."""
    torch.manual_seed(0)
    starts = torch.zeros(3, 5)
    starts[:, 0] = 1
    starts[1, begins] = 1
    return torch.randn(15, 4), (torch.randn(1, 3, 6), torch.randn(1, 3, 6)), starts.flatten()


@pytest.mark.parametrize("begins", [[], [2], [1, 2, 4]])
def test_effective_weights_are_computed_once_for_a_sequence(begins, monkeypatch):
    torch.manual_seed(0)
    module = wnrl.weight_norm.weight_norm_layer
    lstm, calls, formula = WeightNormLSTM(4, 6), [], module.effective_weight
    monkeypatch.setattr(module, "effective_weight", lambda *args, **keys: calls.append(args) or formula(*args, **keys))
    results = []
    for process, times in ((host.MlpLstmPolicy._process_sequence, 5), (ours.MlpLstmPolicy._process_sequence, 1)):
        calls.clear()
        outputs, states = process(*sequences(begins), lstm)
        assert len(calls) == times * 2
        sums = outputs.square().sum() + states[0].sum() + states[1].sum()
        results.append((outputs, states, torch.autograd.grad(sums, list(lstm.parameters()))))
    torch.testing.assert_close(*results)


@pytest.mark.parametrize("policy", ["MlpLstmPolicy", "CnnLstmPolicy", "MultiInputLstmPolicy"])
def test_every_policy_does_so(policy):
    assert getattr(ours, policy)._process_sequence is ours.NormalizedRecurrentPolicy._process_sequence
