"""The noise that batch statistics put into Q values: python scripts/batch_noise.py --env CartPole-v1 --jobs 2"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from wnrl.distribution import checked_packages

with checked_packages():
    from noise_study.noise_figure import draw
    from noise_study.noise_rows import NoiseRows, complete
    from noise_study.noise_settings import NoiseSettings
    from noise_study.noise_table import Study, table
    from rate_study.figure import check_matplotlib
    from rate_study.report import write
    from rate_study.row_file import held

    from agents.commands.parser import fail, read
    from agents.learner.finite import NonFiniteError


@dataclass(frozen=True)
class BatchNoise(NoiseSettings):
    """The compared runs, and where what is measured goes."""

    jobs: int = 1
    """Parallel runs, each in a process with one thread."""
    out: Path = Path("runs/batch-noise")
    """Folder of noise.csv (runs in it are not repeated), noise.md, noise.png and noise.svg."""


def main() -> int:
    """Train what is missing, print the table and draw the figure; returns the exit code."""
    try:
        arguments = read(BatchNoise, __doc__ or "")
        check_matplotlib()
        plans = arguments.plans()
        with held(arguments.out):
            rows = NoiseRows(arguments.out / "noise.csv")
            study = Study(complete(rows, plans, arguments.jobs))
            text = table(study)
            write(text, arguments.out / "noise.md")
            draw(study, arguments.out / "noise.png")
    except (ValueError, OSError) as error:
        fail(error)
    except NonFiniteError as error:
        fail(error, 1)
    except KeyboardInterrupt:
        print("stopped: the same command goes on")
        return 130
    for norm in study.broken:
        print(
            f"learning broke down with {norm}, in a run or more: Q values are no numbers, or the same in all states",
            file=sys.stderr,
        )
    print(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
