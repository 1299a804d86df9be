"""Agents that compile their updates from now on, whatever the device."""

import torch

from agents.learner.learner import GradientSteps
from agents.off_policy.update import ReplayUpdates
from agents.runtime.compiling import Compiler
from agents.runtime.cuda_graphs import Graphs


def compile_updates(agent, backend="aot_eager"):
    """Have an agent with a replay buffer compile them; what is said of it, a line each."""
    said = compiler(agent, backend)
    graphs = Graphs(agent.learner.device, ())
    agent._updates = ReplayUpdates(agent.learner, agent.sampler, agent, agent.settings.replay.batch_size, graphs)
    return said


def compile_gradient_steps(agent, backend="aot_eager"):
    """Have an agent that learns from rollouts compile them; what is said of it, a line each."""
    said = compiler(agent, backend)
    agent.gradient_step = GradientSteps(agent.learner, agent._loss, agent._graphs)
    return said


def compiler(agent, backend):
    said = []
    agent.learner.compiler = Compiler(agent.learner.device, enabled=True, say=said.append, backend=backend)
    return said


def parts(said):
    """What was compiled; nothing was refused."""
    assert said[0].startswith("compiling the updates")
    assert all(" compiled in " in line for line in said[1:])
    return [line.split(" compiled in ")[0] for line in said[1:]]


def unique_graphs():
    """How many graphs torch has compiled in this process."""
    return torch._dynamo.utils.counters["stats"]["unique_graphs"]
