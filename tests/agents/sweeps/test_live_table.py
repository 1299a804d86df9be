"""agents.sweeps.live_table"""

import io

import pytest

from agents.sweeps.live_table import LiveTable, duration, labels, shortened
from tests.agents.sweeps.made_up import a_trial

TRIALS = [a_trial(norm=norm, seed=seed) for seed in range(2) for norm in ("none", "weight")]


class Terminal(io.StringIO):
    def isatty(self):
        return True


def table(stream=None, finished=()):
    now = [0.0]
    return LiveTable(TRIALS, finished, stream=stream or io.StringIO(), clock=lambda: now[0]), now


def test_the_rows():
    shown, now = table(finished=TRIALS[:1])
    shown.started(TRIALS[1].name)
    shown.progressed(TRIALS[1].name, 150, 20.0)
    now[0] = 60.0
    assert shown.rows(10) == [
        "trials     done  runs   steps     return",
        "weight      0/2     1     25%         20",
        "none        1/2     0     50%           ",
        "[1/4] 38%, about 5 minutes left",
    ]
    assert shown.rows(3)[-2:] == ["… and 1 more", "[1/4] 38%, about 5 minutes left"]
    shown.failed(TRIALS[3].name, "why", final=True)
    assert "1 failed" in shown.rows(10)[1]


def test_a_trial_whose_learning_broke_down_has_ended():
    stream = io.StringIO()
    shown, _ = table(stream)
    shown.progressed(TRIALS[1].name, 100, 5.0)
    shown.broke_down(TRIALS[1].name, 1_200)
    assert stream.getvalue() == f"{TRIALS[1].name} ended at step 1,200, where its learning broke down\n"
    assert shown.rows(10)[1:3] == [
        "none        0/2     0      0%           ",
        "weight      1/2     0     50%          5  1 broke down",
    ]
    assert shown.rows(10)[-1].startswith("[1/4]")


def test_a_trial_whose_learning_broke_down_under_an_earlier_command():
    shown = LiveTable(TRIALS, TRIALS[:2], broken=TRIALS[:1], stream=io.StringIO())
    assert shown.rows(10)[1:3] == [
        "none        1/2     0     50%             1 broke down",
        "weight      1/2     0     50%           ",
    ]


def test_lines_without_a_terminal():
    stream = io.StringIO()
    shown, _ = table(stream)
    first, second, third, _ = (trial.name for trial in TRIALS)
    shown.started(first)
    shown.progressed(first, 300, 20.25)
    shown.finished(first)
    shown.failed(second, "exit code 1: no", final=False)
    shown.failed(second, "exit code 1: no", final=True)
    shown.progressed(third, 100, None)
    shown.finished(third)
    assert stream.getvalue().splitlines() == [
        f"[1/4] {first} has its 300 steps, last return 20.25",
        f"{second} broke off and starts again: exit code 1: no",
        f"{second} failed: exit code 1: no",
        f"[2/4] {third} was stopped at step 100",
    ]


def test_one_table_redrawn_in_a_terminal(monkeypatch):
    stream = Terminal()
    shown, now = table(stream)
    shown.started(TRIALS[0].name)
    first = stream.getvalue()
    assert first.count("\n") == 4
    shown.started(TRIALS[1].name)  # within a second: nothing is drawn
    assert stream.getvalue() == first
    now[0] = 2.0
    shown.failed(TRIALS[1].name, "why", final=True)
    assert stream.getvalue()[len(first) :].startswith("\x1b[4F\x1b[Jdqn-CartPole-v1-weight-s0 failed: why\ntrials")
    monkeypatch.setenv("COLUMNS", "20")
    shown.close()
    assert max(map(len, stream.getvalue().rsplit("\x1b[J", 1)[1].splitlines())) == 19


def test_a_stream_that_is_gone_ends_nothing():
    stream = io.StringIO()
    shown, _ = table(stream)
    stream.close = None
    stream.write = lambda text: (_ for _ in ()).throw(OSError("gone"))
    shown.finished(TRIALS[0].name)


def test_narrow_terminals_get_short_names():
    long = [a_trial(norm=norm, settings={"n": "x" * 60}, varied=("n",)) for norm in ("none", "weight")]
    long.append(a_trial(norm="none", settings={"n": "y"}, varied=("n",)))
    shown = LiveTable(long, [], stream=io.StringIO())
    shown.failed(long[0].name, "why", final=True)
    assert max(map(len, shown.rows(9, 60))) <= 60
    assert shown.rows(9, 60)[1].startswith("none n=…xxxxxxxx ")
    assert "1 failed" in shown.rows(9, 60)[1]
    assert (shortened("abcdefgh", 5), shortened("abc", 5)) == ("ab…gh", "abc")


def test_only_what_differs_is_shown():
    one, two = a_trial(settings={"n": 1}, varied=("n",)), a_trial(settings={"n": 2}, varied=("n",))
    assert labels([one, two]) == {one.group: "n=1", two.group: "n=2"}
    assert labels([a_trial()]) == {a_trial().group: "dqn CartPole-v1 weight"}


@pytest.mark.parametrize(
    ("seconds", "words"), [(3, "a minute"), (80, "a minute"), (200, "3 minutes"), (9_000, "2.5 hours")]
)
def test_duration(seconds, words):
    assert duration(seconds) == words
