"""agents.runtime.cuda_graphs: work that is captured once and launched, and what is done where it cannot be."""

import copy
from collections import namedtuple
from contextlib import nullcontext
from importlib.util import find_spec
from types import SimpleNamespace

import pytest
import torch

from agents.dqn import dqn
from agents.dqn.build import build_dqn
from agents.runtime import cuda_graphs
from agents.runtime.cuda_graphs import WARM_UP, Graphs
from agents.settings.flat import replace
from agents.training.trainer import Trainer
from envs import Chain
from tests.agents.contract import check_close
from tests.agents.dqn_family import DISTRIBUTIONS, RAINBOW, settings
from tests.agents.dqn_family import RUN as DQN_RUN
from tests.agents.environments import Pictured
from tests.agents.policy_gradient_family import make
from wnrl.networks import space_to_depth

CPU, CUDA = torch.device("cpu"), torch.device("cuda:0")
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

needs_triton = pytest.mark.skipif(
    not torch.cuda.is_available() or find_spec("triton") is None, reason="needs a CUDA device and Triton"
)


class Generator:
    """A generator's state as graphs handle it."""

    def __init__(self, number):
        self.number = number

    def clone_state(self):
        return self.number

    def graphsafe_set_state(self, state):
        self.number = state


class Device:
    """Stands in for CUDA: work runs at once, but for what is captured."""

    def __init__(self, monkeypatch, error=None):
        self.error, self.capturing, self.registered, self.default, self.order = error, False, [], Generator(5), []
        stream = SimpleNamespace(device=CUDA, wait_stream=lambda other: self.order.append("wait"))
        names = {
            "CUDAGraph": self.Graph,
            "graph": self.capture,
            "Stream": lambda device: stream,
            "current_stream": lambda device: stream,
            "stream": lambda stream: nullcontext(),
            "default_generators": (self.default,),
        }
        for name, value in names.items():
            monkeypatch.setattr(cuda_graphs.torch.cuda, name, value)

    def Graph(self):  # noqa: N802 - the name of a class
        graph = SimpleNamespace(replayed=0, register_generator_state=self.registered.append)

        def replay():
            graph.replayed += 1
            self.order.append("launch")

        graph.replay = replay
        self.graph = graph
        return graph

    def capture(self, graph, stream, capture_error_mode):
        device = self
        assert capture_error_mode == "thread_local"

        class Context:
            def __enter__(self):
                device.capturing = True
                device.order.append("capture")

            def __exit__(self, *error):
                device.capturing = False
                if device.error:
                    device.default.number = -1
                    try:
                        raise RuntimeError(device.error)  # of the work
                    finally:
                        raise RuntimeError("a capture failed")

        return Context()


def test_on_a_cpu_work_stays_what_it_is():
    captures = Graphs(CPU, ())
    assert not captures.enabled
    assert captures.capture(print, "printing") is print
    assert captures.capture_function(abs, "a number") is abs
    captures.forget()
    assert not captures.pending


def test_work_is_captured_after_some_calls_and_launched_from_then_on(monkeypatch):
    device, own, calls = Device(monkeypatch), Generator(7), []
    captures = Graphs(CUDA, (own,))
    work = captures.capture(lambda: calls.append(device.capturing), "work")
    for _ in range(WARM_UP):
        work()
        assert captures.pending
    for _ in range(4):
        work()
        assert not captures.pending
    assert calls == [False] * WARM_UP + [True]
    assert device.graph.replayed == 4  # the capture does nothing by itself
    assert device.registered == [own]
    assert device.order[device.order.index("capture") :] == ["capture", "wait", *["launch"] * 4]
    captures.forget()
    work()
    assert calls[-1] is False
    assert device.graph.replayed == 4


def test_where_something_cannot_be_captured_all_runs_as_it_is_and_that_is_said_once(monkeypatch):
    device, own, calls, said = Device(monkeypatch), Generator(7), [], []
    captures = Graphs(CUDA, (own,), say=said.append)
    first, second = (
        captures.capture(lambda name=name: calls.append((name, device.capturing)), name)
        for name in ("acting", "an update")
    )
    for _ in range(WARM_UP + 1):
        first()
    launched = device.graph
    device.error = "it waits\nat length"
    for _ in range(WARM_UP + 4):
        second()
    for _ in range(2):
        first()
    captures.forget()
    second()
    assert said == ["without CUDA graphs: an update cannot be captured: it waits"]
    assert not captures.enabled
    assert not captures.pending
    assert launched.replayed == 1
    done = [name for name, capturing in calls if not capturing]
    assert done == ["acting"] * WARM_UP + ["an update"] * (WARM_UP + 4) + ["acting"] * 2 + ["an update"]
    assert (device.default.number, own.number) == (5, 7)


def test_graphs_can_be_refused(monkeypatch):
    Device(monkeypatch)
    assert Graphs(CUDA, (), enabled=False).capture(print, "printing") is print


def test_graphs_are_not_asked_for_elsewhere():
    with pytest.raises(ValueError, match="captured on CUDA alone, and the device is cpu: leave --graphs out"):
        Graphs(CPU, (), enabled=True)


def test_a_function_keeps_its_places(monkeypatch):
    device = Device(monkeypatch)
    double = Graphs(CUDA, ()).capture_function(lambda x: 2 * x, "doubling")
    results = [double(torch.full((2,), float(n))) for n in range(WARM_UP + 3)]
    assert len({result.data_ptr() for result in results}) == 1
    (placed,) = double._placed.values()
    placed._arguments[0].fill_(9.0)
    placed.compute()
    assert results[0].tolist() == [18.0, 18.0]
    assert device.graph.replayed == 2


def test_a_function_is_captured_for_each_shape_of_its_arguments(monkeypatch):
    Device(monkeypatch)
    both = Graphs(CUDA, ()).capture_function(lambda x, y: (x + y, x * y), "sum and product")
    for length in (2, 3, 2):
        x, y = torch.full((length,), 3.0), torch.arange(float(length))
        found = both(x, y)
        assert [value.tolist() for value in found] == [(x + y).tolist(), (x * y).tolist()]
    assert len(both._placed) == 2


def test_arguments_and_results_are_trees(monkeypatch):
    Device(monkeypatch)
    Pair = namedtuple("Pair", "first rest")
    swap = Graphs(CUDA, ()).capture_function(lambda pair: Pair(pair.rest[0] + 1, (pair.first, ())), "swapping")
    for n in range(WARM_UP):
        found = swap(Pair(torch.full((2,), float(n)), (torch.full((3,), -float(n)), ())))
        assert isinstance(found, Pair)
        assert found.first.tolist() == [1 - n] * 3
        assert found.rest[0].tolist() == [n] * 2
    assert len(swap._placed) == 1


def test_a_procedure_is_done_at_every_call(monkeypatch):
    Device(monkeypatch)
    done = []
    procedure = Graphs(CUDA, ()).capture_function(lambda x: done.append(x.tolist()), "noting")
    for n in range(WARM_UP):
        assert procedure(torch.tensor([float(n)])) is None
    assert done == [[float(n)] for n in range(WARM_UP)]


def run(environment, graphs, compile=False, **changes):
    """The agent after a run on the GPU."""
    numbers = settings(graphs=graphs, **changes)
    agent = build_dqn(replace(DQN_RUN, device="cuda", steps=2_000, compile=compile), numbers, environment)
    Trainer(agent, environment, seed=0).run(700)
    return agent


def on_policy(kind, graphs, compile=False, **changes):
    """The agent after a run on the GPU."""
    environment = Chain(3, length=4)
    agent = make(kind, environment, device="cuda", graphs=graphs, compile=compile, **changes)
    Trainer(agent, environment, seed=0).run(700)
    return agent


@needs_cuda
@pytest.mark.parametrize("changes", [{}, RAINBOW, DISTRIBUTIONS["implicit"], {"learning_rate_schedule": "linear"}])
def test_a_run_in_graphs_is_the_run_without(changes, capsys):
    """Three environments and an update per two steps: launches of one update and of two."""
    eager, captured = (run(Chain(3, length=4), graphs, **changes) for graphs in (False, True))
    assert eager.learner.num_updates == captured.learner.num_updates > 100
    check_close(captured.network, eager.network)
    assert capsys.readouterr().out == ""  # nothing was refused


@needs_cuda
@pytest.mark.parametrize("kind", ["ppo", "a2c", "reinforce"])
@pytest.mark.parametrize("changes", [{}, {"learning_rate_schedule": "linear"}])
def test_an_on_policy_run_in_graphs_is_the_run_without(kind, changes, capsys):
    """Three minibatches of two sizes, whose order is drawn between launches."""
    sizes = {"ppo": {"minibatches": 3}}.get(kind, {})
    eager, captured = (on_policy(kind, graphs, **sizes, **changes) for graphs in (False, True))
    assert eager.learner.num_updates == captured.learner.num_updates > 10
    check_close(captured.network, eager.network)
    assert capsys.readouterr().out == ""


@needs_cuda
@pytest.mark.parametrize("kind", ["ppo", "a2c"])
@pytest.mark.parametrize("norm", ["mean-batch", "batch"])
@pytest.mark.parametrize("statistics", ["running", "minibatch"])
def test_batch_statistics_in_graphs_are_those_without(kind, norm, statistics, capsys):
    changes = {"norm": norm, "batch_statistics": statistics, "normalize_obs": True}
    sizes = {"ppo": {"minibatches": 3}}.get(kind, {})
    eager, captured = (on_policy(kind, graphs, **sizes, **changes) for graphs in (False, True))
    check_close(captured.network, eager.network)
    for ours, other in zip(captured.network.buffers(), eager.network.buffers(), strict=True):
        torch.testing.assert_close(ours, other, rtol=1e-3, atol=1e-4)
    assert capsys.readouterr().out == ""


@needs_cuda
def test_a_recurrent_agent_acts_in_graphs_as_without(capsys):
    eager, captured = (on_policy("ppo", graphs, lstm=8, minibatches=1) for graphs in (False, True))
    check_close(captured.network, eager.network)
    assert capsys.readouterr().out == ""


@needs_cuda
def test_a_resumed_run_is_captured_anew():
    agent, other = (run(Chain(3, length=4), True) for _ in range(2))
    other.set_state(copy.deepcopy(agent.get_state()))
    for _ in range(2 * WARM_UP):
        agent.update(700)
        other.update(700)
    check_close(other.network, agent.network)


@needs_triton
@pytest.mark.parametrize(
    "changes", [{}, RAINBOW, DISTRIBUTIONS["implicit"], {"optimizer": "rmsprop", "optimizer_eps": 0.1}]
)
def test_compiled_updates_in_graphs_are_the_eager_ones(changes, capsys):
    eager, compiled = updated(False, False, **changes), updated(True, None, **changes)
    assert compiled.captures
    assert compiled.learner.compiler.enabled
    for ours, other in zip(compiled.network.parameters(), eager.network.parameters(), strict=True):
        torch.testing.assert_close(ours, other, rtol=1e-3, atol=1e-3)
    assert "without" not in capsys.readouterr().out.replace("does without", "")


def updated(graphs, compile, **changes):
    """The agent after 56 updates on the GPU, on what it saw while it acted at random."""
    agent = run(Chain(3, length=4), graphs, compile, learning_starts=710, **changes)
    for step in range(710, 724, 2):
        agent.update(step, 8)
    return agent


@needs_triton
@pytest.mark.parametrize("norm", ["none", "weight", "mean-batch", "spectral"])
def test_compiled_updates_from_images_in_graphs_are_the_eager_ones(norm, capsys, monkeypatch):
    """The first convolution over blocks of pixels, channels-last weights, and one pass of both observations."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    numbers = {"double": True, "optimizer_eps": 1e-2, "learning_starts": 100}
    monkeypatch.setattr(space_to_depth, "DEVICES", ())
    monkeypatch.setattr(dqn, "joining_pays", lambda *arguments: False)
    eager = from_images(norm, False, False, **numbers)
    monkeypatch.undo()
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    compiled = from_images(norm, True, None, **numbers)
    assert compiled.captures
    assert compiled.learner.compiler.enabled
    assert compiled._joins == (norm in ("none", "weight"))
    weights = [p for p in compiled.network.parameters() if p.ndim == 4]
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in weights)
    for ours, other in zip(compiled.network.parameters(), eager.network.parameters(), strict=True):
        torch.testing.assert_close(ours, other, rtol=1e-3, atol=1e-3)
    assert "without" not in capsys.readouterr().out.replace("does without", "")


def from_images(norm, graphs, compile, **changes):
    """The agent after some forty updates on the GPU."""
    environment = Pictured(2, length=4)
    run_settings = replace(DQN_RUN, device="cuda", norm=norm, precision="float32", compile=compile, steps=2_000)
    agent = build_dqn(run_settings, settings(graphs=graphs, **changes), environment)
    Trainer(agent, environment, seed=0).run(110)
    for step in range(112, 122, 2):
        agent.update(step, 8)
    return agent


@needs_triton
@pytest.mark.parametrize("kind", ["ppo", "a2c"])
def test_a_compiled_on_policy_run_in_graphs_is_the_eager_one(kind):
    eager, compiled = on_policy(kind, False), on_policy(kind, True, compile=None)
    assert compiled.learner.compiler.enabled
    for ours, other in zip(compiled.network.parameters(), eager.network.parameters(), strict=True):
        torch.testing.assert_close(ours, other, rtol=1e-3, atol=1e-3)


@needs_triton
def test_a_compiled_run_that_is_resumed_goes_on_as_it_would_have():
    agent, other = (run(Chain(3, length=4), True, compile=None) for _ in range(2))
    other.set_state(copy.deepcopy(agent.get_state()))
    for _ in range(2 * WARM_UP):
        agent.update(700)
        other.update(700)
    assert other.learner.compiler.enabled
    check_close(other.network, agent.network)


@needs_cuda
def test_what_waits_for_the_device_is_refused_by_name():
    said, x = [], torch.ones(3, device="cuda")
    work = Graphs(torch.device("cuda"), (), say=said.append).capture(lambda: x.sum().item(), "a sum")
    for _ in range(WARM_UP + 2):
        work()
    assert len(said) == 1
    assert said[0].startswith("without CUDA graphs: a sum cannot be captured: ")
    assert torch.cuda.current_stream() == torch.cuda.default_stream()
    assert torch.rand(3, device="cuda").isfinite().all()  # the device goes on
