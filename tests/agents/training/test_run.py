import os
import signal

import numpy as np
import pytest

from agents.acting.policies import make_policy
from agents.learner.network import make_network
from agents.registry import AGENTS, DQN
from agents.settings.dqn import DQNSettings
from agents.settings.flat import from_flat, replace
from agents.settings.run import TrainSettings
from agents.training.run import prepare
from envs import Chain
from envs.stream import first_rows
from tests.agents.contract import differences
from wnrl.checkpoints.checkpoints import Checkpoints, load_model
from wnrl.normalizers.folding import fold


def interrupting(call, at):
    """The same function, which sends this process a signal when it is called for the `at`-th time."""
    calls = []

    def interrupted(*arguments):
        calls.append(None)
        if len(calls) == at:
            os.kill(os.getpid(), signal.SIGTERM)
        return call(*arguments)

    return interrupted


def interrupted_in_training(at):
    """A kind whose agents send a signal when they act."""

    def make(*arguments):
        agent = DQN.make(*arguments)
        agent.act = interrupting(agent.act, at)
        return agent

    return replace(DQN, make=make)


def interrupted_in_evaluation(at):
    """A kind whose agents' policies send a signal when they act."""

    def make(*arguments):
        agent = DQN.make(*arguments)
        policy = agent.policy
        agent.policy = lambda rng: interrupting(policy(rng), at)
        return agent

    return replace(DQN, make=make)


@pytest.fixture
def settings(tmp_path):
    run = {"env": "Chain", "hidden": (4,), "device": "cpu", "num_envs": 1, "steps": 60, "eval_interval": 0}
    return from_flat(
        TrainSettings[DQNSettings], **run, run_dir=tmp_path / "run", learning_starts=20, batch_size=4, replay_size=200
    )


def run(settings, kind=DQN):
    return prepare(settings, kind).go()


def state(settings):
    return Checkpoints(settings.run_dir / "checkpoints").latest()


def test_a_run_to_its_end(settings, capsys):
    assert run(settings) == 0
    step, kept = state(settings)
    assert step == kept["trainer"]["steps"] == 60
    assert capsys.readouterr().out.splitlines()[-1].startswith("finished 60 steps: python scripts/evaluate.py ")


def test_a_run_without_a_finished_game_can_be_kept(settings):
    """An empty window of scores is part of the state too."""
    assert run(replace(settings, steps=2, num_envs=2)) == 0
    assert len(state(settings)[1]["trainer"]["statistics"]["scores"]) == 0


def test_a_signal_ends_the_run_with_a_checkpoint_and_a_model(settings, capsys):
    before = signal.getsignal(signal.SIGTERM)
    assert run(settings, interrupted_in_training(10)) == 128 + signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) == before
    step = state(settings)[0]
    assert step == load_model(settings.run_dir / "model")[1]["step"] <= 10
    assert capsys.readouterr().out.splitlines()[-1] == (
        f"stopped at step {step} with a checkpoint: go on with --resume {settings.run_dir}"
    )


def test_an_evaluation_that_is_cut_short_is_made_up_for(settings):
    settings = replace(settings, eval_interval=10, eval_episodes=10_000, steps=1_000)
    assert run(settings, interrupted_in_evaluation(30)) == 128 + signal.SIGTERM
    assert not (settings.run_dir / "best.json").exists()
    assert "eval/mean_reward" not in (settings.run_dir / "progress.csv").read_text()
    assert state(settings)[0] == 10
    run(replace(settings, eval_episodes=2, steps=12, resume=settings.run_dir))
    assert "eval/mean_reward" in (settings.run_dir / "progress.csv").read_text()


def test_evaluation_leaves_training_as_it_is(settings):
    """Whether and how often a run is evaluated does not change what it learns."""
    run(settings)
    other = replace(settings, eval_interval=20, eval_epsilon=0.5, eval_episodes=3, run_dir=settings.run_dir / "other")
    run(other)
    assert differences(load_model(settings.run_dir / "model")[0], load_model(other.run_dir / "model")[0]) == []


def test_evaluations_have_their_own_games_and_as_few_environments_as_needed(settings, monkeypatch):
    made = []

    class Watched(Chain):
        def reset(self, seed=None):
            made.append((self.num_envs, seed))
            return super().reset(seed)

    monkeypatch.setattr("agents.training.run.make_evaluation_environment", lambda settings, number: Watched(number))
    run(replace(settings, eval_interval=30, eval_episodes=1, seed=5, num_envs=3))
    assert made == [(1, 1_000_005)] * 2


def test_the_best_score_is_remembered_over_a_resume(settings):
    settings = replace(settings, eval_interval=20, eval_epsilon=1.0)
    run(settings)
    best = state(settings)[1]["evaluation"]["best"]
    assert best == load_model(settings.run_dir / "best")[1]["mean_reward"] == 1
    (settings.run_dir / "best.json").unlink()
    run(replace(settings, steps=100, resume=settings.run_dir))
    assert not (settings.run_dir / "best.json").exists()  # no later score was above it
    assert state(settings)[1]["evaluation"]["best"] == best


def test_a_run_that_is_long_enough_already_is_refused(settings):
    run(settings)
    with pytest.raises(ValueError, match="the run is at step 60 already: ask for more by --steps"):
        run(replace(settings, resume=settings.run_dir))


def test_nothing_is_made_when_the_agent_cannot_be(settings):
    def refuse(*arguments):
        raise ValueError("too large")

    with pytest.raises(ValueError, match="too large"):
        run(settings, replace(DQN, make=refuse))
    assert not settings.run_dir.exists()


@pytest.mark.parametrize("kind", AGENTS.values())
def test_the_model_of_each_agent_says_how_it_plays(kind, tmp_path):
    """What stands beside the tensors is enough to play as the agent's own policy does."""
    values = {**kind.preset("fast", images=False, norm="weight", flags={}), "hidden": (4,), "eval_interval": 0}
    settings = kind.settings(**{**values, "env": "Chain", "device": "cpu", "steps": 40, "run_dir": tmp_path / "run"})
    assert run(settings, kind) == 0
    tensors, description = load_model(tmp_path / "run" / "model")
    assert (description["agent"], description["env"]) == (kind.name, "Chain")
    network = fold(make_network(description["network"]))
    network.load_state_dict(tensors)
    policy = make_policy(network.eval(), np.random.default_rng(0), **description["play"])
    agent = kind.make(settings, settings, Chain(settings.num_envs))
    agent.set_state(state(settings)[1]["trainer"]["agent"])
    rows = first_rows(np.eye(5, dtype=np.float32))
    assert policy(rows).tolist() == agent.policy(np.random.default_rng(0))(rows).tolist()


def test_a_run_goes_on_where_it_was(settings):
    run(replace(settings, steps=100, run_dir=settings.run_dir.parent / "whole"))
    run(settings)
    run(replace(settings, steps=100, resume=settings.run_dir))
    whole, parts = (load_model(path / "model")[0] for path in (settings.run_dir.parent / "whole", settings.run_dir))
    assert differences(whole, parts) == []
