from types import SimpleNamespace

import numpy as np
import pytest
import torch

from agents.learner.network import make_network
from agents.watching.action_values import action_values
from tests.agents.training.chain_models import NETWORK
from wnrl.networks.actor_critic import ActorCriticValues
from wnrl.networks.policy_heads import CategoricalPolicy, GaussianPolicy

OBS = torch.eye(5)[[2, 0]]


@pytest.mark.parametrize("distribution", ["none", "categorical", "quantile", "implicit"])
def test_values_are_those_of_the_first_row_and_means_of_distributions(distribution):
    network = make_network({**NETWORK, "architecture": {"distribution": distribution}})
    with torch.no_grad():
        outputs = network(OBS)
    means = {
        "none": lambda: outputs.q_values[0],
        "categorical": lambda: (outputs.logits[0].softmax(-1) * torch.linspace(-10, 10, 51)).sum(-1),
        "quantile": lambda: outputs.quantiles[0].mean(-1),
        "implicit": lambda: outputs.quantiles[0].mean(-1),
    }
    values = action_values(outputs)
    assert values.title == "Q values"
    assert values.numbers == pytest.approx(means[distribution]().numpy(), abs=1e-5)
    assert values.numbers != pytest.approx(outputs.q_values[1].numpy(), abs=1e-5)
    assert np.isnan(values.low)


@pytest.mark.parametrize("kind", ["actor-critic", "soft-actor-critic"])
def test_probabilities_of_a_policy(kind):
    network = make_network({**NETWORK, "kind": kind})
    with torch.no_grad():
        outputs = network(OBS)
    values = action_values(outputs)
    assert (values.title, values.low, values.high) == ("probabilities", 0, 1)
    assert values.numbers == pytest.approx(outputs.policy.logits[0].softmax(-1).numpy())
    assert values.numbers.sum() == pytest.approx(1)
    assert (action_values(outputs.policy).numbers == values.numbers).all()


def test_means_of_continuous_actions():
    policy = GaussianPolicy(torch.tensor([[0.5, -2.0], [0.0, 0.0]]), torch.zeros(2))
    values = action_values(ActorCriticValues(policy, torch.zeros(2)))
    assert values.title == "means of the action"
    assert values.numbers.tolist() == [0.5, -2.0]


def test_narrow_numbers():
    logits = torch.tensor([[0.0, 0.0]], dtype=torch.bfloat16)
    assert action_values(CategoricalPolicy(logits)).numbers.tolist() == [0.5, 0.5]


def test_other_outputs_are_refused():
    with pytest.raises(TypeError, match="q_values or a policy, got SimpleNamespace"):
        action_values(SimpleNamespace(values=1))
