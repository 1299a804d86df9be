"""agents.sac in several processes: they learn what one learns from the joint batch, the temperature too."""

import math

import numpy as np
import torch

from agents.off_policy.update import Sample
from envs import Chain
from tests.agents.contract import check_close, differences
from tests.agents.ranks import in_ranks
from tests.agents.sac.test_sac import NUMBERS, make
from wnrl.replay.uniform import Transition


def learn_from(agent, samples, ranks=None):
    """Updates on given samples, after the data-dependent initialization."""
    if ranks is not None:
        agent.learner.share(ranks)
    for row in range(80):
        agent.sampler.replay.add(*rows_of(agent.sampler.replay._layout.num_envs, row, ranks))
    agent._initialize()
    for sample in samples:
        loss, _, metrics = agent.batch_loss(sample, None)
        agent.learner.update(loss, metrics)
    return agent


def rows_of(number, row, ranks):
    """The row of each of two environments, of which a process has one."""
    numbers = np.arange(2) if ranks is None else np.array([ranks.rank])
    obs = np.random.default_rng(row).normal(size=(2, 4)).astype(np.float32)[numbers]
    return obs, np.zeros(number, int), np.ones(number), np.ones(number), np.zeros(number, bool)


def test_two_processes_learn_what_one_learns_from_the_joint_batch():
    """The temperature too, which is no parameter of the network."""
    whole = make(Chain(2, length=4))
    generator = torch.Generator().manual_seed(0)
    samples = []
    for _ in range(4):
        obs, next_obs = torch.randn(2, 16, 4, generator=generator)
        action, reward = torch.randint(2, (16,), generator=generator), torch.randn(16, generator=generator)
        samples.append(Sample(Transition(obs, action, reward, torch.ones(16), next_obs), None, None))
    learn_from(whole, samples)

    def work(ranks):
        agent = make(Chain(1, length=4))
        own = [Sample(Transition(*(x.chunk(2)[ranks.rank] for x in one.transition)), None, None) for one in samples]
        return learn_from(agent, own, ranks)

    first, second = in_ranks(work)
    check_close(first.network, whole.network)
    torch.testing.assert_close(first.temperature.state_dict(), whole.temperature.state_dict())
    assert not differences(first.network.state_dict(), second.network.state_dict())
    assert first.temperature.log.item() != math.log(NUMBERS["temperature_start"])


def test_an_initialization_from_data_is_the_same_in_all_processes():
    def work(ranks):
        return learn_from(make(Chain(1, length=4), seed=ranks.rank, init="data"), [], ranks)

    first, second = in_ranks(work)
    assert not differences(first.network.state_dict(), second.network.state_dict())
    assert not differences(first.acting.state_dict(), second.acting.state_dict())
    alone = learn_from(make(Chain(2, length=4), init="data"), [])
    assert differences(first.network.state_dict(), make(Chain(2, length=4)).network.state_dict())
    assert alone.learner.num_updates == 0
