"""agents.commands.sweep.settings: what a sweep's command line says of the sweep itself."""

import re

import pytest

from agents.commands.sweep.settings import FLAGS, SweepSettings
from agents.reports.cautions import FIRST_SEARCHED


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        ({"paper": True, "atari_5": True}, "--paper and --atari-5 are two sweeps: choose one"),
        ({"scale": 0.0}, "scale must be above 0 and at most 1, got 0.0"),
        ({"scale": 1.01}, "scale must be above 0 and at most 1, got 1.01"),
        ({"scale": float("nan")}, "scale must be above 0 and at most 1, got nan"),
        ({"cpus_per_trial": -0.5}, "cpus_per_trial must be finite and not negative, got -0.5"),
        ({"gpus_per_trial": -1.0}, "gpus_per_trial must be finite and not negative, got -1.0"),
        ({"cpus_per_trial": float("nan")}, "cpus_per_trial must be finite and not negative, got nan"),
        ({"gpus_per_trial": float("inf")}, "gpus_per_trial must be finite and not negative, got inf"),
        ({"first_seed": -1}, "first_seed and retries must not be negative"),
        ({"retries": -1}, "first_seed and retries must not be negative"),
        ({"samples": 4}, "--samples is for a search by --tune and at least 1, got 4"),
        ({"samples": 0, "tune": ("gamma=0.9:0.99",)}, "--samples is for a search by --tune and at least 1, got 0"),
        (
            {"first_seed": FIRST_SEARCHED - 4},
            f"seeds from {FIRST_SEARCHED:,} are those of searches: choose another first_seed",
        ),
    ],
)
def test_settings_that_cannot_be(wrong, line):
    with pytest.raises(ValueError, match=f"^{re.escape(line)}$"):
        SweepSettings(**wrong)


@pytest.mark.parametrize(
    "right",
    [
        {"scale": 1.0},
        {"cpus_per_trial": 0.0, "gpus_per_trial": 0.0},
        {"samples": 1, "tune": ("gamma=0.9:0.99",)},
        {"first_seed": FIRST_SEARCHED - 5},
        {"retries": 0},
    ],
)
def test_settings_at_their_bounds(right):
    assert all(getattr(SweepSettings(**right), name) == value for name, value in right.items())


def test_flags_that_are_no_axes_are_those_of_the_sweep():
    assert {"agents", "norms", "seeds", "steps", "out", "dry_run"} <= set(FLAGS)
    assert "learning_rate" not in FLAGS
