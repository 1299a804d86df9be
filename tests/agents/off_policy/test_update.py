"""agents.off_policy.update: many updates in few launches, counted as if they were made one by one."""

import itertools

import numpy as np
import pytest
import torch
from torch.utils._pytree import tree_leaves

from agents.dqn.dqn import passes_join
from agents.learner.finite import NonFiniteError
from agents.learner.network import store_channels_last
from agents.learner.optimizers import load_optimizer
from agents.off_policy.update import LAUNCHES, PrioritizedSampler, ReplayUpdates, Sample, UniformSampler
from agents.runtime.cuda_graphs import Graphs
from agents.runtime.distributed import OneProcess
from agents.settings.flat import replace
from envs import Chain
from tests.agents import dqn_family
from tests.agents.compiled import compile_updates, parts, unique_graphs
from tests.agents.dqn_family import DISTRIBUTIONS, NOISY, trained
from tests.agents.environments import Pictured
from tests.agents.tape import tape
from tests.products import covering, mostly_slow
from wnrl import NORMALIZERS
from wnrl.networks import space_to_depth
from wnrl.replay.layout import ReplayLayout
from wnrl.replay.prioritized import PrioritizedReplay
from wnrl.replay.uniform import Replay
from wnrl.schedules import LinearSchedule

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
    return ReplayUpdates(agent.learner, agent.sampler, agent, agent.settings.replay.batch_size, graphs)


def learned(agent):
    return [parameter.detach().clone() for parameter in agent.network.parameters()]


LAUNCHED = {1: ["an update"], 3: ["2 updates", "an update"], 21: [*["8 updates"] * 2, "4 updates", "an update"]}


@pytest.mark.parametrize(("number", "changes"), covering(LAUNCHED, CHANGES))
def test_several_updates_in_a_launch_are_as_many_one_by_one(number, changes):
    together, one_by_one = (trained(Chain(2, length=4), 150, **changes).agent for _ in range(2))
    graphs = Noted()
    updates(together, graphs)(number, 150)
    for _ in range(number):
        one_by_one.update(150)
    assert graphs.launched == LAUNCHED[number]
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
    interval = agent.settings.replay.train_interval
    agent.update(1_050)  # halfway from the start of learning, at 100, to the end, at 2,000
    assert agent.sampler._beta.item() == pytest.approx(0.7)
    agent.update(1_050 + interval)  # whose rate is that of the step after the update before
    assert agent.learner.optimizer.param_groups[0]["lr"] == pytest.approx(3e-3 / 2)
    agent.update(2_000)
    assert agent.learner.optimizer.param_groups[0]["lr"] == pytest.approx(3e-3 * interval / 1_900)


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


# Compiled


def check_compiled(backend, number=3, prepare=lambda agent: None, environment=Chain, **changes):
    """As many updates compiled as eager, from the same state and the same random numbers."""
    eager, compiled = (trained(environment(2, length=4), 110, **changes).agent for _ in range(2))
    said = compile_updates(compiled, backend)
    for agent in (eager, compiled):
        if agent is compiled:
            prepare(agent)
        agent.metrics(110)  # the next update is measured
        for step in (112, 114):
            agent.update(step, number)
    assert "the loss" in parts(said)
    torch.testing.assert_close(learned(compiled), learned(eager), rtol=1e-4, atol=1e-5)
    assert compiled.metrics(114) == pytest.approx(eager.metrics(114), rel=1e-3, abs=1e-5)
    assert torch.equal(compiled._generator.get_state(), eager._generator.get_state())


COMPILED = [
    {"norm": "weight", "double": True, "prioritized": True},
    {"norm": "mean-batch", **DISTRIBUTIONS["implicit"]},
    {"norm": "weight", "distribution": "quantile", **NOISY},
]
MEMBERS = [*(one for one in CHANGES if one is not NOISY), {"double": True, "dueling": True}]
MORE_COMPILED = [{"norm": norm, **changes} for norm, changes in itertools.product(NORMALIZERS, MEMBERS)]


@pytest.mark.parametrize("changes", COMPILED)
def test_compiled_updates_are_the_eager_ones(changes):
    check_compiled("aot_eager", **changes)


@pytest.mark.slow
@pytest.mark.parametrize("changes", MORE_COMPILED, ids=lambda changes: "-".join(map(str, changes.values())))
def test_compiled_updates_are_the_eager_ones_whatever_is_learned(changes):
    check_compiled("aot_eager", **changes)


@pytest.mark.slow
@pytest.mark.parametrize("norm", NORMALIZERS)
def test_compiled_updates_from_images_as_on_cuda_are_the_eager_ones(norm, monkeypatch):
    """The first convolution over blocks of pixels, channels-last weights, and one pass of both observations."""
    rearranged, convolve = [], space_to_depth.space_to_depth_conv2d

    def noted(*arguments):
        rearranged.append(1)
        return convolve(*arguments)

    def as_on_cuda(agent):
        store_channels_last(agent.network)
        load_optimizer(agent.learner.optimizer, agent.learner.optimizer.state_dict())  # its moments in that order
        agent._joins = passes_join(agent.network)
        monkeypatch.setattr(space_to_depth, "DEVICES", ("cpu",))
        monkeypatch.setattr(space_to_depth, "space_to_depth_conv2d", noted)

    monkeypatch.setattr(dqn_family, "RUN", replace(dqn_family.RUN, precision="float32"))
    check_compiled("aot_eager", 1, as_on_cuda, Pictured, norm=norm, double=True, optimizer_eps=1e-2)
    assert rearranged


@pytest.mark.parametrize("norm", mostly_slow(["weight", "mean-batch", "spectral"], "mean-batch"))
def test_what_acting_has_kept_of_a_weight_is_not_what_compiled_updates_take(norm):
    """And it is not taken any more once they have changed the weight."""
    compiled, eager = (trained(Chain(2, length=4), 110, norm=norm, double=True).agent for _ in range(2))
    compile_updates(compiled)
    obs = torch.eye(4)[:3]
    for agent in (compiled, eager):
        agent.network.eval()
        with torch.no_grad():
            agent.network(obs)
        agent.network.train()
    kept = [spoil(layer) for layer in compiled.network.modules()]
    assert any(kept)
    compiled.update(112, 2)
    eager.update(112, 2)
    torch.testing.assert_close(learned(compiled), learned(eager), rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        outputs = [agent.network.eval()(obs).q_values for agent in (compiled, eager)]
    torch.testing.assert_close(*outputs, rtol=1e-4, atol=1e-5)


def spoil(layer):
    """Whether a layer has kept something of its weight; it is made wrong."""
    for factors in vars(layer).get("_factors", {}).values():
        factors.factor.fill_(1e6)
    kept = vars(layer).get("_kept")
    values = () if kept is None else tree_leaves(kept._last[2])
    for value in values:
        value.fill_(1e6)
    return bool(values) or "_factors" in vars(layer)


@pytest.mark.slow
@pytest.mark.parametrize("changes", COMPILED)
def test_updates_that_inductor_compiles_are_the_eager_ones(changes):
    check_compiled("inductor", **changes)


def test_nothing_is_compiled_again_after_the_first_updates():
    agent = trained(Chain(2, length=4), 110).agent
    compile_updates(agent)
    for _ in range(2):
        agent.update(112, 2)
    with torch._dynamo.config.patch(error_on_recompile=True):
        graphs = unique_graphs()
        for step in range(114, 134, 2):
            agent.update(step, 2)
            agent._refresh_acting()
        assert unique_graphs() == graphs


# Samplers

NUMBER = 8  # transitions, of rewards 0, 1, …


def filled(kind, **options):
    replay = kind(ReplayLayout(100, 1, (1,), torch.float32), **options)
    for step in range(NUMBER + 1):
        row = [np.array([value], np.float32) for value in (step, 1.0)]
        replay.add(np.full((1, 1), step, np.float32), np.zeros(1, int), row[0] - 1, row[1], np.array([step == 0]))
    return replay


def shares(sampler, batches=200):
    """How often each transition is drawn."""
    rewards = torch.cat([sampler.sample(40).transition.reward for _ in range(batches)]).long()
    return torch.bincount(rewards, minlength=NUMBER) / len(rewards)


def test_uniform_draws_have_neither_weights_nor_indices():
    sampler = UniformSampler(filled(Replay))
    sample = sampler.sample(5)
    assert sample.transition.obs.shape == (5, 1)
    assert (sample.weights, sample.indices) == (None, None)
    torch.testing.assert_close(shares(sampler), torch.full((NUMBER,), 1 / NUMBER), atol=0.02, rtol=0)
    sampler.update_priorities(sample, torch.arange(5.0))
    torch.testing.assert_close(shares(sampler), torch.full((NUMBER,), 1 / NUMBER), atol=0.02, rtol=0)


def test_what_there_is_more_to_learn_from_is_drawn_more_often_and_counts_less():
    sampler = PrioritizedSampler(filled(PrioritizedReplay, alpha=1.0), lambda step: 1.0)
    sampler.anneal(0)
    torch.testing.assert_close(shares(sampler), torch.full((NUMBER,), 1 / NUMBER), atol=0.02, rtol=0)
    sample = sampler.sample(400)
    sampler.update_priorities(sample, sample.transition.reward + 1)  # priorities 1, 2, … 8
    expected = torch.arange(1.0, NUMBER + 1) / 36
    torch.testing.assert_close(shares(sampler), expected, atol=0.02, rtol=0)
    sample = sampler.sample(400)
    torch.testing.assert_close(sample.weights, 1 / (sample.transition.reward + 1), rtol=1e-4, atol=0)


@pytest.mark.parametrize(("step", "beta"), [(0, 0.4), (100, 0.4), (150, 0.7), (200, 1.0), (999, 1.0)])
def test_the_correction_grows_with_the_steps(step, beta):
    sampler = PrioritizedSampler(filled(PrioritizedReplay, alpha=1.0), LinearSchedule(0.4, 1.0, 100, begin=100))
    sampler.anneal(0)
    sample = sampler.sample(400)
    sampler.update_priorities(sample, sample.transition.reward + 1)
    sampler.anneal(step)
    sample = sampler.sample(400)
    torch.testing.assert_close(sample.weights, (sample.transition.reward + 1) ** -beta, rtol=1e-4, atol=0)


class TwoRanks(OneProcess):
    """The first of two processes, whose other one has transitions of priority 0.25 and a total of 12."""

    world_size = 2

    def gather(self, tensor):
        return torch.stack((tensor, torch.tensor([0.25, 12.0, 9.0], dtype=tensor.dtype)))


def test_the_weights_are_those_of_all_processes():
    sampler = PrioritizedSampler(filled(PrioritizedReplay, alpha=1.0), lambda step: 1.0)
    sampler.anneal(0)
    torch.testing.assert_close(sampler.sample(40).weights, torch.ones(40))
    torch.testing.assert_close(sampler.sample(40, TwoRanks()).weights, torch.full((40,), 0.25 * 8 / 10))


def test_a_priority_that_is_not_finite_is_found():
    sampler, other = PrioritizedSampler(filled(PrioritizedReplay), lambda step: 1.0), UniformSampler(filled(Replay))
    sampler.anneal(0)
    sample = sampler.sample(4)
    with pytest.raises(NonFiniteError, match="errors must be finite"):
        sampler.update_priorities(sample, torch.tensor([1.0, 2.0, float("nan"), 1.0]))
    for each in (sampler, other):
        each.check()


def test_a_place_belongs_to_its_transition():
    sampler = PrioritizedSampler(filled(PrioritizedReplay, alpha=1.0), lambda step: 1.0)
    sampler.anneal(0)
    sample = sampler.sample(400)
    only = sample.transition.reward == 3
    sampler.update_priorities(Sample(sample.transition, sample.weights, sample.indices), only.float())
    assert shares(sampler)[3] > 0.999
