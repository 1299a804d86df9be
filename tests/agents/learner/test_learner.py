import copy
from collections import Counter
from typing import get_args

import numpy as np
import pytest
import torch
from torch import nn

from agents.learner.learner import GradientSteps, Learner, on_host
from agents.learner.network import make_network, store_channels_last
from agents.learner.optimizers import make_optimizer
from agents.runtime.compiling import Compiler
from agents.settings.learner import LearnerSettings, OptimizerName
from tests.agents.contract import differences
from tests.products import mostly_slow
from wnrl import normalize
from wnrl.checkpoints.tensor_files import read_checkpoint, write_checkpoint
from wnrl.normalizers.conversions import NORMALIZERS
from wnrl.normalizers.folding import fold
from wnrl.schedules import LinearSchedule

OBS = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
SETTINGS = LearnerSettings(learning_rate=0.1, max_grad_norm=0.0)


def make(norm="none", learning_rate=lambda step: 0.1, seed=0, **changes):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = normalize(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), norm)
    settings = LearnerSettings(**{"learning_rate": 0.1, "max_grad_norm": 0.0, **changes})
    return Learner(network, settings, learning_rate=learning_rate, outputs=lambda net, obs: net(obs))


def loss_of(learner, scale=1.0, rows=slice(None)):
    return scale * learner.network(OBS[rows]).square().mean()


def step_of(learner):
    return [parameter.detach().clone() for parameter in learner.network.parameters()]


def test_a_gradient_step_is_the_optimizers():
    learner = make()
    twin = copy.deepcopy(learner.network)
    optimizer = torch.optim.Adam(twin.parameters(), lr=0.1)
    for _ in range(3):
        learner.update(loss_of(learner), {})
        optimizer.zero_grad()
        twin(OBS).square().mean().backward()
        optimizer.step()
    torch.testing.assert_close(list(learner.network.parameters()), list(twin.parameters()))
    assert learner.num_updates == 3


def test_a_sum_in_parts_is_one_step_on_the_whole():
    whole, parts = (make(optimizer_eps=0.1) for _ in range(2))
    whole.update(loss_of(whole), {"a": torch.tensor(3.0)})
    chunks = [(loss_of(parts, 0.5, rows), {"a": torch.tensor(1.5)}) for rows in (slice(0, 3), slice(3, 6))]
    parts.update_sum(iter(chunks))
    torch.testing.assert_close(step_of(whole), step_of(parts))
    assert parts.num_updates == 1
    read = [learner.metrics(0, None, torch.Generator()) for learner in (whole, parts)]
    assert read[0]["a"] == pytest.approx(read[1]["a"]) == 3
    assert read[0]["train/loss"] == pytest.approx(read[1]["train/loss"])


@pytest.mark.parametrize(("limit", "clipped"), [(0.5, True), (0.0, False), (1e9, False)])
def test_gradients_are_limited_to_their_norm(limit, clipped):
    learner, free = make(max_grad_norm=limit), make()
    for each in (learner, free):
        each.update(loss_of(each, 100.0), {})
    norms = [torch.stack([p.grad.norm() for p in each.network.parameters()]).norm().item() for each in (learner, free)]
    assert norms[0] == pytest.approx(limit if clipped else norms[1], rel=1e-3)
    shown = [each.metrics(0, None, torch.Generator())["train/grad_norm"] for each in (learner, free)]
    assert shown == pytest.approx([norms[1]] * 2, rel=1e-4)  # before they are limited


@pytest.mark.parametrize(("limit", "share"), [(0.0, 1.0), (10.0, 10.0 / (1e19 * 512**0.5)), (1e22, 1.0)])
def test_a_gradient_whose_squares_overflow_is_limited_as_any_other(limit, share):
    """Adam's first step is one step size for each entry, whatever the gradient's length."""
    network = nn.Linear(64, 8)
    settings = LearnerSettings(learning_rate=1e-3, max_grad_norm=limit)
    learner = Learner(network, settings, learning_rate=lambda step: 1e-3, outputs=lambda net, obs: net(obs))
    before = network.weight.detach().clone()
    learner.update((network.weight * 1e19).sum(), {})
    torch.testing.assert_close(network.weight.grad, torch.full((8, 64), share * 1e19), rtol=1e-5, atol=0)
    torch.testing.assert_close(before - network.weight.detach(), torch.full((8, 64), 1e-3), rtol=1e-3, atol=0)
    shown = learner.metrics(0, None, torch.Generator())["train/grad_norm"]
    assert shown == pytest.approx(1e19 * 512**0.5, rel=1e-5)


def test_the_step_size_follows_the_environments_steps():
    learner = make(learning_rate=LinearSchedule(0.1, 0.0, 100))
    learner.anneal(75)
    assert learner.optimizer.param_groups[0]["lr"] == pytest.approx(0.025)
    assert learner.metrics(50, None, torch.Generator())["train/learning_rate"] == pytest.approx(0.05)
    before = step_of(learner)
    learner.anneal(100)
    learner.update(loss_of(learner), {})
    assert differences(before, step_of(learner)) == []


def test_projected_weights_are_projected_after_each_step():
    learner = make("projected")
    learner.update(loss_of(learner), {})
    torch.testing.assert_close(learner.network[0].weight.norm(dim=1), torch.ones(4))


def test_figures_are_means_since_the_last_reading():
    learner = make()
    for value in (1.0, 2.0):
        learner.update(loss_of(learner), {"a": torch.tensor(value)})
    figures = learner.metrics(0, OBS, torch.Generator().manual_seed(0))
    assert (figures["a"], figures["train/n_updates"]) == (1.5, 2)
    assert {"train/loss", "train/grad_norm", "weights/fc1/w_norm", "weights/fc2/angle"} <= figures.keys()
    assert all(type(value) in (int, float) and np.isfinite(value) for value in figures.values())
    assert "a" not in learner.metrics(0, None, torch.Generator())


def test_what_cannot_be_measured_stops_no_learner():
    learner = make()
    for _ in range(2):
        learner.update(loss_of(learner), {})
        figures = learner.metrics(0, torch.full_like(OBS, torch.nan), torch.Generator().manual_seed(0))
    assert np.isnan([figures["diagnostics/dormant_ratio"], figures["diagnostics/policy_churn"]]).all()
    assert np.isfinite([figures["train/loss"], figures["diagnostics/weight_change"]]).all()


@pytest.mark.parametrize("norm", NORMALIZERS)
def test_a_learner_whose_figures_are_read_learns_the_same(norm):
    read, unread = make(norm), make(norm)
    for _ in range(3):
        for learner in (read, unread):
            learner.update(loss_of(learner), {})
        figures = read.metrics(0, OBS, torch.Generator().manual_seed(0))
    assert {"diagnostics/weight_change", "diagnostics/policy_churn", "diagnostics/dormant_ratio"} <= figures.keys()
    for part in ("network", "optimizer"):  # statistics of batch normalization are in the first
        assert differences(read.get_state()[part], unread.get_state()[part]) == []


@pytest.mark.parametrize("examples", [None, 4])
def test_the_layers_are_measured_on_as_many_observations_as_are_asked_for(examples):
    truth, learner = make("batch"), make("batch")
    seeds = [torch.Generator().manual_seed(0) for _ in range(2)]
    shown = learner.metrics(0, OBS, seeds[0], examples=examples)
    noise = truth.metrics(0, OBS[:examples], seeds[1])["weights/minibatch_noise"]
    assert shown["weights/minibatch_noise"] == noise > 0


def test_figures_and_a_matrix_come_to_the_host_together():
    matrix = torch.arange(4.0, dtype=torch.float64).view(2, 2)
    figures, same = on_host([torch.tensor(1.5), torch.tensor(True)], matrix)
    assert (figures, same.tolist()) == ([1.5, 1.0], [[0.0, 1.0], [2.0, 3.0]])
    assert on_host([torch.tensor(2.0)], None) == ([2.0], None)


OF_VERSION_0_1 = {  # names and order of the first layer's parameters and buffers, by normalizer
    "weight": (["0.g", "0.v", "0.bias"], []),
    "mean-batch": (["0.layer.g", "0.layer.v", "0.norm.bias"], ["0.norm.running_mean"]),
    "batch": (["0.layer.weight", "0.norm.weight", "0.norm.bias"], ["0.norm.running_mean", "0.norm.running_var"]),
    "layer": (["0.layer.weight", "0.layer.bias", "0.norm.weight", "0.norm.bias"], []),
    "projected": (["0.layer.weight", "0.layer.bias"], []),
    "spectral": (["0.layer.weight", "0.layer.bias"], ["0.running_u"]),
}


@pytest.mark.parametrize("norm", OF_VERSION_0_1)
def test_goes_on_from_a_state_of_version_0_1(norm):
    """The parameters of normalized layers were called `layer.weight`; the optimizer's state goes by their order."""
    learner, other = make(norm), make(norm, seed=1)
    learner.update(loss_of(learner), {})
    state = copy.deepcopy(learner.get_state())
    parameters = [name for name, _ in learner.network.named_parameters() if name.startswith("0.")]
    buffers = [name for name in state["network"] if name.startswith("0.") and name not in parameters]
    old_parameters, old_buffers = OF_VERSION_0_1[norm]
    names = dict(zip(parameters + buffers, old_parameters + old_buffers, strict=True))
    state["network"] = {names.get(name, name): tensor for name, tensor in state["network"].items()}
    other.set_state(state)
    for each in (learner, other):
        each.update(loss_of(each), {})
    assert differences(learner.get_state(), other.get_state()) == []


def test_a_state_of_another_network_is_refused():
    learner, other = make("weight"), make("none")
    with pytest.raises(ValueError, match=r"(?s)the checkpoint is of another network .*evaluate the run's model"):
        other.set_state(learner.get_state())


@pytest.mark.parametrize("left_out", [None, "network", "optimizer", "num_updates", "means", "diagnostics"])
def test_goes_on_from_a_state_and_each_part_of_it_matters(left_out):
    learner, other = make("weight"), make("weight", seed=1)
    learner.update(loss_of(learner), {})
    state = copy.deepcopy(learner.get_state())
    if left_out:
        state[left_out] = copy.deepcopy(other.get_state()[left_out])
    other.set_state(state)
    for each in (learner, other):
        each.update(loss_of(each), {})
    same = differences(learner.get_state(), other.get_state()) == []
    figures = [each.metrics(0, OBS, torch.Generator().manual_seed(0)) for each in (learner, other)]
    assert (same and differences(*figures) == []) == (left_out is None)


@pytest.mark.parametrize(("dtype", "expected"), [(torch.float32, torch.float32), (torch.bfloat16, torch.bfloat16)])
def test_products_are_of_the_networks_precision_inside_its_context(dtype, expected):
    network = nn.Linear(3, 2)
    learner = Learner(network, SETTINGS, learning_rate=lambda step: 0.1, outputs=lambda n, obs: n(obs), dtype=dtype)
    with learner.autocast():
        assert network(OBS).dtype == expected
    assert network(OBS).dtype == torch.float32


# Gradient steps on minibatches, captured or not


class Launched:
    """Stands in for graphs: notes what is launched, and does it."""

    def __init__(self):
        self.names = []

    def capture_function(self, function, name):
        def launch(*arguments):
            self.names.append(name)
            return function(*arguments)

        return launch


def linear():
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


MINIBATCH = torch.ones(4, 3), torch.zeros(4)


@pytest.mark.parametrize("graphs", [None, Launched()])
def test_a_step_is_that_of_the_learner(graphs):
    stepped, truth = linear(), linear()
    step = GradientSteps(stepped, error(stepped), graphs)
    for _ in range(3):
        step(*MINIBATCH)
        truth.update(*error(truth)(*MINIBATCH))
    assert torch.equal(stepped.network[0].weight, truth.network[0].weight)
    assert not torch.equal(stepped.network[0].weight, linear().network[0].weight)
    assert stepped.num_updates == 3
    generator = torch.Generator()
    assert (
        stepped.metrics(0, None, generator)["train/largest"] == truth.metrics(0, None, generator)["train/largest"] > 0
    )


def test_a_step_that_the_diagnostics_look_at_is_not_launched():
    made, graphs = linear(), Launched()
    step = GradientSteps(made, error(made), graphs)
    launched = []
    for number in range(6):
        if number == 3:
            made.metrics(0, torch.ones(4, 3), torch.Generator())  # it looks at the first step after each reading
        step(*MINIBATCH)
        launched.append(len(graphs.names))
    assert launched == [0, 1, 2, 2, 3, 4]
    assert set(graphs.names) == {"a gradient step"}


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adam", "adamax", "radam", "rmsprop", "rmsprop-a2c", "sgd"])
def test_a_compiled_step_is_the_eager_one_and_follows_a_loaded_state(optimizer):
    """On CUDA the norm, the clipping and the optimizer's step are compiled together."""
    start, learned = nn.Linear(4, 2), []
    for compiled in (True, False):
        network, said = copy.deepcopy(start), []
        settings = LearnerSettings(optimizer=optimizer, learning_rate=0.01, max_grad_norm=0.1)
        made = Learner(network, settings, learning_rate=lambda step: 0.01, outputs=lambda network, obs: network(obs))
        if compiled:
            made.optimizer = make_optimizer(
                optimizer, network.parameters(), learning_rate=0.01, beta1=0.9, eps=1e-8, fused=False
            )
            compiler = Compiler(made.device, enabled=True, say=said.append, backend="aot_eager")
            made._compiled_step = compiler.compile(made._traced_step, "the optimizer")
        generator = torch.Generator().manual_seed(0)
        for number in range(6):
            made.update(network(torch.randn(16, 4, generator=generator)).square().mean(), {})
            if number == 3:
                made.set_state(copy.deepcopy(made.get_state()))
        assert [line.split(" in ")[0] for line in said[1:]] == ["the optimizer compiled"] * compiled
        learned.append(network.state_dict())
    torch.testing.assert_close(*learned, rtol=1e-4, atol=2e-5)


IMAGES = torch.randint(0, 256, (6, 2, 36, 36), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
SMALL_IMAGES = {"kind": "q", "obs_shape": [2, 36, 36], "num_actions": 3, "hidden": [8], "architecture": {}}


def of_images(norm, channels_last, optimizer="adam"):
    network = make_network({**SMALL_IMAGES, "norm": norm, "units": "sqrt"})
    if channels_last:
        store_channels_last(network)
    settings = LearnerSettings(learning_rate=0.01, max_grad_norm=0.5, optimizer=optimizer, optimizer_eps=1e-2)
    return Learner(network, settings, learning_rate=lambda step: 0.01, outputs=lambda net, obs: net(obs).q_values)


def steps_on_images(learner, number=2):
    for _ in range(number):
        learner.update(learner.network(IMAGES).q_values.square().mean(), {})


@pytest.mark.parametrize("norm", NORMALIZERS)
def test_weights_stored_channels_last_learn_the_same(norm):
    """The memory order changes no shape, state dict, folded copy or optimizer's state."""
    learners = [of_images(norm, channels_last) for channels_last in (False, True)]
    for learner in learners:
        steps_on_images(learner)
    torch.testing.assert_close(*(dict(learner.network.state_dict()) for learner in learners), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        *(dict(fold(learner.network).state_dict()) for learner in learners), rtol=1e-4, atol=1e-5
    )
    assert sum(p.is_contiguous(memory_format=torch.channels_last) for p in learners[1].network.parameters()) == 3


@pytest.mark.parametrize("optimizer", get_args(OptimizerName))
@pytest.mark.parametrize("order", [(False, True), (True, False)])
def test_a_checkpoint_is_of_any_memory_order(optimizer, order, tmp_path):
    """What one learner has saved, another of the other order goes on with, its moments in the parameters' order."""
    written, other = (of_images("weight", channels_last, optimizer) for channels_last in order)
    steps_on_images(written)
    write_checkpoint(tmp_path / "state", written.get_state())
    other.set_state(read_checkpoint(tmp_path / "state"))
    for parameter, moments in other.optimizer.state.items():
        assert all(value.stride() == parameter.stride() for value in moments.values() if value.ndim)
    for learner in (written, other):
        steps_on_images(learner)
    torch.testing.assert_close(
        *(dict(learner.network.state_dict()) for learner in (written, other)), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("optimizer", mostly_slow(["adam", "rmsprop", "rmsprop-a2c", "sgd"]))
def test_a_compiled_step_has_as_many_operations_for_any_number_of_parameters(optimizer):
    """Those on the parameters' counts of steps too: each is one of all of them together, but for the gradients' norms,

    whose squares are summed one by one, in one kernel.
    """
    counts = []

    def counted(graph, inputs):
        counts[-1].update(str(node.target) for node in graph.graph.nodes if node.op.startswith("call_"))
        return graph.forward

    for depth in (1, 4):
        network = nn.Sequential(*(nn.Linear(3, 3) for _ in range(depth)))
        settings = LearnerSettings(learning_rate=0.1, optimizer=optimizer, max_grad_norm=1.0)
        learner = Learner(network, settings, learning_rate=lambda step: 0.1, outputs=lambda net, obs: net(obs))
        kernels = {"learning_rate": 0.1, "beta1": 0.9, "eps": 1e-8, "fused": False}
        learner.optimizer = make_optimizer(optimizer, network.parameters(), **kernels)
        learner.update(loss_of(learner), {})
        counts.append(Counter())
        gradients = [parameter.grad for parameter in network.parameters()]
        torch.compile(learner._traced_step, backend=counted, fullgraph=True)(gradients)
    computed = [
        {name: number for name, number in count.items() if "getitem" not in name and "full_like" not in name}
        for count in counts  # without constants
    ]
    for name in ("<built-in function mul>", "<built-in function add>"):
        computed[0][name] += 6  # gradients more
    assert computed[0] == computed[1]
    assert any("foreach" in name for name in computed[0])
