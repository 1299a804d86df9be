import dataclasses

import pytest
import torch
from noise_study.noise_runs import Measuring, NoiseRun, Plan, make_agent, train

RUN = NoiseRun("Chain", "batch", seed=3, steps=1_100, learning_rate=None, states=2, companies=3)
PLAN = Plan(RUN, steps=(1_050, 1_099), batch_sizes=(8, 16))


def weights(agent):
    return [parameter.detach().clone() for parameter in agent._run.agent.network.parameters()]


def test_it_is_measured_where_it_is_planned_and_changes_nothing():
    measuring = Measuring(PLAN)
    with make_agent(RUN) as measured, make_agent(RUN) as plain:
        measured.learn(RUN.steps, callbacks=measuring)
        plain.learn(RUN.steps)
        for ours, truth in zip(weights(measured), weights(plain), strict=True):
            assert torch.equal(ours, truth)
        state, twin = (agent._run.agent.network.state_dict() for agent in (measured, plain))
        torch.testing.assert_close(state, twin, rtol=0, atol=0)  # running statistics too
        score = measured._run._trainer.statistics.mean_score
    rows = measuring.rows
    assert [(row.step, row.batch_size) for row in rows] == [(1_050, 8), (1_050, 16), (1_099, 8), (1_099, 16)]
    assert all(row.run == RUN and row.noise.q.noise > 0 for row in rows)
    assert rows[-1].score == score
    assert rows[-1].agents_batch == measured.settings.agent.replay.batch_size == 128
    assert train(PLAN) == rows  # in a run of its own


def test_a_learning_rate_of_ones_own():
    with make_agent(dataclasses.replace(RUN, learning_rate=0.123)) as agent:
        assert agent.settings.agent.learner.learning_rate == 0.123
        assert (agent.settings.run.network.norm, agent.settings.run.seed) == ("batch", 3)


def test_an_unknown_environment_is_refused():
    with pytest.raises(ValueError, match="unknown environment 'Carpole-v1'"):
        make_agent(dataclasses.replace(RUN, env="Carpole-v1"))
