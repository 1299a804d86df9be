import re
import subprocess
import sys
import threading

import numpy as np
import pytest

from agents.training import progress as module
from agents.training.progress import Figure, Speed, TerminalProgress, duration, fitting, short
from envs import EpisodeStatistics
from tests.agents.environments import Clockwork

METRICS = {
    "time/fps": 3086.4,
    "time/frames_per_second": 12345.6,
    "rollout/ep_rew_mean": 1.25,
    "rollout/exploration_rate": 0.456,
    "train/loss": 0.01234,
    "train/n_updates": 7,
}
NO_GAMES = EpisodeStatistics(1)


class Clock:
    """Stands still until it is moved."""

    def __init__(self):
        self.now = 1_000.0

    def __call__(self):
        return self.now

    def move(self, seconds):
        self.now += seconds


def played(*scores):
    """Statistics after games with these scores."""
    games = EpisodeStatistics(1)
    for score in scores:
        environment = Clockwork(1, reward=score)
        games.update(environment.reset())
        games.update(environment.step(np.zeros(1, int)))
    return games


def drawn(err):
    """The states of the bar, oldest first."""
    return [line for line in re.split(r"[\r\n]+", err) if line.strip()]


# Speed


def test_speed_leaves_the_warm_up_out():
    """8,000 steps of random play take 1 s; then a step takes 10 ms."""
    clock = Clock()
    speed = Speed(clock)
    assert (speed.rate, speed.seconds) == (0, 0)
    clock.move(1)
    speed.learned(8_000)
    assert speed.rate == 0
    for step in range(8_008, 8_809, 8):
        clock.move(0.08)
        speed.learned(step)
    assert speed.rate == pytest.approx(100)
    assert speed.seconds == pytest.approx(8.08, rel=0.01)


def test_speed_of_rollouts_is_that_of_whole_ones():
    """A rollout of 1,000 steps takes 1 s, its gradient steps 3 s; they come with its last step."""
    clock, rates = Clock(), set()
    speed = Speed(clock)
    for rollout in range(1, 6):
        clock.move(4)
        speed.learned(1_000 * rollout)
        clock.move(0)
        rates.add(round(speed.rate, 6))
    assert rates == {0, 250}


def test_speed_forgets():
    """A machine that has become ten times slower is known to be so after some multiples of the memory."""
    clock, step = Clock(), 0
    speed = Speed(clock)

    def learn(seconds, rate):
        nonlocal step
        for _ in range(seconds):
            clock.move(1)
            step += rate
            speed.learned(step)

    learn(600, 1_000)
    assert speed.rate == pytest.approx(1_000)
    learn(60, 100)
    assert 800 < speed.rate < 900
    learn(3_000, 100)
    assert 100 < speed.rate < 110


# A bar


@pytest.fixture
def bar(monkeypatch):
    """Makes a display with a bar in a terminal of so many columns, by a clock that stands still."""

    made = []

    def make(columns):
        monkeypatch.setenv("COLUMNS", str(columns))
        clock = Clock()
        made.append(TerminalProgress(bar=True, clock=clock))
        return made[-1], clock

    yield make
    for progress in made:
        progress.close()


def learn(progress, clock, *, steps=1_000_000, score=1.25):
    """A run of a million steps that has learned for 20 s, 100 steps a second, up to step 10,000."""
    progress.start(0, steps)
    clock.move(2)
    progress.learned(8_000)
    clock.move(20)
    progress.learned(10_000)
    progress.update(10_000, played(score))


@pytest.mark.parametrize(
    ("columns", "shown"),
    [
        (200, "10.0k/1.00M steps, 100 steps/s, 2:45:00 left, return 1.2, epsilon 0.46, loss 0.0123"),
        (80, "10.0k/1.00M steps, 100 steps/s, 2:45:00 left, return 1.2"),
        (60, "100 steps/s, 2:45:00 left, return 1.2"),
        (40, "2:45:00 left, return 1.2"),
        (25, "2:45:00 left"),
        (20, ""),
    ],
)
def test_as_many_figures_as_fit_in_one_line(columns, shown, bar, capsys):
    progress, clock = bar(columns)
    learn(progress, clock)
    progress.report(10_000, METRICS)
    clock.move(1)
    progress.update(10_000, played(1.25))
    err = drawn(capsys.readouterr().err)
    assert err[-1].startswith("  1%|")
    assert err[-1].endswith(f"| {shown}")
    assert {len(line) for line in err} == {columns - 1}
    progress.close()


def test_there_is_one_rate_in_one_unit(bar, capsys):
    progress, clock = bar(200)
    learn(progress, clock)
    progress.report(10_000, METRICS)
    progress.close()
    last = drawn(capsys.readouterr().err)[-1]
    assert last.count("/s") == 1
    assert "frames" not in last


def test_a_run_of_many_days_has_days_left(bar, capsys):
    progress, clock = bar(80)
    learn(progress, clock, steps=100_000_000)
    assert drawn(capsys.readouterr().err)[-1].endswith("| 10.0k/100M steps, 100 steps/s, 12 days left, return 1.2")


def test_before_the_first_gradient_step_no_time_is_promised(bar, capsys):
    progress, clock = bar(80)
    progress.start(0, 1_000_000)
    clock.move(1)
    progress.update(8_000, played(2.0))
    assert drawn(capsys.readouterr().err)[-1].endswith("| 8000/1.00M steps, warm-up, return 2.0")
    progress.close()


def test_the_return_is_shown_from_the_first_finished_game_on(bar, capsys):
    progress, clock = bar(80)
    progress.start(0, 100)
    for step, games in enumerate([NO_GAMES, played(3.0), played(3.0, 5.0)]):
        clock.move(1)
        progress.update(step, games)
    lines = drawn(capsys.readouterr().err)
    assert ["return" in line for line in lines[-3:]] == [False, True, True]
    assert lines[-2].endswith("return 3.0")
    assert lines[-1].endswith("return 4.0")
    progress.close()


def test_the_bar_says_how_far_an_evaluation_is_while_training_waits(bar, capsys):
    progress, clock = bar(80)
    learn(progress, clock)
    for games in range(3):
        clock.move(1)
        progress.evaluating(games, 10)
        assert f" evaluating {games}/10" in drawn(capsys.readouterr().err)[-1]
    clock.move(0.01)
    progress.evaluating(3, 10)
    assert not drawn(capsys.readouterr().err)
    clock.move(1)
    progress.update(10_000, NO_GAMES)
    assert " left" in drawn(capsys.readouterr().err)[-1]
    progress.evaluating(9, 10)
    progress.close()
    assert "evaluating" not in drawn(capsys.readouterr().err)[-1]


def test_the_bar_is_drawn_ten_times_a_second_at_most(bar, capsys):
    progress, clock = bar(80)
    progress.start(0, 10_000)
    for step in range(10_000):
        clock.move(0.001)
        progress.update(step, NO_GAMES)
    assert 80 < len(drawn(capsys.readouterr().err)) <= 105
    progress.close()


def test_when_enough_was_measured_one_line_says_how_long_the_run_takes(bar, capsys):
    progress, clock = bar(80)
    learn(progress, clock)
    for step in range(10_000, 20_000, 100):
        clock.move(1)
        progress.learned(step)
    assert capsys.readouterr().out.splitlines() == [
        "at 100 steps/s the 990,000 steps to go take 2.8 h, 100,000 of them 17 min"
    ]
    progress.close()


@pytest.mark.parametrize(
    ("steps", "said"), [(15_000, []), (20_000, ["at 100 steps/s the 10,000 steps to go take 100 s"])]
)
def test_of_a_short_run_nothing_is_announced(steps, said, bar, capsys):
    progress, clock = bar(80)
    learn(progress, clock, steps=steps)
    assert capsys.readouterr().out.splitlines() == said
    progress.close()


def test_the_end_shows_how_long_it_took(bar, capsys):
    progress, clock = bar(80)
    learn(progress, clock, steps=10_000)
    progress.update(10_004, played(1.25))  # the last row may go beyond the length
    progress.close()
    last = drawn(capsys.readouterr().err)[-1]
    assert last.startswith("100%|")
    assert last.endswith("10.0k/10.0k steps, took 00:22, return 1.2")


def test_the_end_does_not_count_beyond_the_length(bar, capsys):
    progress, _ = bar(80)
    progress.start(0, 8_000)
    progress.update(8_003, NO_GAMES)
    progress.close()
    assert "| 8000/8000 steps, took" in drawn(capsys.readouterr().err)[-1]


@pytest.mark.parametrize("first", [0, 150])
def test_a_run_that_was_longer_already_has_a_full_bar(first, bar, capsys):
    progress, _ = bar(80)
    progress.start(first, 100)
    progress.close()
    last = drawn(capsys.readouterr().err)[-1]
    assert f"{100 if first else 0:3}%|" in last
    assert ("150/150 steps" if first else "0/100 steps") in last


def test_evaluations_are_lines_above_the_bar(bar, capsys):
    progress, clock = bar(80)
    learn(progress, clock, steps=11_000)
    progress.report(10_000, {"eval/mean_reward": 3.0, "eval/mean_ep_length": 1234.6})
    progress.close()
    assert capsys.readouterr().out.splitlines() == ["step 10,000: evaluation return 3.0, length 1,235"]


def test_a_bar_starts_no_thread(bar):
    before = threading.active_count()
    progress, _ = bar(80)
    progress.start(0, 100)
    assert threading.active_count() == before
    progress.close()


# Lines


@pytest.mark.parametrize("terminal", [True, False])
def test_a_bar_is_drawn_where_there_is_a_terminal(terminal, capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal, raising=False)
    progress = TerminalProgress()
    progress.start(0, 100)
    progress.close()
    assert bool(capsys.readouterr().err) is terminal


def test_without_a_terminal_each_row_of_metrics_is_a_line(capsys):
    clock = Clock()
    progress = TerminalProgress(bar=False, clock=clock)
    progress.message("hello")
    progress.start(0, 1_000_000)
    progress.update(8, played(1.0))
    progress.report(1_000, {"time/fps": 3086.4})
    learn(progress, clock)
    progress.report(10_000, METRICS)
    progress.report(10_000, {"eval/mean_reward": 3.0, "eval/mean_ep_length": 9.6})
    progress.close()
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "hello",
        "step 1,000 of 1,000,000: warm-up",
        "at 100 steps/s the 990,000 steps to go take 2.8 h, 100,000 of them 17 min",
        "step 10,000 of 1,000,000: 100 steps/s, 2:45:00 left, return 1.2, epsilon 0.46, loss 0.0123",
        "step 10,000: evaluation return 3.0, length 10",
    ]
    assert err == ""


@pytest.mark.parametrize(
    ("columns", "lines"),
    [(80, ["score 3.0 ± 1.0, and some more words"]), (20, ["score 3.0 ± 1.0, and", "  some more words"])],
)
def test_a_long_line_is_wrapped_between_words_in_a_narrow_terminal(columns, lines, bar, capsys, monkeypatch):
    progress, _ = bar(columns)
    text = "score 3.0 ± 1.0, and some more words"
    progress.message(text)
    assert capsys.readouterr().out.splitlines() == [text]  # a file has no columns
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    progress.message(text)
    assert capsys.readouterr().out.splitlines() == lines


def test_a_path_is_never_broken(bar, capsys, monkeypatch):
    progress, _ = bar(20)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    progress.message("training in runs/a-long-name-with-hyphens")
    assert "  runs/a-long-name-with-hyphens" in capsys.readouterr().out.splitlines()


SHOW = """
from agents.training.progress import TerminalProgress
from envs import EpisodeStatistics

progress = TerminalProgress(bar={bar})
progress.start(0, 100)
progress.update(50, EpisodeStatistics(1))
progress.message("3.0 ± 1.0 at ε 0.05")
progress.close()
"""


@pytest.mark.parametrize("bar", [True, False])
def test_output_that_is_ascii_only(bar, monkeypatch):
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    done = subprocess.run([sys.executable, "-c", SHOW.format(bar=bar)], capture_output=True, check=True)
    assert b"3.0 +/- 1.0 at epsilon 0.05" in done.stdout
    assert (done.stdout + done.stderr).isascii()
    assert bool(done.stderr) is bar


# Text


def test_what_is_left_out_first():
    figures = [Figure(2, "a" * 10), Figure(0, "b" * 10), Figure(1, "c" * 10)]
    assert fitting(figures, None) == "aaaaaaaaaa, bbbbbbbbbb, cccccccccc"
    assert fitting(figures, 100) == "aaaaaaaaaa, bbbbbbbbbb, cccccccccc"
    assert fitting(figures, 40) == "bbbbbbbbbb, cccccccccc"
    assert fitting(figures, 30) == "bbbbbbbbbb"
    assert fitting(figures, 5) == ""


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (9_999, "9999"), (12_345, "12.3k"), (123_456, "123k"), (1_234_567, "1.23M"), (50_000_000, "50.0M")],
)
def test_steps_are_short(number, text):
    assert short(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (119, "119 s"), (1_100, "18 min"), (7_200, "2.0 h"), (54_000, "15 h"), (172_800, "2.0 days")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_the_display_of_a_notebook(monkeypatch):
    """There tqdm.auto's class is one of tqdm.notebook, and stderr is no terminal."""
    widget = type("tqdm_notebook", (module.tqdm,), {"__module__": "tqdm.notebook"})
    monkeypatch.setattr(module, "tqdm", widget)
    assert TerminalProgress()._shown
