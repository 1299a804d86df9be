"""Searches that draw settings: Optuna's sampler proposes them, ASHA stops those that fall behind (Li et al. 2020)."""

from __future__ import annotations

import csv
import dataclasses
import json
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search import ConcurrencyLimiter
from ray.tune.search.optuna import OptunaSearch

from agents.reports.cautions import FIRST_SEARCHED
from agents.sweeps.csv_file import write_csv
from agents.sweeps.live_table import LiveTable
from agents.sweeps.ray_runs import Resources, ShownTrials, configuration, fit, tuned_trial
from agents.sweeps.search import Candidate, Range, Space
from agents.sweeps.sweep_folder import SweepFolder
from agents.sweeps.trials import Trial
from envs.atari import usable_cores

REDUCTION = 3
"""Of each rung of ASHA the best third goes on."""
GRACE = 9
"""The first rung is at this part of a run."""
SEEDS = 1_000_000
"""Seeds of a search."""
REPEAT = "repeat of these settings"
"""Beside the settings of a proposal: how often they were made before."""


def search(
    folder: SweepFolder,
    base: Trial,
    space: Space,
    samples: int,
    resources: Resources,
    check: Callable[[], None] = lambda: None,
) -> list[Candidate]:
    """Draw settings for an agent, a task and a normalizer until there are so many samples, each one run.

    Those that an earlier command has tried count, and are known to the sampler.

    Args:
        folder: of the sweep.
        base: the trial without the settings that are searched.
        space: what is searched.
        samples: runs in all.
        resources: of each.
        check: called often; what it raises ends the search.

    Raises:
        ValueError: an earlier command has tried settings that this one does not search.
    """
    record = samples_of(folder, base, space)
    known = record.read()
    if len(known) < samples:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        sampler = optuna.samplers.TPESampler(seed=len(known), n_startup_trials=max(4, samples // 3))
        proposes = Proposals(
            {name: distribution(values) for name, values in space.items()},
            known,
            metric="score",
            mode="max",
            sampler=sampler,
        )
        at_once = max(1, int(usable_cores() / max(resources.cpus, 1e-9)))
        config = tune.TuneConfig(
            search_alg=ConcurrencyLimiter(proposes, max_concurrent=at_once),
            scheduler=ASHAScheduler(
                time_attr="step",
                metric="score",
                mode="max",
                max_t=base.steps,
                grace_period=max(1, base.steps // GRACE),
                reduction_factor=REDUCTION,
            ),
            num_samples=samples - len(known),
        )
        worker = tune.with_parameters(sampled_trial, base=dataclasses.asdict(base), path=str(folder.path.absolute()))
        table = table_of(base, samples, len(known))
        warnings.filterwarnings("ignore", "All-NaN slice", RuntimeWarning)  # of a rung whose runs have no score yet
        try:
            fit(folder, {}, resources, [Recorded(record, table, base, check)], config, worker)
        finally:
            table.close()
    return [Candidate(base, one.settings, one.score, one.steps >= base.steps) for one in record.read()]


def samples_of(folder: SweepFolder, base: Trial, space: Space) -> Samples:
    """The samples of a search, all of them in its space.

    Raises:
        ValueError: one is not, or the file with them is another one, damaged, or cannot be read.
    """
    samples = Samples(folder.path / f"{base.name.rpartition('-s')[0]}.samples.csv", [*space])
    for sample in samples.read():
        for name, value in sample.settings.items():
            if value not in space[name]:
                raise ValueError(
                    f"{samples.path} has a sample with {name} {value}, which --tune does not search now: choose "
                    "another --out, or the settings of then"
                )
    return samples


class Sample(NamedTuple):
    """A run of a search that has ended."""

    settings: dict[str, Any]
    """Of those that are searched."""
    steps: int
    """Fewer than the search has where it was stopped early, or its learning broke down."""
    score: float
    """After these steps."""


class Proposals(OptunaSearch):
    """Optuna's proposals, which say how often each was made before: values that are listed are drawn again.

    Args:
        space: Optuna's distribution of each setting.
        known: the samples so far.
        options: of `OptunaSearch`.
    """

    def __init__(self, space: Mapping[str, Any], known: Sequence[Sample], **options: Any) -> None:
        tried, scores = [one.settings for one in known], [one.score for one in known]
        points: dict[str, Any] = {"points_to_evaluate": tried, "evaluated_rewards": scores} if known else {}
        super().__init__({**space}, **points, **options)
        self._proposed = Counter(map(_text, tried))

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """The settings of the next sample, and as `REPEAT` how often they were proposed before."""
        found = super().suggest(trial_id)
        if not isinstance(found, dict):
            return found
        text = _text(found)
        self._proposed[text] += 1
        return {**found, REPEAT: self._proposed[text] - 1}


def _text(settings: Mapping[str, Any]) -> str:
    return json.dumps(settings, sort_keys=True)


def distribution(values: Range | tuple[Any, ...]) -> Any:
    """Optuna's distribution of a range, or of values."""
    if not isinstance(values, Range):
        return CategoricalDistribution([*values])
    if values.whole:
        return IntDistribution(int(values.low), int(values.high), log=values.log)
    return FloatDistribution(values.low, values.high, log=values.log)


def sample_of(base: Trial, settings: Mapping[str, Any], repeat: int = 0) -> Trial:
    """The trial with drawn settings, and a seed of its own.

    Args:
        base: the trial without them.
        settings: that were drawn.
        repeat: how often they have been drawn before.
    """
    number = zlib.crc32(json.dumps([base.group, settings, repeat], sort_keys=True).encode())
    together = {**base.settings, **settings}
    return dataclasses.replace(base, settings=together, varied=(*settings,), seed=FIRST_SEARCHED + number % SEEDS)


def sampled_trial(config: Mapping[str, Any], base: Mapping[str, Any], path: str) -> None:
    """A sample in a worker of Ray."""
    settings = {name: value for name, value in config.items() if name != REPEAT}
    trial = sample_of(Trial(**base), settings, config[REPEAT])
    tuned_trial({"trial": configuration(SweepFolder(Path(path)), trial, 1)})


def numbered(base: Trial, number: int) -> Trial:
    """What stands for a sample in a table before its settings are drawn."""
    return dataclasses.replace(base, seed=number)


def table_of(base: Trial, samples: int, known: int) -> LiveTable:
    """The table of a search, of which so many samples are known."""
    rows = [numbered(base, number) for number in range(samples)]
    return LiveTable(rows, rows[:known])


class Samples:
    """The samples of a search in a CSV file; an incomplete last line is none.

    Args:
        path: of the file.
        names: of the settings.
    """

    def __init__(self, path: Path, names: Sequence[str]) -> None:
        self.path, self._names = path, [*names]

    def read(self) -> list[Sample]:
        """All of them, as they ended.

        Raises:
            ValueError: the file is another one, damaged, or cannot be read.
        """
        lines = self._lines()
        try:
            return [
                Sample({name: json.loads(row[name]) for name in self._names}, int(row["steps"]), float(row["score"]))
                for row in csv.DictReader(lines)
            ]
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{self.path} is of another search, or damaged ({error}): remove it") from error

    def _lines(self) -> list[str]:
        try:
            text = self.path.read_text(encoding="utf-8") if self.path.exists() else ""
        except OSError as error:
            raise ValueError(f"{self.path} cannot be read: {error.strerror}") from error
        return text[: text.rfind("\n") + 1].splitlines(keepends=True)

    def add(self, settings: Mapping[str, Any], steps: int, score: float) -> None:
        """Append one, with the file written anew."""
        rows = list(csv.reader(self._lines())) or [[*self._names, "steps", "score"]]
        added = [*(json.dumps(settings[name]) for name in self._names), steps, repr(score)]
        write_csv(self.path, [*rows, added])


class Recorded(ShownTrials):
    """Records each sample that has ended, whether ASHA has stopped it or not.

    Args:
        record: of the samples.
        table: that is kept up to date.
        base: the trial without the settings that are searched.
        check: called often; what it raises ends Tune.
    """

    def __init__(self, record: Samples, table: LiveTable, base: Trial, check: Callable[[], None]) -> None:
        super().__init__(table, check)
        self._record, self._base = record, base
        self._numbers: dict[str, int] = {}
        self._begun = len(record.read())

    def name_of(self, trial: Any) -> str:
        """Samples are numbered as they come."""
        number = self._numbers.setdefault(trial.trial_id, self._begun + len(self._numbers))
        return numbered(self._base, number).name

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """The end of a sample."""
        result = trial.last_result
        if (score := result.get("score")) is not None and score == score:
            self._record.add(trial.config, result.get("step", 0), score)
        super().on_trial_complete(iteration, trials, trial, **info)
