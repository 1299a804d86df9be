"""agents.off_policy.update: many updates in few launches, counted as if they were made one by one."""

import pytest
import torch

from agents.off_policy.update import LAUNCHES, ReplayUpdates
from agents.runtime.cuda_graphs import Graphs
from envs import Chain
from tests.agents.dqn_family import DISTRIBUTIONS, NOISY, trained
from tests.agents.tape import tape

CHANGES = [{"distribution": kind, **DISTRIBUTIONS[kind]} for kind in ("none", "categorical", "quantile", "implicit")]
CHANGES += [{"double": True, "prioritized": True}, {"munchausen": True}, NOISY, {"loss_reduction": "sum"}]


class Noted(Graphs):
    """Captures nothing, and notes what is launched."""

    def __init__(self):
        super().__init__(torch.device("cpu"), ())
        self.enabled, self.launched = True, []

    def capture(self, work, name):
        return lambda: (self.launched.append(name), work())


def updates(agent, graphs):
    parts = agent.learner, agent.sampler, agent._foresee, agent._losses
    return ReplayUpdates(*parts, agent.settings.batch_size, graphs)


def learned(agent):
    return [parameter.detach().clone() for parameter in agent.network.parameters()]


@pytest.mark.parametrize(
    ("number", "launched"),
    [(1, ["an update"]), (3, ["2 updates", "an update"]), (21, ["8 updates", "8 updates", "4 updates", "an update"])],
)
@pytest.mark.parametrize("changes", CHANGES)
def test_several_updates_in_a_launch_are_as_many_one_by_one(number, launched, changes):
    together, one_by_one = (trained(Chain(2, length=4), 150, **changes).agent for _ in range(2))
    graphs = Noted()
    updates(together, graphs)(number, 150)
    for _ in range(number):
        one_by_one.update(150)
    assert graphs.launched == launched
    assert together.learner.num_updates == one_by_one.learner.num_updates
    torch.testing.assert_close(learned(together), learned(one_by_one))
    assert together.metrics(150) == pytest.approx(one_by_one.metrics(150), rel=1e-4)


def test_what_the_diagnostics_look_at_is_not_launched_with_others():
    agent, graphs = trained(Chain(2, length=4), 150).agent, Noted()
    several = updates(agent, graphs)
    agent.metrics(150)  # the next update is looked at
    several(6, 150)
    assert graphs.launched == ["4 updates", "an update"]
    assert any(tag.endswith("/angle") for tag in agent.metrics(150))


def test_any_number_is_a_sum_of_launches():
    assert LAUNCHES[-1] == 1
    assert list(LAUNCHES) == sorted(LAUNCHES, reverse=True)


def test_the_step_size_and_the_weights_are_those_of_the_step():
    agent = trained(Chain(2, length=4), 150, prioritized=True, learning_rate_schedule="linear").agent
    agent.update(1_050)  # halfway from the start of learning, at 100, to the end, at 2,000
    assert agent.learner.optimizer.param_groups[0]["lr"] == pytest.approx(3e-3 / 2)
    assert agent.sampler._beta.item() == pytest.approx(0.7)


def test_a_tape_tells_what_a_graph_could_not_repeat():
    """The measure of the contract's test can fail: each of these works is one that no graph repeats."""
    x, numbers, tensors = torch.ones(3), iter((1.0, 2.0)), iter((torch.ones(3), torch.ones(3)))
    for work in (lambda: x.mul(next(numbers)), lambda: x.mul(next(tensors))):
        assert tape(work).lines != tape(work).lines
    assert tape(lambda: x.mul(2.0)).lines == tape(lambda: x.mul(2.0)).lines
    assert tape(lambda: x.sum().item()).waits == ["_local_scalar_dense"]
    assert tape(lambda: x[x > 0]).waits == ["index"]
    assert tape(lambda: x + torch.tensor(3.0)).waits == ["lift_fresh"]
    assert tape(lambda: x * 2).waits == []


def test_what_the_target_says_is_computed_once_for_all_batches_of_a_launch():
    agent = trained(Chain(2, length=4), 150).agent
    seen = []
    agent.target.register_forward_hook(lambda module, inputs, output: seen.append(len(inputs[0])))
    updates(agent, Noted())(4, 150)
    assert seen == [4 * 16]
    agent.update(150)
    assert seen == [4 * 16, 16]
