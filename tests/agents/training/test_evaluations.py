"""agents.training.evaluations: before the training goes on or beside it, told in the order of their steps."""

import threading
import time
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from agents.runtime.background import Background
from agents.settings.flat import from_flat
from agents.settings.run import RunSettings
from agents.training import evaluations
from agents.training.evaluation import Scores
from agents.training.evaluations import Evaluation, Played, compares, environments_of, waits
from agents.training.trainer import Trainer
from envs import EnvironmentFault, Episode
from tests.agents.environments import Clockwork
from tests.agents.training.recorder import AfterSteps, Recorder, run
from wnrl.checkpoints.tensor_files import CheckpointError

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


class Story:
    """An evaluation whose scores are given, and what is told of it."""

    def __init__(self, scores, interval, beside=False, **options):
        self.scores, self.told, self.best, self.lines, self.played = iter(scores), [], [], [], []
        self.go, self.began, self.threads = threading.Event(), threading.Event(), set()
        self.go.set()
        self.evaluation = Evaluation(
            self.play,
            lambda step: Played(step, step, network(step), {"w": torch.tensor(float(step))} if beside else None),
            interval,
            report=lambda played, scores: self.told.append((played.step, scores.mean)),
            keep_best=options.pop("keep_best", lambda played, score: self.best.append((played.step, score))),
            message=self.lines.append,
            background=Background(CPU) if beside else None,
            **options,
        )

    def play(self, played, message, aborted):
        self.played.append((played.step, played.acting.weight.item()))
        self.threads.add(threading.current_thread())
        self.began.set()
        while aborted is not None and not self.go.wait(0.01):
            if aborted():
                return None
        scores = next(self.scores)
        return None if scores is None else games(scores)


def network(step):
    layer = nn.Linear(1, 1, bias=False)
    layer.weight.data.fill_(float(step))
    return layer


def games(scores):
    """Scores of such games."""
    return Scores.of([Episode(0, score, 10 * index + 10) for index, score in enumerate(scores)])


def counted(start=1.0):
    while True:
        yield [start]
        start += 1


@pytest.mark.parametrize(
    ("changes", "values_returns", "compared"),
    [
        ({"env": "Chain"}, True, True),
        ({"env": "Chain"}, False, False),
        ({"env": "Chain", "eval_steps": 100}, True, False),
        ({"game": "Pong", "life_loss": False}, True, True),
        ({"game": "Pong", "life_loss": True}, True, False),
    ],
)
def test_values_are_compared_with_returns_where_they_are_of_the_same(changes, values_returns, compared):
    assert compares(from_flat(RunSettings, changes), SimpleNamespace(values_returns=values_returns)) is compared


# The training waits


@pytest.mark.parametrize("num_envs", [1, 3, 7])
def test_they_are_played_once_an_interval(num_envs):
    story = Story(counted(), 25)
    run(Clockwork(*[1000] * num_envs), 100, story.evaluation)
    due = [-(-tick // num_envs) * num_envs for tick in range(25, 101, 25)]
    assert story.played == [(step, float(step)) for step in due]
    assert story.told == [(step, float(number)) for number, step in enumerate(due, 1)]
    assert story.threads == {threading.current_thread()}


def test_an_interval_of_0_never_fires():
    story = Story([], 0)
    run(Clockwork(5), 30, story.evaluation)
    assert not story.played


def test_the_best_is_kept_and_one_that_was_stopped_is_made_up_for():
    story = Story([[1.0, 2.0], [5.0], None, [3.0], [4.0], [6.0]], 10)
    trainer = run(Clockwork(1000), 30, story.evaluation)  # where a stop breaks it off
    assert story.told == [(10, 1.5), (20, 5)]
    assert story.evaluation.get_state()["played"]["step"] == 30
    trainer.run(50)
    assert story.told == [(10, 1.5), (20, 5), (30, 3), (40, 4), (50, 6)]
    assert story.best == [(10, 1.5), (20, 5), (50, 6)]
    assert story.lines == []
    assert story.evaluation.get_state() == {"best": 6, "done": 50}


@pytest.mark.parametrize("beside", [False, True])
def test_one_in_which_no_game_ended_is_done_and_has_no_score(beside):
    story = Story([[], [2.0], [], [], [1.0]], 1_000, beside)
    run(Clockwork(2000), 5_000, story.evaluation)
    assert [step for step, _ in story.played] == [1_000, 2_000, 3_000, 4_000, 5_000]
    assert [step for step, _ in story.told] == [2_000, 5_000]
    assert story.best == [(2_000, 2)]
    assert story.lines == [
        f"evaluation at step {step}: no game ended, so there is no score" for step in ("1,000", "3,000", "4,000")
    ]
    assert story.evaluation.get_state() == {"best": 2, "done": 5_000}


def test_it_continues_from_its_state():
    story = Story([], 10)
    story.evaluation.set_state({"best": 5.0, "done": 20})
    after = AfterSteps(lambda trainer, before: trainer.steps > 20 and story.evaluation.step(trainer, before))
    run(Clockwork(1000), 29, after)
    assert story.evaluation.get_state() == {"best": 5.0, "done": 20}


@pytest.mark.parametrize("beside", [False, True])
def test_a_best_model_that_cannot_be_written_is_told_and_tried_again(beside):
    kept = []

    def keep_best(played, score):
        if played.step < 20:
            raise CheckpointError("the disk is full")
        kept.append((played.step, score))

    story = Story([[5.0], [4.0]], 10, beside, keep_best=keep_best)
    run(Clockwork(1000), 20, story.evaluation)
    assert story.lines == ["the best model is not kept: the disk is full"]
    assert kept == [(20, 4)]


def test_callbacks_are_given_the_scores():
    seen = []

    class Noted(AfterSteps):
        def evaluation(self, trainer, scores):
            seen.append(scores.mean)

    for beside in (False, True):
        run(Clockwork(1000), 20, Story([[5.0], [4.0]], 10, beside).evaluation, Noted(lambda *_: None))
    assert seen == [5, 4, 5, 4]


# Beside the training


def test_the_training_goes_on_meanwhile_and_the_scores_are_of_the_step_at_which_it_was_due():
    story, seen = Story(counted(), 20, beside=True), []
    story.go.clear()

    def look(trainer, before):
        seen.append((trainer.steps, list(story.told)))
        if trainer.steps == 35:
            story.go.set()

    run(Clockwork(1000), 50, story.evaluation, AfterSteps(look))
    assert seen[34] == (35, [])
    assert story.told == [(20, 1), (40, 2)]
    assert story.best == [(20, 1), (40, 2)]
    assert story.played == [(20, 20.0), (40, 40.0)]
    assert threading.current_thread() not in story.threads


def test_one_that_is_due_waits_for_the_one_before():
    story = Story(counted(), 20, beside=True)
    story.go.clear()

    def look(trainer, before):
        if trainer.steps == 39:
            assert not story.told
            threading.Timer(0.2, story.go.set).start()
        if trainer.steps == 40:
            assert story.told == [(20, 1)]

    run(Clockwork(1000), 41, story.evaluation, AfterSteps(look))
    assert [step for step, _ in story.told] == [20, 40]


def test_the_end_of_a_run_waits_for_it():
    story = Story(counted(), 20, beside=True)
    story.go.clear()
    threading.Timer(0.3, story.go.set).start()
    run(Clockwork(1000), 21, story.evaluation)
    assert story.told == [(20, 1)]


@pytest.mark.parametrize("steps", [21, 60])
def test_a_stop_is_heeded_while_the_run_waits_for_it(steps):
    """At the end, and where the next one is due."""
    stopping = threading.Event()
    story = Story(counted(), 20, beside=True, stopped=stopping.is_set)
    story.go.clear()
    threading.Timer(0.2, stopping.set).start()
    began = time.monotonic()
    trainer = Trainer(Recorder(), Clockwork(1000), seed=3, callbacks=[story.evaluation])
    trainer.run(steps, stopping.is_set)
    assert time.monotonic() - began < 10
    assert story.told == []
    assert story.evaluation.get_state()["played"]["step"] in (20, 40)


def test_a_stop_where_the_next_one_is_due_loses_neither():
    stopping = threading.Event()
    story = Story(counted(), 20, beside=True, stopped=stopping.is_set)
    story.go.clear()
    trainer = Trainer(Recorder(), Clockwork(1000), seed=3, callbacks=[story.evaluation])
    look = AfterSteps(lambda trainer, before: trainer.steps == 39 and threading.Timer(0.2, stopping.set).start())
    trainer.callbacks.append(look)
    trainer.run(60, stopping.is_set)
    assert (trainer.steps, story.told) == (40, [])
    stopping.clear()
    story.go.set()
    trainer.run(45)
    assert [step for step, _ in story.told] == [20, 40]


def test_an_error_of_the_training_does_not_wait_for_it():
    story = Story(counted(), 20, beside=True)
    story.go.clear()

    def fail(trainer, before):
        if trainer.steps == 25:
            raise KeyError("lost")

    with pytest.raises(KeyError, match="lost"):
        run(Clockwork(1000), 40, story.evaluation, AfterSteps(fail))
    assert story.told == []
    assert story.evaluation.get_state()["played"]["step"] == 20


def test_a_stop_breaks_it_off_and_a_resumed_run_plays_it_with_the_network_of_then():
    stopping = [False]
    story = Story(counted(), 20, beside=True, stopped=lambda: stopping[0])
    story.go.clear()

    def look(trainer, before):
        if trainer.steps == 27:
            assert story.began.wait(10)
            stopping[0] = True
            trainer.stop()

    run(Clockwork(1000), 40, story.evaluation, AfterSteps(look))
    state = story.evaluation.get_state()
    assert story.told == []
    assert (state["done"], state["played"]["step"]) == (20, 20)
    for beside in (True, False):  # and with --eval-wait
        later = Story(counted(7.0), 20, beside)
        later.evaluation.set_state(state)
        trainer = Trainer(Recorder(), Clockwork(1000), seed=3, callbacks=[later.evaluation])
        trainer.steps = 27
        trainer.run(39)
        assert later.played == [(20, 20.0)]
        assert later.told == later.best == [(20, 7)]
        assert later.evaluation.get_state() == {"best": 7, "done": 20}


def test_one_that_is_stopped_again_is_kept_again():
    for beside in (True, False):
        story = Story([None], 20, beside)
        network_of_then = {
            "step": 20,
            "due": 20,
            "acting": network(20).state_dict(),
            "model": {"w": torch.tensor(20.0)},
        }
        story.evaluation.set_state({"best": 1.0, "done": 20, "played": network_of_then})
        trainer = Trainer(Recorder(), Clockwork(1000), seed=3, callbacks=[story.evaluation])
        trainer.steps = 21
        trainer.run(25)
        assert story.evaluation.get_state()["played"]["step"] == 20


def test_a_run_that_is_continued_plays_it_again():
    """In the same process."""
    stopping = [True]
    story = Story(counted(), 20, beside=True, stopped=lambda: stopping[0])
    story.go.clear()
    trainer = run(Clockwork(1000), 21, story.evaluation)
    assert story.told == []
    stopping[0] = False
    story.go.set()
    trainer.run(30)
    assert story.played == [(20, 20.0)] * 2
    assert story.told == [(20, 1)]


def test_an_error_in_it_ends_the_run():
    story = Story([], 10, beside=True)  # has no scores left
    with pytest.raises(StopIteration):
        run(Clockwork(1000), 30, story.evaluation)


@pytest.mark.parametrize("beside", [False, True])
def test_one_that_a_fault_of_its_environment_has_ended_does_not_keep_the_run_from_going_on(beside):
    """Its games have the same seeds each time, and the fault may come with one of them."""
    story = Story(counted(), 20, beside)

    def fails(played, message, aborted):
        raise EnvironmentFault(0, "returned a reward of nan in the evaluation")

    play, story.evaluation._play = story.evaluation._play, fails
    with pytest.raises(EnvironmentFault):
        run(Clockwork(1000), 25, story.evaluation)
    state = story.evaluation.get_state()
    assert (state["done"], "played" in state) == (20, False)
    story.evaluation._play = play
    trainer = Trainer(Recorder(), Clockwork(1000), seed=3, callbacks=[story.evaluation])
    trainer.steps = 25
    trainer.run(45)
    assert story.told == [(40, 1)]


def test_what_it_says_is_said_with_its_scores():
    story = Story(counted(), 10, beside=True)
    play = story.play
    story.evaluation._play = lambda played, message, aborted: (message("endless"), play(played, message, aborted))[1]
    run(Clockwork(1000), 10, story.evaluation)
    assert story.lines == ["endless"]


# Where and how


@pytest.mark.parametrize(
    ("settings", "device", "cores", "expected"),
    [
        ({"game": "Pong"}, CPU, 2, True),
        ({"game": "Pong"}, CPU, 4, False),
        ({"game": "Pong"}, CUDA, 2, False),
        ({"env": "CartPole-v1"}, CUDA, 16, True),
        ({"env": "CartPole-v1", "eval_wait": False}, CPU, 2, False),
        ({"game": "Pong", "eval_wait": True}, CUDA, 16, True),
    ],
)
def test_when_the_training_waits(settings, device, cores, expected, monkeypatch):
    monkeypatch.setattr(evaluations, "usable_cores", lambda: cores)
    assert waits(from_flat(RunSettings, **settings), device) is expected


@pytest.mark.parametrize(
    ("settings", "number"),
    [
        ({"game": "Pong", "num_envs": 2}, 10),
        ({"game": "Pong", "num_envs": 2, "eval_episodes": 100}, 32),
        ({"game": "Pong", "num_envs": 5, "eval_steps": 100}, 5),
        ({"env": "CartPole-v1", "num_envs": 4}, 4),
        ({"env": "CartPole-v1", "num_envs": 40, "eval_episodes": 3}, 3),
    ],
)
def test_in_how_many_environments(settings, number):
    assert environments_of(from_flat(RunSettings, **settings)) == number
