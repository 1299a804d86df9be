"""agents.learner.gradient_steps: a step is the learner's, captured or not."""

import pytest
import torch
from torch import nn

from agents.learner.gradient_steps import GradientSteps
from agents.learner.learner import Learner
from agents.settings.learner import LearnerSettings


class Launched:
    """Stands in for graphs: notes what is launched, and does it."""

    def __init__(self):
        self.names = []

    def capture_function(self, function, name):
        def launch(*arguments):
            self.names.append(name)
            return function(*arguments)

        return launch


def learner():
    network = nn.Sequential(nn.Linear(3, 1))
    with torch.no_grad():
        network[0].weight.fill_(0.5)
        network[0].bias.zero_()
    settings = LearnerSettings(learning_rate=0.1, max_grad_norm=0.0)
    return Learner(network, settings, learning_rate=lambda step: 0.1, outputs=lambda network, obs: network(obs))


def error(made):
    def loss(x, y):
        squares = (made.network(x)[:, 0] - y).square()
        return squares.mean(), {"train/largest": squares.max()}

    return loss


BATCH = torch.ones(4, 3), torch.zeros(4)


@pytest.mark.parametrize("graphs", [None, Launched()])
def test_a_step_is_that_of_the_learner(graphs):
    stepped, truth = learner(), learner()
    step = GradientSteps(stepped, error(stepped), graphs)
    for _ in range(3):
        step(*BATCH)
        truth.minimize(*error(truth)(*BATCH))
    assert torch.equal(stepped.network[0].weight, truth.network[0].weight)
    assert not torch.equal(stepped.network[0].weight, learner().network[0].weight)
    assert stepped.num_updates == 3
    generator = torch.Generator()
    assert (
        stepped.metrics(0, None, generator)["train/largest"] == truth.metrics(0, None, generator)["train/largest"] > 0
    )


def test_a_step_that_the_diagnostics_look_at_is_not_launched():
    made, graphs = learner(), Launched()
    step = GradientSteps(made, error(made), graphs)
    launched = []
    for number in range(6):
        if number == 3:
            made.metrics(0, torch.ones(4, 3), torch.Generator())  # it looks at the first step after each reading
        step(*BATCH)
        launched.append(len(graphs.names))
    assert launched == [0, 1, 2, 2, 3, 4]
    assert set(graphs.names) == {"a gradient step"}
