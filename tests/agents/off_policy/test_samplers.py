import numpy as np
import pytest
import torch

from agents.off_policy.samplers import PrioritizedSampler, Sample, UniformSampler
from wnrl.replay.prioritized import PrioritizedReplay
from wnrl.replay.uniform import Replay
from wnrl.schedules import Linear

NUMBER = 8  # transitions, of rewards 0, 1, …


def filled(kind, **options):
    replay = kind(100, 1, (1,), torch.float32, **options)
    for step in range(NUMBER + 1):
        row = [np.array([value], np.float32) for value in (step, 1.0)]
        replay.add(np.full((1, 1), step, np.float32), np.zeros(1, int), row[0] - 1, row[1], np.array([step == 0]))
    return replay


def shares(sampler, batches=200):
    """How often each transition is drawn."""
    rewards = torch.cat([sampler.sample(40).transition.reward for _ in range(batches)]).long()
    return torch.bincount(rewards, minlength=NUMBER) / len(rewards)


def test_uniform_draws_have_neither_weights_nor_places():
    sampler = UniformSampler(filled(Replay))
    sample = sampler.sample(5)
    assert sample.transition.obs.shape == (5, 1)
    assert (sample.weights, sample.places) == (None, None)
    torch.testing.assert_close(shares(sampler), torch.full((NUMBER,), 1 / NUMBER), atol=0.02, rtol=0)
    sampler.learned(sample, torch.arange(5.0))
    torch.testing.assert_close(shares(sampler), torch.full((NUMBER,), 1 / NUMBER), atol=0.02, rtol=0)


def test_what_there_is_more_to_learn_from_is_drawn_more_often_and_counts_less():
    sampler = PrioritizedSampler(filled(PrioritizedReplay, alpha=1.0), lambda step: 1.0)
    sampler.begin(0)
    torch.testing.assert_close(shares(sampler), torch.full((NUMBER,), 1 / NUMBER), atol=0.02, rtol=0)
    sample = sampler.sample(400)
    sampler.learned(sample, sample.transition.reward + 1)  # priorities 1, 2, … 8
    expected = torch.arange(1.0, NUMBER + 1) / 36
    torch.testing.assert_close(shares(sampler), expected, atol=0.02, rtol=0)
    sample = sampler.sample(400)
    torch.testing.assert_close(sample.weights, 1 / (sample.transition.reward + 1), rtol=1e-4, atol=0)


@pytest.mark.parametrize(("step", "beta"), [(0, 0.4), (100, 0.4), (150, 0.7), (200, 1.0), (999, 1.0)])
def test_the_correction_grows_with_the_steps(step, beta):
    sampler = PrioritizedSampler(filled(PrioritizedReplay, alpha=1.0), Linear(0.4, 1.0, 100, begin=100))
    sampler.begin(0)
    sample = sampler.sample(400)
    sampler.learned(sample, sample.transition.reward + 1)
    sampler.begin(step)
    sample = sampler.sample(400)
    torch.testing.assert_close(sample.weights, (sample.transition.reward + 1) ** -beta, rtol=1e-4, atol=0)


def test_a_place_belongs_to_its_transition():
    sampler = PrioritizedSampler(filled(PrioritizedReplay, alpha=1.0), lambda step: 1.0)
    sampler.begin(0)
    sample = sampler.sample(400)
    only = sample.transition.reward == 3
    sampler.learned(Sample(sample.transition, sample.weights, sample.places), only.float())
    assert shares(sampler)[3] > 0.999
