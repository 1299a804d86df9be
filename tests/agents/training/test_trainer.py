import numpy as np
import pytest

from agents.acting.policies import Decision
from agents.runtime.seeds import Purpose, sequence
from agents.training.evaluation import Scores
from agents.training.trainer import Callback, Trainer
from envs import Chain, Episode, Groups, Gym
from envs.faults import EnvironmentFault
from envs.seeds import environment_seeds
from envs.stream import StateError
from tests.agents.environments import Clockwork
from tests.agents.training.recorder import Recorder, run


def test_reset_rows_are_no_steps():
    trainer = run(Clockwork(2, 3), 12)
    # rows after the first: env 0 steps on 1 1 0 1 1 0 1 1, env 1 on 1 1 1 0 1 1 1 0
    assert trainer.agent.learned == [(0, 2), (2, 4), (4, 5), (5, 6), (6, 8), (8, 9), (9, 11), (11, 12)]
    assert trainer.agent.acted == [0, 2, 4, 5, 6, 8, 9, 11]
    assert trainer.steps == 12


def test_the_agent_sees_every_row_with_the_decision_made_at_it():
    trainer = run(Clockwork(2), 4)
    firsts = [bool(timestep.first[0]) for timestep, _ in trainer.agent.observed]
    lasts = [bool(timestep.last[0]) for timestep, _ in trainer.agent.observed]
    assert firsts == [True, False, False, True, False]
    assert lasts == [False, False, True, False, False]
    assert all(decision.action.tolist() == [1] for _, decision in trainer.agent.observed)


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
    assert order[:8] == ["send", "observe", "learn", "recv"] * 2
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
    (seeds,) = run(Clockwork(2, 2), 4).environment.seeds
    assert seeds.tolist() == environment_seeds(sequence(3, Purpose.TRAINING, 0), 2).tolist()


def test_a_resumable_environment_goes_on_in_the_middle_of_a_game():
    whole, part = run(Chain(2, slip=0.3), 40), run(Chain(2, slip=0.3), 25)
    rest = Trainer(Recorder(), Chain(2, slip=0.3), seed=99)
    rest.set_state(part.get_state())
    rest.run(40)
    assert rest.steps == whole.steps
    shown = np.array([timestep.obs for timestep, _ in rest.agent.observed])
    truth = np.array([timestep.obs for timestep, _ in whole.agent.observed])
    np.testing.assert_array_equal(shown, truth[-len(shown) :])


def cartpole():
    return Gym("CartPole-v1", 2)


def test_an_environment_of_gymnasium_goes_on_in_the_middle_of_a_game():
    whole, part = run(cartpole(), 90), run(cartpole(), 35)
    assert not part._timestep.last.all()
    rest = Trainer(Recorder(), cartpole(), seed=99)
    rest.set_state(part.get_state())
    rest.run(90)
    assert (rest.refused, rest.steps, rest.statistics._scores) == ("", whole.steps, whole.statistics._scores)
    shown = np.array([timestep.obs for timestep, _ in rest.agent.observed])
    truth = np.array([timestep.obs for timestep, _ in whole.agent.observed])
    np.testing.assert_array_equal(shown, truth[-len(shown) :])


@pytest.mark.parametrize(
    ("make", "change", "reason"),
    [
        (cartpole, {"timestep": {}}, "the row's obs must be float32 [2, 4]"),
        (cartpole, {"environment": {}}, "it is not of 2 environments"),
        (lambda: Clockwork(3, 3), {}, "here it cannot be restored"),
    ],
)
def test_new_games_begin_where_the_state_does_not_fit(make, change, reason):
    rest = Trainer(Recorder(), make(), seed=3)
    rest.set_state(run(cartpole(), 35).get_state() | change)
    assert rest.refused == reason
    rest.run(40)
    assert rest.agent.observed[0][0].first.all()


def test_a_state_that_cannot_be_taken_is_left_out(monkeypatch):
    part = run(cartpole(), 35)
    assert {"environment", "timestep"} <= part.get_state().keys()

    def refuse():
        raise StateError("it is nested too deep")

    monkeypatch.setattr(part.environment, "get_state", refuse)
    assert not {"environment", "timestep"} & part.get_state().keys()


def test_whether_it_can_be_restored_is_found_out_before_the_first_step(monkeypatch):
    environment, order = cartpole(), []
    monkeypatch.setattr(Gym, "resumable", property(lambda self: order.append("resumable")))
    monkeypatch.setattr(environment, "step", noted(order, "step", environment.step))
    Trainer(Recorder(), environment, seed=0).run(4)
    assert order == ["resumable", "step", "step"]


def test_an_environment_that_cannot_be_restored_starts_new_games_under_another_seed():
    part = run(Clockwork(10), 25)
    rest = Trainer(Recorder(), Clockwork(10), seed=3)
    rest.set_state(part.get_state())
    rest.run(33)
    assert [seeds.tolist() for seeds in rest.environment.seeds] == [
        environment_seeds(sequence(3, Purpose.TRAINING, 25), 1).tolist()
    ]
    assert rest.environment.seeds[0] != part.environment.seeds[0]
    assert rest.agent.learned[0] == (25, 26)
    assert rest.agent.observed[0][0].first.all()
    assert list(rest.statistics._lengths) == [10, 10]  # the game in progress is left out


class Noted(Callback):
    """Writes down what it is called for."""

    def __init__(self, *, stop_at=None):
        self.calls, self._stop_at = [], stop_at

    def start(self, trainer):
        self.calls.append(("start", trainer.steps))

    def step(self, trainer, before):
        self.calls.append(("step", before, trainer.steps))
        if trainer.steps == self._stop_at:
            trainer.stop()

    def update(self, trainer, updates):
        self.calls.append(("update", updates))

    def evaluation(self, trainer, scores):
        self.calls.append(("evaluation", scores.mean))

    def end(self, trainer):
        self.calls.append(("end", trainer.steps))


def test_a_callback_is_called_at_each_event_of_each_run():
    agent, noted = Recorder(), Noted()
    agent.updates = {2: 1, 4: 3}
    trainer = Trainer(agent, Clockwork(10), seed=0, callbacks=[noted])
    trainer.run(2)
    trainer.evaluated(Scores.of([Episode(0, 5.0, 2)]))
    trainer.run(4)
    assert noted.calls == [
        *[("start", 0), ("step", 0, 1), ("update", 1), ("step", 1, 2), ("end", 2)],
        ("evaluation", 5),
        *[("start", 2), ("step", 2, 3), ("update", 3), ("step", 3, 4), ("end", 4)],
    ]


def test_a_method_that_nothing_would_call_is_refused():
    with pytest.raises(
        TypeError, match=r"Mine._on_step would never be called: a Callback has start\(trainer\), step\(tr"
    ):
        type("Mine", (Callback,), {"_on_step": lambda self: True})


@pytest.mark.parametrize("event", ["start", "step"])
def test_a_callback_may_stop_the_run_which_can_go_on(event):
    noted = Noted(stop_at=3)
    trainer = Trainer(Recorder(), Clockwork(10), seed=0, callbacks=[noted])
    if event == "start":
        noted.start = lambda trainer: trainer.steps or trainer.stop()
    trainer.run(10)
    assert trainer.steps == (3 if event == "step" else 0)
    noted.start = lambda trainer: None
    trainer.run(5)
    assert trainer.steps == (5 if event == "step" else 3)


def test_every_callback_ends_where_the_end_of_one_fails():
    ended = []

    class Ends(Callback):
        def __init__(self, error=None):
            self.error = error

        def end(self, trainer):
            ended.append(self.error)
            if self.error:
                raise self.error

    errors = [KeyError("first"), KeyError("second"), None]
    with pytest.raises(KeyError, match="first"):
        run(Clockwork(5), 3, *map(Ends, errors))
    assert ended == errors


def test_the_end_is_reported_after_an_error_too():
    noted = Noted()
    environment = Clockwork(10)
    environment.recv = lambda: 1 / 0
    with pytest.raises(ZeroDivisionError):
        Trainer(Recorder(), environment, seed=0, callbacks=[noted]).run(5)
    assert noted.calls[-1][0] == "end"


@pytest.mark.parametrize("at", [0, 4])
def test_a_fault_of_an_environment_gets_the_step_of_the_run(at):
    class Fails(Clockwork):
        def reset(self, seed=None):
            return self._fail() if at == 0 else super().reset(seed)

        def step(self, action):
            row = super().step(action)
            return self._fail() if self.elapsed[0] == at else row

        def _fail(self):
            raise EnvironmentFault(1, "returned a reward of nan")

    with pytest.raises(EnvironmentFault, match=rf"^environment 1 returned a reward of nan at step {2 * at}$"):
        Trainer(Recorder(), Fails(10, 10), seed=0).run(100)


class ByParts(Recorder):
    """Acts on parts of rows; every third row is learned from before the next one is acted on."""

    def __init__(self, log, overlap=False):
        super().__init__(overlap)
        self.log = log

    @property
    def acts_ahead(self):
        return len(self.observed) % 3 != 0

    def draw_row(self, number, step):
        self.log.append(f"draw {number} at {step}")
        return np.arange(number) % 2

    def act_on(self, timestep, draws, part):
        self.log.append(f"act {part.start}")
        assert len(timestep.obs) == len(draws[part])
        return Decision(draws[part])

    def observe(self, timestep, decision):
        self.log.append("observe")
        super().observe(timestep, decision)

    def learn(self, before, after, timestep):
        self.log.append("learn")
        super().learn(before, after, timestep)


class Watched(Clockwork):
    """Writes down, under a name, what it is asked for."""

    def __init__(self, log, name, *lengths):
        super().__init__(*lengths)
        self._log, self._name = log, name

    def send(self, action):
        self._log.append(f"send {self._name}")
        super().send(action)

    def recv(self):
        self._log.append(f"recv {self._name}")
        return super().recv()


def in_groups(log, overlap=False, **options):
    """A trainer of two groups, of 2 environments and of 1."""
    environment = Groups([Watched(log, 0, 3, 4), Watched(log, 2, 5)])
    return Trainer(ByParts(log, overlap), environment, seed=3, **options)


ROW = ["draw 3 at {}", "act 0", "send 0", "act 2", "send 2"]
AHEAD = ["draw 3 at {}", "recv 0", "act 0", "send 0", "recv 2", "act 2", "send 2"]


def test_each_group_is_acted_on_while_the_others_step():
    log = []
    in_groups(log).run(12)
    third = ["recv 0", "recv 2", "learn"]  # after which the fourth row is acted on
    lines = [*ROW, "observe", *AHEAD, "learn", "observe", *AHEAD, "learn", "observe", *third, *ROW, "observe"]
    assert log[: len(lines)] == "\n".join(lines).format(0, 3, 6, 9).split("\n")


def test_what_overlaps_is_learned_when_all_groups_have_their_actions():
    log = []
    in_groups(log, overlap=True).run(9)
    assert log[:14] == "\n".join([*ROW, "observe", "learn", *AHEAD]).format(0, 3).split("\n")
    assert log[14:16] == ["observe", "learn"]


@pytest.mark.parametrize("overlap", [False, True])
def test_groups_make_the_steps_of_a_single_environment(overlap):
    truth, trainer = Trainer(Recorder(overlap), Clockwork(3, 4, 5), seed=3), in_groups([], overlap)
    for steps in (7, 40, 90):  # a stop leaves groups in the middle of a step
        truth.run(steps), trainer.run(steps)
        assert trainer.steps == truth.steps
        assert trainer.agent.learned == truth.agent.learned
        assert trainer.statistics.get_state()["scores"].tolist() == truth.statistics.get_state()["scores"].tolist()
        for name in ("followed", "observed"):
            ours, others = (getattr(one.agent, name) for one in (trainer, truth))
            rows = [[row if name == "followed" else row[0] for row in side] for side in (ours, others)]
            for row, other in zip(*rows, strict=True):
                for field, value in zip(row, other, strict=True):
                    np.testing.assert_array_equal(field, value)
    assert all(decision.action.tolist() == [0, 1, 0] for _, decision in trainer.agent.observed)


def test_a_callback_stops_groups_at_its_step():
    noted = Noted(stop_at=9)
    trainer = in_groups([], callbacks=[noted])
    trainer.run(100)
    assert trainer.steps == 9
    assert noted.calls[-1] == ("end", 9)


def test_a_fault_in_a_group_has_its_step_and_index():
    trainer = in_groups([])

    def fail():
        raise EnvironmentFault(0, "failed")

    trainer.run(6)
    trainer.environment.environments[1].recv = fail
    with pytest.raises(EnvironmentFault, match=r"^environment 2 failed at step 9$"):
        trainer.run(30)
    with pytest.raises(RuntimeError, match="broke off in the middle of a step"):
        trainer.run(30)
