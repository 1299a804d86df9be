"""agents.off_policy.replay_agent: what the agents that learn from a replay share; the contract tests most of it."""

import pytest
import torch

from agents.dqn.build import build_dqn
from agents.settings.flat import replace
from envs import Chain
from tests.agents.dqn_family import RUN, make, settings
from wnrl.normalizers.folding import fold, polyak


def test_nothing_is_captured_on_a_cpu():
    assert not make(Chain(2)).captures
    with pytest.raises(ValueError, match="graphs are captured on CUDA alone"):
        make(Chain(2), graphs=True)


@pytest.mark.parametrize("overlap", [True, False])
def test_the_settings_say_whether_it_overlaps(overlap):
    assert make(Chain(2), overlap=overlap).overlap is overlap


@pytest.mark.parametrize(("tau", "kept"), [(1.0, torch.bfloat16), (0.5, torch.float32)])
def test_the_target_keeps_small_steps_in_float32(tau, kept):
    """A share of a step may be less than bfloat16 can tell; a whole copy is rounded once."""
    agent = build_dqn(replace(RUN, precision="bfloat16"), settings(tau=tau), Chain(2))
    (acting, target) = (folded.torso.layers[1].weight.dtype for folded in (agent.acting, agent.target))
    assert (acting, target) == (torch.bfloat16, kept)


def test_a_target_that_is_due_several_times_moves_as_often():
    """Eight environments make eight steps at once, and the target is due after every second."""
    environment = Chain(8, length=4)
    agent = make(environment, target_interval=2, tau=0.25, train_interval=4, learning_starts=8)
    timestep = environment.reset(seed=0)
    for step in (0, 8):
        decision = agent.act(timestep, step)
        agent.observe(timestep, decision)
        timestep = environment.step(decision.action)
    agent.learn(8, 16, timestep)
    expected = fold(make(Chain(8, length=4)).network)  # where the target was
    for _ in range(4):
        polyak(expected, agent.network, 0.25)
    torch.testing.assert_close(agent.target.state_dict(), expected.state_dict())
