"""The learning rates that train, with each normalizer: python scripts/learning_rates.py digits --jobs 2"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wnrl.distribution import checked_packages

with checked_packages():
    from rate_study.figure import check_matplotlib, draw
    from rate_study.report import Comparison, tables, write
    from rate_study.results import Results, complete
    from rate_study.row_file import held
    from rate_study.study import Study

    from agents.commands.parser import fail, read


@dataclass(frozen=True)
class LearningRates(Study):
    """The compared runs, and where their outcomes go."""

    progress: tuple[float, ...] = (0.9, 0.99)
    """A rate works where its median loss has come this share of the way from a uniform guess to the best of all."""
    jobs: int = 1
    """Parallel runs, each in a process with one thread."""
    out: Path = Path("runs/learning-rates")
    """Folder of runs.csv (a row per run; runs in it are not repeated), TASK.md and TASK.png."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.progress or not all(0 < share <= 1 for share in self.progress):
            raise ValueError(f"progress must be shares over 0, up to 1, got {self.progress}")


def main() -> int:
    """Train what is missing, print the tables and draw the figure; returns the exit code."""
    try:
        arguments = read(LearningRates, __doc__ or "")
        check_matplotlib()
        with held(arguments.out):
            results = Results(arguments.out / "runs.csv")
            comparison = Comparison(complete(results, arguments.runs(), arguments.jobs))
            text = tables(comparison, arguments.progress)
            page = arguments.out / f"{arguments.task}.md"
            write(text, page)
            draw(comparison, arguments.progress[0], page.with_suffix(".png"))
    except (ValueError, OSError) as error:
        fail(error)
    except KeyboardInterrupt:
        print("stopped: the same command goes on")
        return 130
    print(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
