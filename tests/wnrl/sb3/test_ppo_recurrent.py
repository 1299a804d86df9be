"""wnrl.sb3.ppo_recurrent: the policies of RecurrentPPO keep to the contract."""

import pytest
import torch
from gymnasium import spaces
from sb3_contrib import RecurrentPPO
from sb3_contrib import ppo_recurrent as host
from sb3_contrib.common.recurrent.type_aliases import RNNStates

import wnrl.weight_norm.weight_norm_layer
from tests.products import covering
from tests.wnrl.sb3.contract import ON_POLICY, PolicyContract
from wnrl.normalizers.batch_statistics import batch_norms
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


LENGTHS = torch.tensor([5, 2, 1])  # of sequences that the host fills up to the longest
PLAYED = (torch.arange(5) < LENGTHS[:, None]).flatten()


def policy_of(norm, action_space, observation_space=None):
    torch.manual_seed(0)
    observation_space = spaces.Box(-9, 9, (3,)) if observation_space is None else observation_space
    return ours.MlpLstmPolicy(
        observation_space, action_space, lambda _: 0.01, net_arch=[8], lstm_hidden_size=6, norm=norm
    )


def filled(actions, obs=None):
    """Arguments of `evaluate_actions` with zeros in the steps that were not played."""
    torch.manual_seed(1)
    obs = torch.randn(15, 3) * 2 + 1 if obs is None else obs
    states, starts = [(torch.zeros(1, 3, 6), torch.zeros(1, 3, 6))] * 2, torch.zeros(15)
    starts[::5] = 1
    obs, actions = (x * PLAYED.view(-1, *[1] * (x.ndim - 1)) for x in (obs, actions))
    return obs, actions, RNNStates(*states), starts


@pytest.mark.parametrize(("norm", "kind"), covering(["batch", "mean-batch"], ["Discrete", "Box"]))
def test_statistics_are_those_of_the_steps_that_were_played(norm, kind):
    discrete = kind == "Discrete"
    policy = policy_of(norm, spaces.Discrete(3) if discrete else spaces.Box(-1, 1, (2,)))
    arguments = filled(torch.ones(15).long() if discrete else torch.ones(15, 2))
    means = {}
    for layer in batch_norms(policy):
        layer.register_forward_pre_hook(lambda one, inputs: means.update({one: inputs[0][PLAYED].mean(0)}))
    policy.set_training_mode(True)
    policy._measures_ratios = False
    policy.evaluate_actions(*arguments)
    assert len(means) == len(batch_norms(policy)) > 1
    for layer, mean in means.items():
        torch.testing.assert_close(layer.running_mean, 0.1 * mean)
        assert layer.counted is None


def test_zeros_that_were_played_count_where_the_host_fills_nothing():
    policy = policy_of("batch", spaces.Discrete(3))
    obs, actions, states, starts = filled(torch.ones(15).long())
    obs[1:3], actions[1:3] = 0, 0  # within a sequence
    assert torch.equal(policy._counted(obs, actions, states, starts), PLAYED)
    assert policy._counted(torch.zeros(15, 3), torch.zeros(15).long(), states, starts).all()
    single = RNNStates(*[(torch.zeros(1, 15, 6), torch.zeros(1, 15, 6))] * 2)  # sequences of one step
    assert policy._counted(obs, actions, single, torch.ones(15)).all()


def test_images_of_zeros_are_found():
    policy = policy_of("batch", spaces.Discrete(3))
    images = torch.randint(1, 255, (15, 1, 4, 4), dtype=torch.uint8)
    arguments = filled(torch.zeros(15).long(), images)
    assert torch.equal(policy._counted(*arguments), PLAYED)
