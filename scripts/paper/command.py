"""The command of an experiment: trains what is missing, then writes its summary, table and figure."""

from __future__ import annotations

import itertools

from paper.experiment import PaperSettings
from paper.loop import PaperRun, has_ended, prepared, train
from paper.summary import make_figure, measured, table, write_summary
from rate_study.figure import check_matplotlib, save
from rate_study.parallel import in_parallel

from agents.commands.parser import fail, read


def run(kind: type[PaperSettings], description: str, argv: list[str] | None = None) -> int:
    """Run an experiment from a command line, and return the exit code.

    Args:
        kind: its settings, whose fields are the flags.
        description: one line above the help.
        argv: the arguments; the process's own by default.
    """
    try:
        settings = read(kind, description, argv)
        check_matplotlib()
        print(complete(settings))
    except (ValueError, OSError) as error:
        fail(error)
    except KeyboardInterrupt as stop:
        print("stopped: the same command goes on")
        return int(stop.args[0]) if stop.args else 130
    return 0


def complete(settings: PaperSettings) -> str:
    """Train the runs that have not ended, write summary.csv, table.md and curves.png, and return the table.

    Where all have ended no data are read.

    Raises:
        ValueError: data are missing, the folder holds other runs, or a file cannot be written.
    """
    wanted = [
        PaperRun(settings, norm, seed) for seed, norm in itertools.product(range(settings.seeds), settings.compared)
    ]
    ended = [each for each in wanted if has_ended(each)]
    left = [each for each in wanted if each not in ended]
    if left and (remark := prepared(settings).remark):
        print(remark, flush=True)
    results = itertools.chain(map(train, ended), in_parallel(train, left, settings.jobs))
    for number, done in enumerate(results, 1):
        last = measured(done).epochs[-1]
        figures = ", ".join(f"{curve.label} {last[curve.tag]:.4g}" for curve in settings.curves)
        print(f"{number} of {len(wanted)}: {done}, epoch {last['step']:.0f}: {figures}", flush=True)
    runs = [measured(each) for each in wanted]
    text = table(settings, runs)
    write_summary(runs, settings.out / "summary.csv")
    (settings.out / "table.md").write_text(text + "\n")
    save(make_figure(settings, runs), settings.out / "curves.png")
    return text
