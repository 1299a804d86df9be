from dataclasses import dataclass

import pytest

from agents.commands.whole_numbers import plain_numbers, whole_number
from agents.registry import AGENTS
from agents.settings.run import TrainSettings


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1e6", 1_000_000),
        ("1E6", 1_000_000),
        ("1e+6", 1_000_000),
        ("10M", 10_000_000),
        ("2.5M", 2_500_000),
        ("500k", 500_000),
        ("1G", 10**9),
        ("1_000_000", 1_000_000),
        ("1.5e6", 1_500_000),
        ("-1", -1),
        ("12345678901234567890", 12345678901234567890),  # a seed that no float holds
        ("1e6k", None),
        ("1.5", None),
        ("1e-3", None),
        ("1.2345k", None),
        ("x", None),
        ("", None),
        ("M", None),
        ("1e", None),
        ("1MM", None),
        ("1e9999", None),
    ],
)
def test_whole_numbers(text, number):
    assert whole_number(text) == number


KIND = TrainSettings[AGENTS["dqn"].settings]


@pytest.mark.parametrize(
    ("given", "plain"),
    [
        ("--steps 1e6 --env X", "--steps 1000000 --env X"),
        ("--steps=10M", "--steps=10000000"),
        ("--eval_interval 1e4", "--eval_interval 10000"),
        ("--schedule-steps 1M", "--schedule-steps 1000000"),  # int or None
        ("--hidden 1k 1_0 --steps 1k", "--hidden 1000 10 --steps 1000"),
        ("--gamma 1e0 --env 1M --run-dir 1e6", "--gamma 1e0 --env 1M --run-dir 1e6"),  # no whole numbers
        ("--steps 1.5", "--steps 1.5"),
        ("--unknown 1M 1e6", "--unknown 1M 1e6"),
    ],
)
def test_flags_that_take_whole_numbers(given, plain):
    assert plain_numbers(given.split(), KIND) == plain.split()


def test_whatever_is_no_dataclass_is_left():
    @dataclass(frozen=True)
    class Plain:
        count: int = 3

    assert plain_numbers(["--count", "1k"], Plain) == ["--count", "1000"]
    assert plain_numbers(["--count", "1k"], Plain | int) == ["--count", "1k"]
