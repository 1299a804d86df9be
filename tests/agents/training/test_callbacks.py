import pytest

from agents.runtime.distributed import OneProcess
from agents.training import callbacks
from agents.training.callbacks import Checkpointing, Endless, Log, Shown
from agents.training.trainer import Trainer
from tests.agents.environments import Clockwork
from tests.agents.training.recorder import AfterSteps, Recorder, run
from wnrl.checkpoints.tensor_files import CheckpointError


class Table:
    """Keeps the rows that are reported."""

    def __init__(self):
        self.rows = []

    def write(self, step, metrics):
        self.rows.append((step, dict(metrics)))


@pytest.mark.parametrize("num_envs", [1, 3, 7])
def test_callbacks_fire_once_an_interval(num_envs):
    saved, table = [], Table()
    run(
        Clockwork(*[1000] * num_envs),
        100,
        Log(table.write, 10, 1),
        Checkpointing(saved.append, 25, 10, message=print),
    )
    due = {
        interval: [-(-tick // num_envs) * num_envs for tick in range(interval, 101, interval)] for interval in (10, 25)
    }
    assert [step for step, _ in table.rows] == due[10]
    assert saved == due[25]


def test_an_interval_of_0_never_fires():
    late = iter(range(0, 10**9, 10**6))
    run(Clockwork(5), 30, Checkpointing(None, 0, 1, message=None, clock=lambda: next(late)))


def test_a_display_gets_each_vector_step_and_those_with_gradient_steps():
    said = []

    class Display:
        def learned(self, step):
            said.append(("learned", step))

        def update(self, step, games):
            said.append(("at", step, games.mean_score))

    def learn(before, after, timestep):
        agent.learner.num_updates += 2 * (after == 4)

    agent = Recorder()
    agent.learn = learn
    trainer = Trainer(agent, Clockwork(2, 2, reward=3.0), seed=0, callbacks=[Shown(lambda: Display())])
    trainer.run(4)
    assert said[1:] == [("learned", 4), ("at", 4, 6.0)]
    assert said[0][:2] == ("at", 2)
    assert said[0][2] != said[0][2]  # no game has ended yet


class Clock:
    """Stands for a trainer whose time is set by hand."""

    def __init__(self, steps, seconds, wall_seconds=1.0, first_step=0):
        self.steps, self.seconds, self.wall_seconds, self.first_step = steps, seconds, wall_seconds, first_step
        self.agent, self.statistics = Recorder(), run(Clockwork(2), 1).statistics


def speeds(table, *names):
    return [tuple(row[f"time/{name}"] for name in names) for _, row in table.rows]


def test_speed_is_of_wall_time_since_the_start_and_that_of_training_of_the_steps_since_the_last_row():
    """Evaluations and checkpoints take 8 of the 10 seconds."""
    table = Table()
    log, trainer = Log(table.write, 100, 4), Clock(60, 1.0)
    log.step(trainer, 0)
    trainer.steps, trainer.seconds, trainer.wall_seconds = 100, 2.0, 2.0
    log.step(trainer, 60)
    trainer.steps, trainer.seconds, trainer.wall_seconds = 200, 2.5, 10.0
    log.step(trainer, 100)
    assert speeds(table, "fps", "training_fps", "frames_per_second", "time_elapsed") == [
        (50, 50, 200, 2),
        (20, 200, 80, 10),
    ]


def test_speed_after_a_resume_leaves_the_earlier_sessions_out():
    table, trainer = Table(), Clock(1_040, 500.0, first_step=1_000)
    log = Log(table.write, 100, 1)
    log.step(trainer, 1_000)
    trainer.steps, trainer.seconds, trainer.wall_seconds = 1_100, 501.0, 4.0
    log.step(trainer, 1_040)
    assert speeds(table, "fps", "training_fps", "time_elapsed") == [(25, 100, 4)]


def test_where_there_are_no_frames_none_are_counted():
    table = Table()
    run(Clockwork(1000), 10, Log(table.write, 10, 1))
    assert "time/fps" in table.rows[0][1]
    assert "time/frames_per_second" not in table.rows[0][1]


@pytest.mark.parametrize("first", [0, 30])
def test_time_spent_in_callbacks_is_in_the_speed_but_not_in_that_of_training(first, monkeypatch):
    """A step takes 1 s and a callback 4 s by this clock."""
    now = [100.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    table, environment = Table(), Clockwork(1000)
    log = Log(table.write, 10, 1)
    trainer = Trainer(
        Recorder(), environment, seed=0, callbacks=[AfterSteps(lambda trainer, before: now.append(now.pop() + 4))]
    )
    trainer.callbacks.append(log)
    recv = environment.recv
    environment.recv = lambda: (now.append(now.pop() + 1), recv())[1]
    trainer.steps = first
    now[0] += 1_000  # between its making and its start
    trainer.run(first + 20)
    assert speeds(table, "fps", "time_elapsed") == [(0.2, 50), (0.2, 100)]
    assert speeds(table, "training_fps")[-1] == (1,)


def test_scores_are_logged_once_a_game_has_ended():
    table = Table()
    run(Clockwork(15, reward=2.0), 20, Log(table.write, 10, 1))
    assert "rollout/ep_rew_mean" not in table.rows[0][1]
    assert (table.rows[1][1]["rollout/ep_rew_mean"], table.rows[1][1]["rollout/ep_len_mean"]) == (30, 15)
    assert table.rows[1][1]["train/n_updates"] == 20


def test_a_checkpoint_that_cannot_be_written_is_reported_and_the_run_continues():
    said = []

    def full(step):
        raise CheckpointError("the disk is full")

    trainer = run(Clockwork(1000), 30, Checkpointing(full, 20, 1000, message=said.append))
    assert said == ["no checkpoint at step 20: the disk is full"]
    assert trainer.steps == 30


class Seconds:
    """A clock that moves on by so many seconds a step, and more while a checkpoint is written."""

    def __init__(self, a_step, a_checkpoint=0.0):
        self.now, self.a_step, self.a_checkpoint, self.saved = 0.0, a_step, a_checkpoint, []

    def __call__(self):
        return self.now

    def save(self, step):
        self.saved.append(step)
        self.now += self.a_checkpoint

    def passes(self):
        return AfterSteps(lambda trainer, before: setattr(self, "now", self.now + self.a_step))


@pytest.mark.parametrize(
    ("seconds", "interval", "due"),
    [
        (Seconds(61), 1000, [10, 20, 30, 40]),  # a row every 610 s
        (Seconds(59), 1000, [20, 40]),  # every 590 s
        (Seconds(61), 15, [10, 15, 30, 40, 45]),  # those by steps start the time again
        (Seconds(0.1), 1000, []),
        (Seconds(61, a_checkpoint=64), 1000, [10, 30, 50]),  # 5 % of 1280 s
        (Seconds(61), 0, []),
    ],
)
def test_a_checkpoint_is_due_after_ten_minutes_unless_it_takes_too_much_of_the_time(seconds, interval, due):
    run(
        Clockwork(1000),
        50 if 50 in due else 45,
        seconds.passes(),
        Checkpointing(seconds.save, interval, 10, message=print, clock=seconds),
    )
    assert seconds.saved == due


def test_the_first_process_decides_when_a_checkpoint_is_due_by_time():
    class Second(OneProcess):
        rank, world_size = 1, 2
        said = iter([0, 1, 0, 0])

        def sum(self, value):
            assert value == 0  # however late it is here
            return next(self.said)

    late, saved = Seconds(1e6), []
    run(
        Clockwork(1000),
        40,
        late.passes(),
        Checkpointing(saved.append, 1000, 10, message=print, ranks=Second(), clock=late),
    )
    assert saved == [20]


@pytest.mark.parametrize(
    ("length", "updates", "said"),
    [(10**6, {}, 1), (3000, {}, 0), (10**6, {70: 1}, 0)],
    ids=["endless", "ends", "learns"],
)
def test_an_agent_of_whole_games_says_once_that_none_has_ended(length, updates, said, monkeypatch):
    monkeypatch.setattr(callbacks, "WITHOUT_AN_END", 4000)
    lines = []
    agent = Recorder()
    agent.updates = updates
    Trainer(agent, Clockwork(length), seed=0, callbacks=[Endless(lines.append)]).run(9000)
    assert len(lines) == said
    assert all("no game has ended in 4,000 steps" in line for line in lines)
