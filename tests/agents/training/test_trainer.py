import numpy as np
import pytest

from agents.training.callbacks import Checkpointing, Evaluation, Log
from agents.training.trainer import Report, Trainer
from envs import Chain, Episode
from tests.agents.environments import Clockwork


class Recorder:
    """An agent that writes down what it is told."""

    def __init__(self, overlap=False):
        self.overlap = overlap
        self.acted, self.observed, self.learned, self.followed = [], [], [], []

    def act(self, timestep, step):
        self.acted.append(step)
        return np.ones(len(timestep.obs), int)

    def observe(self, timestep, action):
        self.observed.append((timestep, action))

    def learn(self, before, after, timestep):
        self.learned.append((before, after))
        self.followed.append(timestep)

    def figures(self, step):
        return {"train/n_updates": step}

    def get_state(self):
        return {"acted": list(self.acted)}

    def set_state(self, state):
        self.acted = list(state["acted"])


class Table:
    """A tracker that keeps its rows."""

    def __init__(self):
        self.rows = []

    def write(self, step, scalars):
        self.rows.append((step, dict(scalars)))

    def close(self):
        pass


def run(environment, steps, *callbacks):
    trainer = Trainer(Recorder(), environment, seed=3, callbacks=callbacks)
    trainer.run(steps)
    return trainer


def silent(step, figures):
    pass


# The loop


def test_reset_rows_are_no_steps():
    trainer = run(Clockwork(2, 3), 12)
    # rows after the first: env 0 steps on 1 1 0 1 1 0 1 1, env 1 on 1 1 1 0 1 1 1 0
    assert trainer.agent.learned == [(0, 2), (2, 4), (4, 5), (5, 6), (6, 8), (8, 9), (9, 11), (11, 12)]
    assert trainer.agent.acted == [0, 2, 4, 5, 6, 8, 9, 11]
    assert trainer.steps == 12


def test_the_agent_sees_every_row_with_the_action_chosen_at_it():
    trainer = run(Clockwork(2), 4)
    firsts = [bool(timestep.first[0]) for timestep, _ in trainer.agent.observed]
    lasts = [bool(timestep.last[0]) for timestep, _ in trainer.agent.observed]
    assert firsts == [True, False, False, True, False]
    assert lasts == [False, False, True, False, False]
    assert all(action.tolist() == [1] for _, action in trainer.agent.observed)


def test_the_agent_learns_with_the_row_that_followed():
    trainer = run(Clockwork(2), 4)
    rows = [timestep for timestep, _ in trainer.agent.observed]
    assert [bool(row.last[0]) for row in trainer.agent.followed] == [False, True, False, False, True]
    assert all(followed is row for followed, row in zip(trainer.agent.followed, rows[1:], strict=False))


def test_an_agent_that_overlaps_learns_between_the_actions_and_what_they_lead_to():
    """The steps are counted all the same, and the row is the one that was acted on."""
    environment, order = Clockwork(2, 3), []
    agent = Recorder(overlap=True)
    for owner, method in ((environment, "send"), (environment, "recv"), (agent, "observe"), (agent, "learn")):
        setattr(owner, method, noted(order, method, getattr(owner, method)))
    Trainer(agent, environment, seed=3).run(12)
    assert order[:8] == ["observe", "send", "learn", "recv"] * 2
    assert agent.learned == [(0, 2), (2, 4), (4, 5), (5, 6), (6, 8), (8, 9), (9, 11), (11, 12)]
    assert all(row is seen for row, (seen, _) in zip(agent.followed, agent.observed, strict=True))


def noted(order, name, method):
    """The method, which writes its name down when it is called."""
    return lambda *arguments: (order.append(name), method(*arguments))[1]


@pytest.mark.parametrize("num_envs", [1, 3, 8])
def test_goes_on_to_the_length_and_not_further_than_one_row(num_envs):
    trainer = run(Chain(num_envs), 100)
    assert 100 <= trainer.steps < 100 + num_envs
    trainer.run(100)
    assert len(trainer.agent.learned) == len(trainer.agent.acted)
    assert trainer.agent.learned[-1][1] == trainer.steps


def test_intervals_follow_each_other_without_a_gap_over_two_runs():
    trainer = run(Chain(3), 50)
    trainer.run(120)
    befores, afters = zip(*trainer.agent.learned, strict=True)
    assert befores == (0, *afters[:-1])
    assert trainer.environment.max_steps == 100  # the second run did not reset
    assert sum(timestep.first.all() for timestep, _ in trainer.agent.observed[1:]) == sum(
        timestep.last.all() for timestep, _ in trainer.agent.observed[:-1]
    )


def test_stops_when_asked():
    trainer = Trainer(Recorder(), Clockwork(5), seed=0)
    trainer.run(100, stopped=lambda: trainer.steps >= 7)
    assert trainer.steps == 7


def test_statistics_are_of_whole_games():
    trainer = run(Clockwork(2, 4, reward=3.0), 40)
    assert set(trainer.statistics._scores) == {6.0, 12.0}


def test_the_environment_is_seeded():
    assert run(Clockwork(2), 4).environment.seeds == [3]


def test_a_resumable_environment_goes_on_in_the_middle_of_a_game():
    whole, part = run(Chain(2, slip=0.3), 40), run(Chain(2, slip=0.3), 25)
    rest = Trainer(Recorder(), Chain(2, slip=0.3), seed=99)
    rest.set_state(part.get_state())
    rest.run(40)
    assert rest.steps == whole.steps
    shown = np.array([timestep.obs for timestep, _ in rest.agent.observed])
    truth = np.array([timestep.obs for timestep, _ in whole.agent.observed])
    np.testing.assert_array_equal(shown, truth[-len(shown) :])


def test_an_environment_that_cannot_be_restored_starts_new_games_under_another_seed():
    part = run(Clockwork(10), 25)
    rest = Trainer(Recorder(), Clockwork(10), seed=3)
    rest.set_state(part.get_state())
    rest.run(33)
    assert rest.environment.seeds == [28]
    assert rest.agent.learned[0] == (25, 26)
    assert rest.agent.observed[0][0].first.all()
    assert list(rest.statistics._lengths) == [10, 10]  # the game in progress is left out


# Hooks


@pytest.mark.parametrize("num_envs", [1, 3, 7])
def test_hooks_fire_once_an_interval(num_envs):
    saved, played, table = [], [], Table()

    class Saved:
        def save(self, step, state):
            saved.append((step, state))

    run(
        Clockwork(*[1000] * num_envs),
        100,
        Log(table.write, 10, 1),
        Checkpointing(Saved(), 25, lambda: {"x": 1}, print),
        Evaluation(
            lambda policy, step: played.append((policy, step)) or [Episode(0, 1.0, 2)],
            lambda step: f"policy {step}",
            50,
            keep_best=silent,
        ),
    )
    due = {
        interval: [-(-tick // num_envs) * num_envs for tick in range(interval, 101, interval)]
        for interval in (10, 25, 50)
    }
    assert [step for step, _ in table.rows] == due[10]
    assert saved == [(step, {"x": 1}) for step in due[25]]
    assert played == [(f"policy {step}", step) for step in due[50]]


def test_an_interval_of_0_never_fires():
    never = Checkpointing(None, 0, None, None), Evaluation(None, None, 0, keep_best=None)
    run(Clockwork(5), 30, *never)


class Clock:
    """Stands for a trainer whose time is set by hand."""

    def __init__(self, steps, seconds):
        self.steps, self.seconds = steps, seconds
        self.agent, self.statistics = Recorder(), run(Clockwork(2), 1).statistics


def test_speed_is_of_the_steps_since_the_last_row():
    table, reported = Table(), []
    report = Report(table, lambda step, figures: reported.append((step, figures)))
    log, trainer = Log(report, 100, 4), Clock(60, 1.0)
    log(trainer, 0)
    trainer.steps, trainer.seconds = 100, 2.0
    log(trainer, 60)
    trainer.steps, trainer.seconds = 200, 2.5
    log(trainer, 100)
    speeds = [(row["time/fps"], row["time/frames_per_second"], row["time/time_elapsed"]) for _, row in table.rows]
    assert speeds == [(50, 200, 2.0), (200, 800, 2.5)]
    assert reported == table.rows


def test_speed_after_a_resume_leaves_the_earlier_sessions_out():
    table, trainer = Table(), Clock(1_040, 500.0)
    log = Log(table.write, 100, 1)
    log(trainer, 1_000)
    trainer.steps, trainer.seconds = 1_100, 501.0
    log(trainer, 1_040)
    assert table.rows[0][1]["time/fps"] == 100


def test_scores_are_logged_once_a_game_has_ended():
    table = Table()
    run(Clockwork(15, reward=2.0), 20, Log(table.write, 10, 1))
    assert "rollout/ep_rew_mean" not in table.rows[0][1]
    assert (table.rows[1][1]["rollout/ep_rew_mean"], table.rows[1][1]["rollout/ep_len_mean"]) == (30, 15)
    assert table.rows[1][1]["train/n_updates"] == 20


def test_evaluation_writes_means_and_keeps_the_best():
    table, best = Table(), []
    scores = iter([[1.0, 2.0], [5.0], [], [3.0], [4.0], [6.0]])
    evaluation = Evaluation(
        lambda policy, step: [Episode(0, score, 10 * index + 10) for index, score in enumerate(next(scores))],
        lambda step: None,
        10,
        keep_best=lambda step, score: best.append((step, score)),
    )
    evaluation.report = table.write
    run(Clockwork(1000), 50, evaluation)
    assert table.rows == [
        (10, {"eval/mean_reward": 1.5, "eval/mean_ep_length": 15}),
        (20, {"eval/mean_reward": 5, "eval/mean_ep_length": 10}),
        (31, {"eval/mean_reward": 3, "eval/mean_ep_length": 10}),  # the one at 30 was stopped, and is made up for
        (40, {"eval/mean_reward": 4, "eval/mean_ep_length": 10}),
        (50, {"eval/mean_reward": 6, "eval/mean_ep_length": 10}),
    ]
    assert best == [(10, 1.5), (20, 5), (50, 6)]
    assert evaluation.get_state() == {"best": 6, "done": 50}
