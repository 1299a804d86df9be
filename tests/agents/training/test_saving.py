"""agents.training.saving: what is written while the run goes on is of its step, whole, and told where it fails."""

import copy
import threading

import pytest

from agents.registry import AGENTS
from agents.settings.dqn import DQNSettings
from agents.settings.flat import flat_defaults, from_flat, replace
from agents.settings.run import TrainSettings
from agents.training.run import Run
from tests.agents.contract import differences
from tests.agents.training.recorder import AfterSteps
from wnrl.checkpoints import checkpoints as checkpoints_module
from wnrl.checkpoints.checkpoints import Checkpoints
from wnrl.checkpoints.tensor_files import CheckpointError, write_checkpoint
from wnrl.replay import frozen_rows

DQN = AGENTS["dqn"]


@pytest.fixture
def settings(tmp_path):
    run = {"env": "Chain", "hidden": (4,), "device": "cpu", "num_envs": 1, "steps": 60, "eval_interval": 0}
    return from_flat(
        TrainSettings[DQNSettings],
        run,
        **{"run_dir": tmp_path / "run", "learning_starts": 20, "batch_size": 4, "replay_size": 30, "log_interval": 5},
    )


class Slow:
    """Checkpoints are written once `go` is set; `begun` says that one is to be. `error` is raised instead."""

    def __init__(self, monkeypatch, error=None):
        self.begun, self.go, self.error, self.steps = threading.Event(), threading.Event(), error, []
        monkeypatch.setattr(checkpoints_module, "write_checkpoint", self.write)

    def write(self, path, state):
        self.steps.append(int(path.stem))
        self.begun.set()
        assert self.go.wait(20)
        if self.error:
            raise self.error
        write_checkpoint(path, state)


class Lines:
    """A display of a run that keeps its lines."""

    def __init__(self):
        self.lines = []

    def message(self, text):
        self.lines.append(text)

    def __getattr__(self, name):
        return lambda *arguments: None


def state(path, step):
    return Checkpoints(path / "checkpoints").latest(at_most=step)


def test_a_run_goes_on_while_a_checkpoint_is_written_which_is_of_its_step(settings, monkeypatch):
    """Of 30 rows of the replay buffer, 25 are overwritten before they are read; a row is read at a time."""
    monkeypatch.setattr(frozen_rows, "PIECE", 1)
    with Run(DQN, replace(settings, steps=30), keep=False) as run:
        run.learn()
        truth = run.agent.get_state()
    slow, seen = Slow(monkeypatch), []

    def look(trainer, before):
        if trainer.steps == 30:
            assert slow.begun.wait(20)
        if trainer.steps == 55:
            seen.append(list(slow.steps))
            slow.go.set()

    with Run(DQN, replace(settings, checkpoint_interval=30), callbacks=[AfterSteps(look)]) as run:
        run.learn()
    assert seen == [[30]]
    step, kept = state(settings.run.run_dir, 30)
    assert step == 30
    restored = Run(DQN, replace(settings, run_dir=settings.run.run_dir.with_name("other")), keep=False)
    restored.agent.set_state(kept["trainer"]["agent"])
    assert not differences(restored.agent.get_state(), truth)
    restored.close()


def test_a_checkpoint_that_is_due_waits_for_the_one_before(settings, monkeypatch):
    slow = Slow(monkeypatch)

    def look(trainer, before):
        if trainer.steps == 39:
            assert slow.begun.wait(20)
            assert slow.steps == [20]
            threading.Timer(0.2, slow.go.set).start()

    with Run(DQN, replace(settings, checkpoint_interval=20), callbacks=[AfterSteps(look)]) as run:
        run.learn()
    assert slow.steps == [20, 40, 60, 60]
    assert state(settings.run.run_dir, 60)[0] == 60


def test_what_could_not_be_written_is_said_at_the_next_row_and_the_run_goes_on(settings, monkeypatch):
    slow, said, seen = Slow(monkeypatch, CheckpointError("the disk is full")), Lines(), []

    def look(trainer, before):
        if trainer.steps == 42:
            slow.go.set()
            run._saving._background._thread.join(20)
        if trainer.steps in (44, 46):
            seen.append([line for line in said.lines if "checkpoint" in line])
        if trainer.steps == 46:
            slow.error = None

    with Run(DQN, replace(settings, checkpoint_interval=40), progress=said, callbacks=[AfterSteps(look)]) as run:
        run.learn()
    assert seen == [[], ["no checkpoint at step 40: the disk is full"]]
    assert state(settings.run.run_dir, 60)[0] == 60


def test_an_error_of_the_last_but_one_does_not_keep_the_last_from_being_written(settings, monkeypatch):
    slow, said = Slow(monkeypatch, CheckpointError("the disk is full")), Lines()

    def look(trainer, before):
        if trainer.steps == 58:
            slow.go.set()
            run._saving._background._thread.join(20)
            slow.error = None

    settings = replace(settings, checkpoint_interval=57, log_interval=1_000)
    with Run(DQN, settings, progress=said, callbacks=[AfterSteps(look)]) as run:
        run.learn()
    assert [line for line in said.lines if "checkpoint" in line] == ["no checkpoint at step 57: the disk is full"]
    assert state(settings.run.run_dir, 60)[0] == 60


def test_an_error_that_ends_the_run_waits_for_what_is_being_written(settings, monkeypatch):
    slow = Slow(monkeypatch)

    def look(trainer, before):
        if trainer.steps == 45:
            threading.Timer(0.2, slow.go.set).start()
            raise KeyError("lost")

    with (
        pytest.raises(KeyError, match="lost"),
        Run(DQN, replace(settings, checkpoint_interval=40), callbacks=[AfterSteps(look)]) as run,
    ):
        run.learn()
    assert slow.steps == [40, 45]
    assert state(settings.run.run_dir, 40)[0] == 40


def test_a_second_interrupt_does_not_wait_and_leaves_no_part_of_a_file(settings, monkeypatch):
    """Nothing is read of the replay buffer any more, so that the file is not whole, and is removed."""
    slow, said = Slow(monkeypatch), Lines()

    def look(trainer, before):
        if trainer.steps == 45:
            run.stop = lambda: True
            threading.Timer(0.2, slow.go.set).start()
            raise KeyboardInterrupt

    run = Run(DQN, replace(settings, checkpoint_interval=40), progress=said, callbacks=[AfterSteps(look)])
    with pytest.raises(KeyboardInterrupt), run:
        run.learn()
    assert slow.steps == [40]
    assert not list((settings.run.run_dir / "checkpoints").iterdir())
    assert any("frames/0 has 0 bytes instead of" in line for line in said.lines)


SMALL = {"learning_starts": 20, "batch_size": 4, "replay_size": 100, "rollout_length": 8, "minibatches": 1}


@pytest.mark.parametrize("name", AGENTS)
def test_a_snapshot_stays_as_it_was_whatever_is_learned_after_it(name):
    spec = AGENTS[name]
    kind = TrainSettings[spec.settings]
    small = {key: value for key, value in SMALL.items() if key in flat_defaults(kind)}
    run = {"env": "Chain", "hidden": (4,), "device": "cpu", "num_envs": 2, "steps": 300}
    with Run(spec, from_flat(kind, run, **small), keep=False) as run:
        run.learn(100)
        truth, snapshot = copy.deepcopy(run._trainer.get_state()), run._trainer.snapshot()
        run.learn(300)
        if "replay" in snapshot["agent"]:
            snapshot["agent"]["replay"]["frames"] = truth["agent"]["replay"]["frames"]  # a stream, see above
        assert not differences(snapshot, truth)
        assert run.agent.learner.num_updates > truth["agent"]["learner"]["num_updates"]
