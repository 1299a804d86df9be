import copy
import csv
import signal
import threading

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from agents.acting.policies import make_policy
from agents.commands.parser import parse
from agents.dqn import build
from agents.learner.finite import NonFiniteError, holds_non_finite
from agents.learner.network import make_network
from agents.registry import AGENTS
from agents.runtime.background import Background
from agents.runtime.distributed import OneProcess, ProcessGoneError
from agents.runtime.seeds import Purpose, integer
from agents.settings.dqn import DQNSettings
from agents.settings.flat import from_flat, replace
from agents.settings.run import TrainSettings
from agents.training import callbacks as callbacks_module
from agents.training import evaluations as evaluations_module
from agents.training import saving as saving_module
from agents.training.evaluation_table import EvaluationTable
from agents.training.protocols import NullProgress
from agents.training.run import Run
from agents.training.run_directory import RunDirectory, broke_down, read_config
from agents.training.task import Task
from agents.training.trainer import Callback
from envs import Chain, Episode
from envs.stream import first_rows
from tests.agents.contract import differences
from tests.agents.training.recorder import AfterSteps
from wnrl.checkpoints.checkpoints import Checkpoints
from wnrl.checkpoints.tensor_files import CheckpointError, UnreadableError, read_model
from wnrl.normalizers.folding import fold
from wnrl.tracking.tracker import RunTracker

DQN = AGENTS["dqn"]


@pytest.fixture
def settings(tmp_path):
    run = {"env": "Chain", "hidden": (4,), "device": "cpu", "num_envs": 1, "steps": 60, "eval_interval": 0}
    return from_flat(
        TrainSettings[DQNSettings], run, run_dir=tmp_path / "run", learning_starts=20, batch_size=4, replay_size=200
    )


def learn(settings, spec=DQN, **options):
    with Run(spec, settings, **options) as run:
        run.learn()
    return run


def state(settings):
    return Checkpoints(settings.run.run_dir / "checkpoints").latest()


def model(settings, name="model"):
    """Tensors and description of a model that the run has saved."""
    return read_model(settings.run.run_dir / name)


def after(calls):
    """A stop that is asked for when it has been looked at so many times."""
    asked = []

    def stop():
        asked.append(None)
        return len(asked) > calls

    return stop


def test_a_run_to_its_end(settings):
    run = learn(settings)
    step, kept = state(settings)
    assert step == kept["trainer"]["steps"] == run.steps == 60
    assert run.directory.path == settings.run.run_dir
    assert model(settings)[1]["step"] == 60


def test_a_run_without_a_finished_game_can_be_kept(settings):
    """An empty window of scores is part of the state too."""
    settings = replace(settings, steps=2, num_envs=2)
    learn(settings)
    assert len(state(settings)[1]["trainer"]["statistics"]["scores"]) == 0


def test_a_stop_ends_the_run_with_a_checkpoint_and_a_model(settings):
    run = learn(settings, stop=after(10))
    assert 5 < run.steps == state(settings)[0] == model(settings)[1]["step"] <= 10  # reset rows are no steps


def test_an_evaluation_that_is_cut_short_is_made_up_for(settings):
    settings = replace(settings, eval_interval=10, eval_episodes=10_000, steps=1_000)
    learn(settings, stop=after(30))
    assert not (settings.run.run_dir / "best.json").exists()
    assert "eval/mean_reward" not in (settings.run.run_dir / "progress.csv").read_text()
    assert state(settings)[0] == 10
    learn(replace(settings, eval_episodes=2, steps=12, resume=settings.run.run_dir))
    assert "eval/mean_reward" in (settings.run.run_dir / "progress.csv").read_text()


def test_evaluation_leaves_training_as_it_is(settings):
    """Whether and how often a run is evaluated does not change what it learns."""
    learn(settings)
    path = settings.run.run_dir / "other"
    other = replace(settings, eval_interval=20, eval_epsilon=0.5, eval_episodes=3, run_dir=path)
    learn(other)
    assert differences(model(settings)[0], model(other)[0]) == []


def test_evaluations_have_their_own_games_and_as_few_environments_as_needed(settings, monkeypatch):
    made = []

    class Watched(Chain):
        def reset(self, seed=None):
            made.append((self.num_envs, seed))
            return super().reset(seed)

    monkeypatch.setattr(Task, "evaluation", lambda task, number: Watched(number))
    learn(replace(settings, eval_interval=30, eval_episodes=1, seed=5, num_envs=3))
    assert made == [(1, integer(5, Purpose.EVALUATION, step)) for step in (30, 60)]


def games_of(settings):
    """The rows of `evaluations.csv`, without their times."""
    with (settings.run.run_dir / "evaluations.csv").open() as file:
        return [{**row, "wall_time": None} for row in csv.DictReader(file)]


def scalars(settings, tag):
    events = EventAccumulator(str(settings.run.run_dir)).Reload()
    return [(event.step, event.value) for event in events.Scalars(tag)]


def test_evaluations_beside_the_training_are_those_that_it_waits_for_and_change_nothing(settings):
    waiting = replace(settings, eval_interval=20, eval_episodes=3, eval_wait=True)
    beside = replace(waiting, eval_wait=False, run_dir=settings.run.run_dir.with_name("beside"))
    runs = [learn(one) for one in (waiting, beside)]
    assert [run._waits for run in runs] == [True, False]
    assert not differences(runs[0].agent.get_state(), runs[1].agent.get_state())
    assert len(games_of(waiting)) == 9
    assert games_of(beside) == games_of(waiting)
    assert scalars(beside, "eval/mean_reward") == scalars(waiting, "eval/mean_reward")
    assert [step for step, _ in scalars(beside, "eval/mean_reward")] == [20, 40, 60]
    assert scalars(beside, "diagnostics/overestimation") == scalars(waiting, "diagnostics/overestimation")
    (tensors, about), (other, about_other) = model(waiting, "best"), model(beside, "best")
    assert about == about_other
    assert not differences(dict(tensors), dict(other))
    assert "eval/mean_reward" in (waiting.run.run_dir / "progress.csv").read_text()
    assert "eval/mean_reward" not in (beside.run.run_dir / "progress.csv").read_text()  # its rows are in order


def test_overestimation_is_that_of_the_first_actions_at_that_step(settings):
    """On the chain, where a network that stays in its first state gets a return of 0 until it is truncated."""
    settings, seen = replace(settings, eval_interval=20, eval_episodes=1, eval_wait=True, eval_epsilon=0.0), []

    def watch(trainer, scores):
        with torch.no_grad():
            values = trainer.agent.acting(torch.eye(5)).q_values.max(1).values
        gamma, length = trainer.agent.gamma, scores.lengths[0]
        following = gamma ** (length - 1) if scores.mean else gamma**length * values[0].item()
        seen.append((scores.overestimation, values[0].item() - following))

    callback = Callback()
    callback.evaluation = watch
    learn(settings, callbacks=[callback])
    assert len(seen) == 3
    for overestimation, truth in seen:
        assert overestimation == pytest.approx(truth, abs=1e-5)
    assert [value for _, value in scalars(settings, "diagnostics/overestimation")] == pytest.approx(
        [overestimation for overestimation, _ in seen]
    )


@pytest.mark.parametrize("changes", [{"munchausen": True}, {"eval_steps": 300}])
def test_what_is_no_return_is_not_compared_with_one(changes, settings):
    learn(replace(settings, eval_interval=20, eval_wait=True, **changes))
    with pytest.raises(KeyError):
        scalars(settings, "diagnostics/overestimation")


@pytest.mark.parametrize("interval", [20, 0, 7_000])
def test_an_evaluation_that_a_stop_broke_off_is_played_by_the_resumed_run_with_the_network_of_then(interval, settings):
    whole = replace(settings, eval_interval=20, eval_episodes=3, eval_wait=False, steps=40)
    learn(whole)
    broken = replace(whole, run_dir=settings.run.run_dir.with_name("broken"))
    stopping = threading.Event()

    def play(played, message, aborted):
        assert stopping.wait(20)
        return None

    with Run(DQN, broken) as run:
        run._evaluation._play = play
        run.stop = stopping.is_set
        run.set_callbacks([AfterSteps(lambda trainer, before: trainer.steps == 33 and stopping.set())])
        run.learn()
        assert run.steps == 33
    assert state(broken)[1]["evaluation"]["played"]["step"] == 20
    assert games_of(broken) == []
    later = {"resume": broken.run.run_dir, "eval_interval": interval, "steps": 39}
    learn(replace(broken, **later))
    assert games_of(broken)[:3] == games_of(whole)[:3]  # with the seeds of then, whatever the interval is now
    assert model(broken, "best")[1]["step"] == 20


@pytest.mark.parametrize(("waits", "length"), [(True, 60), (True, 40), (False, 40)])
def test_an_evaluation_that_a_stop_broke_off_at_its_step_is_that_of_an_unbroken_run(waits, length, settings):
    """The step may be the run's last one: then the resumed run has nothing else to do."""
    whole = replace(settings, eval_interval=20, eval_episodes=3, eval_wait=waits, steps=length, log_interval=20)
    learn(whole)
    broken = replace(whole, run_dir=settings.run.run_dir.with_name("broken"))
    stopped = []
    with Run(DQN, broken) as run:
        play, run.stop = run._evaluation._play, lambda: bool(stopped)
        run._evaluation._play = lambda played, *rest: stopped.append(1) if played.step == 40 else play(played, *rest)
        run.learn()
        assert (run.steps, run.finished) == (40, False)
    assert RunDirectory(broken.run.run_dir).owes_evaluation
    assert learn(replace(broken, resume=broken.run.run_dir)).finished
    assert not RunDirectory(broken.run.run_dir).owes_evaluation
    assert games_of(broken) == games_of(whole)
    assert [row["step"] for row in table(broken)] == [row["step"] for row in table(whole)]
    assert differences(state(broken)[1]["evaluation"], state(whole)[1]["evaluation"]) == []


def test_the_best_score_is_remembered_over_a_resume(settings):
    settings = replace(settings, eval_interval=20, eval_epsilon=1.0)
    learn(settings)
    best = state(settings)[1]["evaluation"]["best"]
    assert best == model(settings, "best")[1]["mean_reward"] == 1
    (settings.run.run_dir / "best.json").unlink()
    learn(replace(settings, steps=100, resume=settings.run.run_dir))
    assert not (settings.run.run_dir / "best.json").exists()  # no later score was above it
    assert state(settings)[1]["evaluation"]["best"] == best


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork")
@pytest.mark.parametrize(
    ("agent", "own"),
    [
        ("dqn", {"learning_starts": 20, "batch_size": 4, "replay_size": 200}),
        pytest.param("ppo", {"rollout_length": 6, "epochs": 1}, marks=pytest.mark.slow),
        pytest.param("a2c", {}, marks=pytest.mark.slow),
    ],
)
def test_a_run_goes_on_with_another_number_of_groups_as_if_there_were_none(agent, own, tmp_path):
    """Checkpoints are alike, though groups have their next actions by then; as are evaluations."""
    task = {"env": "CartPole-v1", "vectorization": "async", "num_envs": 3, "hidden": (4,), "device": "cpu"}
    numbers = {"steps": 70, "eval_interval": 50, "eval_episodes": 1, "checkpoint_interval": 40, **own}
    spec, states = AGENTS[agent], []
    for name, (groups, later) in {"one": (1, 1), "more": (3, 2)}.items():
        run = from_flat(TrainSettings[spec.settings], {**task, **numbers}, env_groups=groups, run_dir=tmp_path / name)
        learn(run, spec)
        states.append([state(run)[1]])
        learn(replace(run, resume=run.run.run_dir, steps=140, env_groups=later), spec)
        states[-1] += [state(run)[1], games_of(run), read_config(tmp_path / name / "config.json")["settings"]]
        assert states[-1].pop()["env_groups"] == later
    places = [place for place in differences(*states, close=True) if not place.endswith("/seconds")]
    assert places == []


def test_a_run_that_is_long_enough_already_is_refused(settings):
    learn(settings)
    with pytest.raises(ValueError, match="the run is at step 60 already: ask for more by --steps"):
        Run(DQN, replace(settings, resume=settings.run.run_dir))


def test_nothing_is_made_when_the_agent_cannot_be(settings, monkeypatch):
    def refuse(*arguments):
        raise ValueError("too large")

    monkeypatch.setattr(build, "build_dqn", refuse)
    with pytest.raises(ValueError, match="too large"):
        Run(DQN, settings)
    assert not settings.run.run_dir.exists()


@pytest.mark.parametrize("spec", AGENTS.values(), ids=lambda spec: spec.name)
def test_the_model_of_each_agent_says_how_it_plays(spec, tmp_path):
    """The metadata saved next to the tensors is enough to play as the agent's own policy does."""
    values = {**spec.preset("fast", images=False, norm="weight", flags={}), "hidden": (4,), "eval_interval": 0}
    own = {"env": "Chain", "device": "cpu", "steps": 40, "run_dir": tmp_path / "run"}
    settings = from_flat(TrainSettings[spec.settings], {**values, **own})
    learn(settings, spec)
    tensors, description = model(settings)
    assert (description["agent"], description["env"]) == (spec.name, "Chain")
    network = fold(make_network(description["network"]))
    network.load_state_dict(tensors)
    policy = make_policy(network.eval(), np.random.default_rng(0), **description["play"])
    agent = spec.build(settings.run, settings.agent, Chain(settings.run.num_envs))
    agent.set_state(state(settings)[1]["trainer"]["agent"])
    rows = first_rows(np.eye(5, dtype=np.float32))
    assert policy(rows).tolist() == agent.policy(np.random.default_rng(0))(rows).tolist()


def test_a_run_goes_on_where_it_was(settings):
    whole = replace(settings, steps=100, run_dir=settings.run.run_dir.parent / "whole")
    learn(whole)
    learn(settings)
    learn(replace(settings, steps=100, resume=settings.run.run_dir))
    assert differences(model(whole)[0], model(settings)[0]) == []


def test_a_run_that_goes_on_keeps_its_schedules_and_its_length(settings):
    settings, path = replace(settings, learning_rate_schedule="linear", log_interval=20), settings.run.run_dir
    learn(settings)
    learn(parse(DQN, "", ["--resume", str(path), "--steps", "100"]))
    rates = [float(row["train/learning_rate"]) for row in rows(settings)]
    assert rates[-2:] == [0.0, 0.0] < rates[:-2]
    again = parse(DQN, "", ["--resume", str(path)]).run
    assert (again.steps, again.schedule_steps) == (100, 60)
    learn(parse(DQN, "", ["--resume", str(path), "--steps", "140", "--schedule-steps", "140"]))
    assert float(rows(settings)[-1]["train/learning_rate"]) > 0
    assert parse(DQN, "", ["--resume", str(path), "--steps", "160"]).run.schedule_steps == 140


def test_a_run_that_goes_on_with_a_learning_rate_of_0_says_so(settings):
    def said(**changes):
        display = Display()
        learn(replace(settings, resume=settings.run.run_dir, **changes), progress=display)
        return [call[1] for call in display.calls if call[0] == "message" and "learning rate" in call[1]]

    settings = replace(settings, learning_rate_schedule="linear", schedule_steps=60)
    learn(settings)
    assert said(steps=80) == [
        "the learning rate is 0 after step 60, where its schedule ended: --schedule-steps N stretches it"
    ]
    assert said(steps=100, schedule_steps=120) == []
    assert said(steps=120, learning_rate_schedule="constant") == []


def test_a_run_goes_on_whose_first_transitions_are_broken_off_by_new_games(settings):
    """Every environment has made fewer steps than a transition has when it is stopped, and on CartPole starts again."""
    settings = replace(settings, env="CartPole-v1", n_step=3, num_envs=2, learning_starts=6, train_interval=1)
    learn(settings, stop=after(1))
    run = learn(replace(settings, resume=settings.run.run_dir, steps=12))
    assert run.agent.learner.num_updates > 0


# Without a terminal


def rows(settings):
    """Those of `progress.csv`, without what the clock says."""
    with (settings.run.run_dir / "progress.csv").open(newline="") as file:
        return [{tag: v for tag, v in row.items() if not tag.startswith("time/")} for row in csv.DictReader(file)]


def test_a_second_call_continues_to_the_bit(settings):
    """Metrics, models and state are those of one call for the whole length, and the first call's rows stay."""
    settings = replace(settings, log_interval=20, eval_interval=40, eval_episodes=2)
    whole = replace(settings, run_dir=settings.run.run_dir.parent / "whole", steps=100)
    learn(whole)
    with Run(DQN, settings) as run:
        run.learn()
        first = rows(settings)
        assert run.steps == state(settings)[0] == 60
        run.learn(100)
    assert run.steps == 100
    assert rows(settings) == rows(whole)
    assert [row["step"] for row in rows(settings)] == ["20", "40", "60", "80", "100"]
    assert [{tag: row[tag] for tag in first[0]} for row in rows(settings)[: len(first)]] == first
    assert differences(model(settings), model(whole)) == []
    (step, parts), (last, at_once) = state(settings), state(whole)
    assert step == last == 100
    for kept in (parts, at_once):
        assert kept["trainer"].pop("seconds") > 0
    assert differences(parts, at_once) == []
    events = EventAccumulator(str(settings.run.run_dir)).Reload()
    assert [event.step for event in events.Scalars("train/n_updates")] == [20, 40, 60, 80, 100]
    assert [event.step for event in events.Scalars("eval/mean_reward")] == [40, 80]


OVERLAPPING = {
    "ppo": {"rollout_length": 8, "minibatches": 2, "epochs": 2, "normalize_obs": True, "normalize_return": True},
    "a2c": {},
    "pqn": {"rollout_length": 8, "minibatches": 2},
}


@pytest.mark.parametrize("agent", OVERLAPPING)
@pytest.mark.parametrize("waits", [True, False])
def test_rollouts_that_overlap_make_the_same_files_again_and_after_a_resume(agent, waits, tmp_path):
    """With evaluations and checkpoints in the middle of rollouts; the best model is what was evaluated."""
    spec = AGENTS[agent]
    numbers = {"steps": 200, "log_interval": 30, "eval_interval": 70, "eval_episodes": 2, "checkpoint_interval": 60}
    task = {"env": "Chain", "hidden": (4,), "device": "cpu", "num_envs": 3, "eval_wait": waits}
    whole = from_flat(TrainSettings[spec.settings], {**task, **numbers}, overlap_rollouts=True, **OVERLAPPING[agent])
    first, again, cut = (replace(whole, run_dir=tmp_path / name) for name in ("first", "again", "cut"))
    learn(first, spec), learn(again, spec)
    scored = []
    learn(cut, spec, stop=lambda: len(scored) > 35, callbacks=[AfterSteps(lambda *_: scored.append(None))])
    assert 60 < state(cut)[0] < 150
    learn(replace(cut, resume=cut.run.run_dir), spec)
    kept = [state(settings)[1] for settings in (first, again, cut)]
    for settings, other in zip((again, cut), kept[1:], strict=True):
        assert {d for d in differences(kept[0], other) if not d.endswith("/seconds")} == set()
        assert rows(settings) == rows(first)
        for name in ("model", "best"):
            assert differences(model(settings, name), model(first, name)) == []


def test_the_best_model_of_rollouts_that_overlap_is_what_was_evaluated(tmp_path, monkeypatch):
    spec, played = AGENTS["a2c"], []
    run = {"env": "Chain", "hidden": (4,), "device": "cpu", "num_envs": 3, "steps": 60, "eval_interval": 50}
    settings = from_flat(TrainSettings[spec.settings], run, overlap_rollouts=True, run_dir=tmp_path / "run")
    play = Run._play

    def keep(self, what, *arguments):
        played.append(copy.deepcopy(what.acting.state_dict()))
        assert differences(played[-1], self.agent.acting.state_dict()) != []  # which is older
        return play(self, what, *arguments)

    monkeypatch.setattr(Run, "_play", keep)
    learn(settings, spec)
    assert differences(dict(played[0]), dict(model(settings, "best")[0])) == []


def test_a_run_in_a_thread_trains_to_its_end_and_touches_no_signal(settings, monkeypatch):
    """Only the main thread may set a handler, and Python lets no other."""
    before = {number: signal.getsignal(number) for number in signal.valid_signals()}
    monkeypatch.setattr(signal, "signal", lambda *arguments: pytest.fail("a handler was set"))
    ended = []
    thread = threading.Thread(target=lambda: ended.append(learn(settings).steps))
    thread.start()
    thread.join(60)
    assert ended == [60]
    assert state(settings)[0] == model(settings)[1]["step"] == 60
    assert {number: signal.getsignal(number) for number in signal.valid_signals()} == before


def test_a_run_is_silent_without_a_progress_display(settings, capfd):
    settings = replace(settings, log_interval=20, eval_interval=30, eval_episodes=1)
    learn(settings)
    learn(replace(settings, steps=80, resume=settings.run.run_dir))
    assert capfd.readouterr() == ("", "")


SUMMARY = ["task", "network", "normalizer", "device", "preset"]  # see `test_summary`


class Display(NullProgress):
    """Writes down what a run shows."""

    def __init__(self):
        self.calls = []

    def start(self, step, total_steps):
        self.calls.append(("start", step, total_steps))

    def update(self, step, games):
        self.calls.append(("update", step))

    def report(self, step, metrics):
        self.calls.append(("report", step))

    def message(self, text):
        self.calls.append(("message", text))

    def close(self):
        self.calls.append(("close",))


def test_what_is_shown(settings):
    display = Display()
    with Run(DQN, replace(settings, steps=2, log_interval=2, learning_starts=1), progress=display) as run:
        run.learn()
        run.learn(3)
    assert [text.split()[0] for _, text in display.calls[2:7]] == SUMMARY
    assert [*display.calls[:2], *display.calls[7:]] == [
        ("start", 0, 2),
        ("message", f"training in {settings.run.run_dir}"),
        ("update", 1),
        ("update", 2),
        ("report", 2),
        ("close",),
        ("start", 2, 3),
        ("message", f"resuming at step 2 in {settings.run.run_dir}"),
        ("update", 3),
        ("close",),
    ]


def test_what_is_shown_is_what_is_written(settings):
    display, shown = Display(), []
    display.report = lambda step, metrics: shown.append((step, metrics))
    learn(replace(settings, log_interval=20, eval_interval=30, eval_episodes=1), progress=display)
    assert [step for step, _ in shown] == [20, 30, 40, 60, 60]
    assert table(settings) == [
        {"step": step, **{tag: value for at, metrics in shown if at == step for tag, value in metrics.items()}}
        for step in (20, 30, 40, 60)
    ]


def table(settings):
    """Rows of `progress.csv` as numbers, without empty cells."""
    with (settings.run.run_dir / "progress.csv").open(newline="") as file:
        return [{tag: float(value) for tag, value in row.items() if value} for row in csv.DictReader(file)]


def test_a_step_has_one_row_over_a_resume_too(settings):
    """The run stops at a step at which it has just been logged and evaluated."""
    settings = replace(settings, log_interval=20, eval_interval=20, eval_episodes=1)
    learn(settings)
    learn(replace(settings, steps=100, resume=settings.run.run_dir))
    written = table(settings)
    assert [row["step"] for row in written] == [20, 40, 60, 80, 100]
    assert all({"time/fps", "eval/mean_reward"} <= row.keys() for row in written)


def test_an_evaluation_by_steps_in_which_no_game_ends_is_made_once(settings, monkeypatch):
    made, display = [], Display()
    play = evaluations_module.evaluate_steps
    monkeypatch.setattr(
        evaluations_module, "evaluate_steps", lambda *args, **options: made.append(1) or play(*args, **options)
    )
    learn(replace(settings, eval_interval=30, eval_steps=2), progress=display)  # a walk to the end takes 4
    assert len(made) == 2
    assert [call[1] for call in display.calls if call[0] == "message"][1 + len(SUMMARY) :] == [
        "evaluation at step 30: no game ended, so there is no score",
        "evaluation at step 60: no game ended, so there is no score",
    ]
    assert not any("eval/mean_reward" in row for row in table(settings))
    assert not (settings.run.run_dir / "best.json").exists()
    assert state(settings)[1]["evaluation"]["done"] == 60


def test_a_damaged_checkpoint_is_reported_and_the_one_before_taken(settings):
    learn(replace(settings, checkpoint_interval=30, steps=70))
    newest = max((settings.run.run_dir / "checkpoints").glob("*.safetensors"))
    newest.write_bytes(newest.read_bytes()[:-1])
    display = Display()
    run = learn(replace(settings, steps=61, resume=settings.run.run_dir), progress=display)
    kind, text = display.calls[0]
    assert kind == "message"
    assert text.startswith("checkpoint ")
    assert text.endswith(" cannot be used, damaged or not finite: continuing from the one before")
    assert run.steps == 61


def test_another_process_writes_checkpoints_of_its_own_and_reports_only_what_goes_wrong(settings, monkeypatch):
    path = settings.run.run_dir

    class Second(OneProcess):
        rank = 1

        def broadcast(self, value):
            return path

    monkeypatch.setattr("agents.training.run.join", Second)
    path.mkdir()
    settings = replace(settings, eval_interval=30, log_interval=30, checkpoint_interval=30)
    display = Display()
    learn(settings, progress=display)
    assert display.calls == []
    assert [file.name for file in path.iterdir()] == ["checkpoints"]
    assert Checkpoints(path / "checkpoints" / "process-1").latest()[0] == 60

    def full(self, step, state):
        if step == 30:
            raise CheckpointError("the disk is full")

    monkeypatch.setattr(Checkpoints, "save", full)
    learn(settings, progress=display)
    assert display.calls == [("message", "no checkpoint at step 30: the disk is full")]


def test_callbacks_are_called_after_each_vector_step_and_after_the_runs_own(settings, monkeypatch):
    monkeypatch.setattr(Background, "begin", lambda self, work: work())
    seen = []

    def callback(trainer, before):
        newest = Checkpoints(settings.run.run_dir / "checkpoints").latest()[0] if trainer.steps >= 30 else None
        seen.append((before, trainer.steps, newest))

    learn(replace(settings, num_envs=2, checkpoint_interval=30, steps=40), callbacks=[AfterSteps(callback)])
    # both chains end games, whose reset rows are no steps: steps go up by 1 or 2
    assert seen[0][0] == 0
    assert [before for before, _, _ in seen[1:]] == [steps for _, steps, _ in seen[:-1]]
    assert all(0 <= steps - before <= 2 for before, steps, _ in seen)
    assert seen[-1][1] >= 40
    written = [(steps, newest) for _, steps, newest in seen if newest is not None]
    assert written
    assert {newest for _, newest in written} == {written[0][0]}


def test_a_run_that_keeps_nothing_writes_nothing(settings, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = learn(replace(settings, run_dir=None, eval_interval=30, checkpoint_interval=20, log_interval=20), keep=False)
    assert run.directory is None
    assert list(tmp_path.iterdir()) == []
    kept = learn(settings)
    assert differences(run.agent.acting.state_dict(), kept.agent.acting.state_dict()) == []


def test_callbacks_are_given_the_scores_of_evaluations(settings):
    class Noted(Callback):
        def __init__(self):
            self.calls = []

        def evaluation(self, trainer, scores):
            self.calls.append((trainer.steps, scores))

    noted = Noted()
    learn(replace(settings, eval_interval=30, eval_episodes=3), callbacks=[noted])
    assert [step for step, _ in noted.calls] == [30, 60]
    assert [scores.mean for _, scores in noted.calls] == [
        float(row["eval/mean_reward"]) for row in rows(settings) if row["eval/mean_reward"]
    ]
    assert [len(scores.scores) for _, scores in noted.calls] == [3, 3]


def test_a_folder_can_be_written_at_the_end_from_which_the_run_goes_on(settings, tmp_path):
    whole = replace(settings, steps=100, run_dir=tmp_path / "whole")
    learn(whole)
    run = learn(settings, keep=False)
    run.save(tmp_path / "kept")
    learn(replace(settings, resume=tmp_path / "kept", run_dir=tmp_path / "kept", steps=100))
    assert differences(read_model(tmp_path / "kept" / "model")[0], model(whole)[0]) == []
    with pytest.raises(ValueError, match="already holds files"):
        run.save(tmp_path / "kept")


def test_a_resumed_run_may_be_as_long_as_asked_beyond_its_checkpoint(settings):
    learn(settings)
    run = learn(replace(settings, resume=settings.run.run_dir), more=25)
    assert (run.steps, run.settings.run.steps) == (85, 85)
    assert parse(DQN, "", ["--resume", str(settings.run.run_dir)]).run.steps == 85


# Environments are closed


@pytest.fixture
def closed(monkeypatch):
    """The number of closed environments, which grows."""
    closed = []

    class Watched(Chain):
        def close(self):
            closed.append(None)

    for kind in ("training", "evaluation"):
        monkeypatch.setattr(Task, kind, lambda task, num_envs, groups=1: Watched(num_envs))
    return closed


def test_a_run_closes_its_environment_at_its_end(settings, closed):
    with Run(DQN, settings) as run:
        run.learn()
        assert not closed
    assert len(closed) == 1


def test_a_run_closes_its_environment_after_an_error(settings, closed):
    def fail(trainer, before):
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        learn(settings, callbacks=[AfterSteps(fail)])
    assert len(closed) == 1


def test_an_evaluation_closes_its_environment_whatever_happens(settings, closed, monkeypatch):
    learn(replace(settings, eval_interval=30, eval_episodes=1))
    assert len(closed) == 3

    def fail(*arguments, **options):
        raise RuntimeError("mine")

    monkeypatch.setattr(evaluations_module, "evaluate", fail)
    with pytest.raises(RuntimeError, match="mine"):
        learn(replace(settings, eval_interval=30, eval_episodes=1, run_dir=settings.run.run_dir / "again"))
    assert len(closed) == 5


def test_a_run_whose_agent_cannot_be_built_closes_its_environment(settings, closed, monkeypatch):
    def refuse(*arguments):
        raise ValueError("too large")

    monkeypatch.setattr(build, "build_dqn", refuse)
    with pytest.raises(ValueError, match="too large"):
        Run(DQN, settings)
    assert len(closed) == 1


def test_a_run_that_cannot_be_resumed_closes_its_environment(settings, closed):
    learn(settings)
    assert len(closed) == 1
    with pytest.raises(ValueError, match="at step 60 already"):
        Run(DQN, replace(settings, resume=settings.run.run_dir))
    assert len(closed) == 2


# What ends a run leaves a checkpoint and a model


class Breaks(Callback):
    """Does something to the run at a step."""

    def __init__(self, at, what):
        self._at, self._what = at, what

    def step(self, trainer, before):
        if before < self._at <= trainer.steps:
            self._what(trainer)


def fails(error):
    def fail(trainer):
        raise error

    return fail


def spoils(trainer):
    next(trainer.agent.learner.network.parameters()).data.view(-1)[0] = float("nan")


def said_by(settings, error, match, *callbacks, **options):
    """What a run says that ends in an error."""
    lines = []

    class Display(NullProgress):
        def message(self, text):
            lines.append(text)

    with (
        pytest.raises(error, match=match),
        Run(DQN, settings, progress=Display(), callbacks=callbacks, **options) as run,
    ):
        run.learn()
    return lines


@pytest.mark.parametrize("error", [RuntimeError("device"), OSError(28, "No space"), SystemExit(3), KeyboardInterrupt()])
def test_an_error_leaves_a_checkpoint_and_a_model_of_its_step(settings, error):
    lines = said_by(settings, type(error), None, Breaks(30, fails(error)))
    assert lines[-1] == "the run broke off at step 30: it can go on from there"
    assert state(settings)[0] == model(settings)[1]["step"] == 30
    rest = learn(replace(settings, resume=settings.run.run_dir))
    whole = learn(replace(settings, run_dir=settings.run.run_dir.with_name("whole")))
    assert not differences(rest.agent.get_state(), whole.agent.get_state())


def test_learning_that_broke_down_leaves_the_checkpoint_before_it(settings):
    """Its weights may be finite still, where a loss is not."""
    with pytest.raises(NonFiniteError):
        learn(replace(settings, checkpoint_interval=25), callbacks=[Breaks(40, fails(NonFiniteError("infinite loss")))])
    assert state(settings)[0] == model(settings)[1]["step"] == 25


def test_a_folder_that_cannot_be_written_whole_is_not_left(settings, tmp_path, monkeypatch):
    def full(*arguments):
        raise CheckpointError("no space")

    run, path = learn(settings), tmp_path / "kept"
    monkeypatch.setattr(Checkpoints, "save", full)
    with pytest.raises(CheckpointError, match="no space"):
        run.save(path)
    assert not path.exists()


def test_an_error_in_the_middle_of_a_step_leaves_a_checkpoint_that_goes_on_with_new_games(settings, monkeypatch):
    calls, recv = [], Chain.recv

    def breaks(environment):
        calls.append(None)
        if len(calls) == 31:
            raise RuntimeError("the emulator died")
        return recv(environment)

    monkeypatch.setattr(Chain, "recv", breaks)
    said_by(settings, RuntimeError, "the emulator died")
    kept = state(settings)[1]["trainer"]
    assert "environment" not in kept
    monkeypatch.setattr(Chain, "recv", recv)
    assert learn(replace(settings, resume=settings.run.run_dir)).steps == 60


def test_a_second_interrupt_saves_nothing_more(settings):
    stop = []
    said = said_by(
        settings,
        KeyboardInterrupt,
        None,
        Breaks(30, lambda trainer: stop.append(None)),
        Breaks(30, fails(KeyboardInterrupt())),
        stop=lambda: bool(stop),
    )
    assert not any("broke off" in line for line in said)
    assert not (settings.run.run_dir / "model.json").exists()


def test_weights_that_are_not_finite_stop_the_run_at_the_next_row_and_replace_nothing(settings):
    settings = replace(settings, checkpoint_interval=25, log_interval=10)
    said = said_by(settings, NonFiniteError, r"before step 50: train/loss is nan", Breaks(45, spoils))
    assert said[-1] == (
        "no checkpoint of step 50, where learning broke down: that of step 25 stays, from which it can go on"
    )
    step, kept = state(settings)
    assert step == model(settings)[1]["step"] == 25
    assert not holds_non_finite(kept["trainer"]["agent"]["learner"])
    assert broke_down(RunDirectory(settings.run.run_dir).config) == 50
    learn(replace(settings, resume=settings.run.run_dir))
    assert broke_down(RunDirectory(settings.run.run_dir).config) is None


@pytest.mark.parametrize("due", ["evaluation", "checkpoint", "end"])
def test_weights_that_are_not_finite_are_never_written(settings, due):
    """Even where no row of metrics comes first."""
    changes = {"evaluation": {"eval_interval": 50}, "checkpoint": {"checkpoint_interval": 50}, "end": {}}
    settings = replace(settings, log_interval=10**6, **changes[due])
    said = said_by(settings, NonFiniteError, "weight", Breaks(45, spoils))
    assert "there is none before" in said[-1]
    assert not list(settings.run.run_dir.glob("*.safetensors"))
    assert not list(settings.run.run_dir.glob("checkpoints/*"))


def test_an_error_that_comes_of_weights_that_are_not_finite_is_named_as_such(settings):
    """Such as that of a draw from probabilities that are NaN."""
    error = RuntimeError("probability tensor contains nan")
    said_by(settings, NonFiniteError, "weight", Breaks(45, spoils), Breaks(45, fails(error)))


def test_a_checkpoint_that_is_not_finite_is_passed_over(settings):
    settings = replace(settings, checkpoint_interval=25)
    learn(settings)
    step, kept = state(settings)
    next(iter(kept["trainer"]["agent"]["learner"]["network"].values())).view(-1)[0] = float("inf")
    Checkpoints(settings.run.run_dir / "checkpoints").save(step, kept)
    with Run(DQN, replace(settings, resume=settings.run.run_dir)) as run:
        assert run.steps == 50


def test_a_model_is_written_with_each_checkpoint(settings, monkeypatch):
    monkeypatch.setattr(Background, "begin", lambda self, work: work())
    settings = replace(settings, checkpoint_interval=25)
    steps = []
    look = AfterSteps(lambda trainer, before: trainer.steps == 51 and steps.append(model(settings)[1]["step"]))
    learn(settings, callbacks=[look])
    assert steps == [50]


def test_a_folder_that_is_gone_is_not_made_anew_for_a_best_model(settings):
    settings = replace(settings, eval_interval=30, checkpoint_interval=0)
    moved = settings.run.run_dir.with_name("moved")

    def look(trainer, before):
        if trainer.steps == 20:
            settings.run.run_dir.rename(moved)
        if trainer.steps == 40:
            assert not settings.run.run_dir.exists()

    with pytest.raises(CheckpointError, match="is gone: was it renamed"):
        learn(settings, callbacks=[AfterSteps(look)])
    assert (moved / "config.json").exists()


def test_when_checkpoints_are_written_changes_nothing_that_is_learned(settings, monkeypatch):
    once = learn(replace(settings, log_interval=7))
    monkeypatch.setattr(callbacks_module, "LONGEST", 0.0)
    monkeypatch.setattr(callbacks_module, "SHARE", 1.0)
    settings = replace(settings, log_interval=7, run_dir=settings.run.run_dir.with_name("often"))
    often = learn(settings)
    assert len(list(settings.run.run_dir.glob("checkpoints/*"))) == 2
    assert not differences(often.agent.get_state(), once.agent.get_state())


def renamed(path):
    path.rename(path.with_name("renamed"))


def unwritable(path):
    """Like a folder that one may only read, for the superuser too."""
    (path / "checkpoints").rmdir()
    (path / "checkpoints").touch()


@pytest.mark.parametrize(("happens", "found"), [(renamed, "run"), (unwritable, "run-rescued")])
def test_a_run_whose_folder_cannot_be_written_is_kept_in_another(settings, happens, found):
    path = settings.run.run_dir
    said_by(
        replace(settings, checkpoint_interval=40),
        CheckpointError,
        rf"checkpoint and model of step 60 are in .*{found}",
        Breaks(30, lambda trainer: happens(path)),
    )
    rescued = path.with_name(found)
    assert read_model(rescued / "model")[1]["step"] == 60
    assert learn(replace(settings, resume=rescued, steps=70)).steps == 70


@pytest.mark.parametrize("what", ["RunTracker.settings", "EvaluationTable._write"])
def test_a_run_that_cannot_be_written_to_from_the_start_is_one_line_and_can_be_begun_again(settings, what, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    kinds = {"RunTracker": RunTracker, "EvaluationTable": EvaluationTable}
    kind, method = what.split(".")
    with monkeypatch.context() as patch:
        patch.setattr(kinds[kind], method, full)
        with pytest.raises(ValueError, match=r"^cannot write the run to .*run: No space left on device$"):
            Run(DQN, settings)
    assert learn(settings).steps == 60
    with monkeypatch.context() as patch:
        patch.setattr(EvaluationTable, "_write", full)
        with pytest.raises(ValueError, match=r"^cannot write the run to .*run: No space left on device$"):
            Run(DQN, replace(settings, resume=settings.run.run_dir, steps=70))
    assert learn(replace(settings, resume=settings.run.run_dir, steps=70)).steps == 70


def test_a_row_of_metrics_that_cannot_be_written_is_reported_and_the_run_goes_on(settings, monkeypatch):
    def full(tracker, step, scalars):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(RunTracker, "write", full)
    lines = []

    class Display(NullProgress):
        def message(self, text):
            lines.append(text)

    assert learn(replace(settings, log_interval=30), progress=Display()).steps == 60
    told = [line for line in lines if line.startswith("no row")]
    assert len(told) == 2
    assert told[0] == "no row of metrics at step 30: [Errno 28] No space left on device; the run goes on"


def test_a_better_model_than_the_checkpoint_knows_of_is_not_replaced_by_a_worse(settings, monkeypatch):
    """Best models of after the last checkpoint are not forgotten when the run is killed and goes on."""
    scores = iter([5.0, 9.0, 7.0, 8.0])
    monkeypatch.setattr(evaluations_module, "evaluate", lambda *_, **__: [Episode(0, next(scores), 3)])
    settings = replace(settings, eval_interval=20, checkpoint_interval=30)
    said_by(settings, RuntimeError, "killed", Breaks(45, fails(RuntimeError("killed"))))
    for path in settings.run.run_dir.glob("checkpoints/*45*"):
        path.unlink()
    assert state(settings)[1]["evaluation"]["best"] == 5
    learn(replace(settings, resume=settings.run.run_dir))
    assert model(settings, "best")[1]["mean_reward"] == 9


def test_a_best_model_of_a_later_format_is_not_replaced(settings, monkeypatch):
    settings = replace(settings, eval_interval=20)
    learn(settings)

    def later(path_stem, *_, **__):
        raise UnreadableError(f"{path_stem} is of a later format")

    monkeypatch.setattr(saving_module, "read_model", later)
    with pytest.raises(UnreadableError, match="later format"):
        Run(DQN, replace(settings, resume=settings.run.run_dir, steps=80))


def test_a_damaged_best_model_is_reported_and_replaced(settings):
    settings, said = replace(settings, eval_interval=20), []
    learn(settings)
    (settings.run.run_dir / "best.safetensors").write_bytes(b"damaged")

    class Display(NullProgress):
        def message(self, text):
            said.append(text)

    learn(replace(settings, resume=settings.run.run_dir, steps=80), progress=Display())
    assert any("the best model is damaged and will be replaced" in line for line in said)


def test_a_display_follows_an_evaluation(settings):
    got = []

    class Display(NullProgress):
        def evaluating(self, games, of):
            got.append((games, of))

    learn(replace(settings, eval_interval=40, eval_episodes=3, num_envs=2), progress=Display())
    assert got[-1] == (3, 3)
    assert got == sorted(got)


def test_a_display_that_is_gone_ends_nothing(settings):
    class Gone(NullProgress):
        def update(self, step, games):
            raise BrokenPipeError

    assert learn(settings, progress=Gone()).steps == 60


def test_a_process_that_is_gone_ends_an_evaluation(settings, monkeypatch):
    """Of an endless game, while the others wait."""
    asked = []

    def check(ranks):
        asked.append(ranks)
        if len(asked) == 30:
            raise ProcessGoneError("another process of the run has ended")

    monkeypatch.setattr(OneProcess, "check", check)
    settings = replace(settings, eval_interval=20, eval_episodes=1000)
    with pytest.raises(ProcessGoneError), Run(DQN, settings) as run:
        run.learn()
    assert len(asked) == 30
