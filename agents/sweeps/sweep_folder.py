"""The folder of a sweep: `sweep.json` with the command of each trial, their runs, and what they print."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from agents.sweeps.trial_process import breakdown_of, ended, model_step
from agents.sweeps.trials import Trial
from agents.training.run_lock import GUARD, NAME, RunLock
from wnrl.checkpoints.files import CheckpointError, read_json, replace_file


class SweepFolder:
    """A sweep's folder.

    Args:
        path: of the folder, which may not exist yet.

    Attributes:
        runs: folder of the runs.
        ray: folder in which Ray keeps its records.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.runs, self.ray = path, path / "runs", path / "ray"
        self._lock: RunLock | None = None

    def hold(self) -> None:
        """Let no other sweep write there until `release`.

        Raises:
            ValueError: another one does, or nothing can be written.
        """
        self._recorded()  # refuses another kind of folder
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(f"cannot write the sweep to {self.path}: {error.strerror}") from error
        self._lock = RunLock(self.path)

    def release(self) -> None:
        """Let others write there."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def record(self, trials: Sequence[Trial], *, longer: bool = True) -> None:
        """Write the trials' commands into `sweep.json`, after those of an earlier command that had others.

        A trial that the earlier command named otherwise, since its axes had fewer values or more, keeps its run; one
        that gets more steps goes on in it, where its schedules end at a step that both commands name.

        Args:
            trials: of this command.
            longer: whether they may have more steps than before, which samples of a search may not.

        Raises:
            ValueError: a trial there had other settings, the folder holds something else, or cannot be written to.
        """
        known, renamed = self._planned(trials, longer)
        try:
            for name, trial in renamed.items():
                self._rename(name, trial)
            text = json.dumps({"trials": known}, indent=1) + "\n"
            replace_file(self.path / "sweep.json", lambda path: path.write_text(text, encoding="utf-8"))
            self.runs.mkdir(parents=True, exist_ok=True)  # a folder with runs and without the list would be refused
        except (OSError, CheckpointError) as error:
            raise ValueError(f"cannot write the sweep to {self.path}: {error}") from error

    def left(self, trials: Sequence[Trial], *, longer: bool = True) -> list[Trial]:
        """The trials that have not finished, under whichever name `record` would find them; nothing is written.

        Raises:
            ValueError: as `record`.
        """
        before = {trial.name: self.runs / name for name, trial in self._planned(trials, longer)[1].items()}
        runs = [self.run_of(trial) for trial in trials]
        found = [run if run.exists() else before.get(run.name, run) for run in runs]
        return [trial for trial, run in zip(trials, found, strict=True) if not ended(run, trial.steps)]

    def _planned(self, trials: Sequence[Trial], longer: bool) -> tuple[dict[str, list[str]], dict[str, Trial]]:
        """The commands in `sweep.json` with those of the trials, and the trials that get another name by their old one.

        Raises:
            ValueError: as `record`.
        """
        known = self._recorded()
        renamed = _renamed(known, trials)
        for name in renamed:
            del known[name]
        for trial in trials:
            before = known.setdefault(trial.name, trial.arguments)
            more = longer and _is_longer(trial, before)
            if more and "schedule_steps" in trial.settings:
                known[trial.name] = trial.arguments
            elif _words(before) != _words(trial.arguments):
                was, would_be = _changed(before, trial.arguments)
                advice = ", or give both commands one --schedule-steps" if more else ""
                raise ValueError(
                    f"{self.path} holds a sweep in which {trial.name} had {was}, now it would have {would_be}: choose "
                    f"another --out{advice}"
                )
        return known, renamed

    def _rename(self, name: str, trial: Trial) -> None:
        """Give a trial what lies under another name of it; what lies under its own stays."""
        for old, new in (
            (self.runs / name, self.run_of(trial)),
            (self.path / "output" / f"{name}.txt", self.output_of(trial)),
        ):
            if old.exists() and not new.exists():
                old.rename(new)

    def others(self, trials: Sequence[Trial]) -> int:
        """How many trials earlier commands have recorded beside these."""
        return len(self._recorded().keys() - {trial.name for trial in trials})

    def _recorded(self) -> dict[str, list[str]]:
        file = self.path / "sweep.json"
        try:
            if not file.exists():
                if self.path.exists() and (
                    not self.path.is_dir() or any(one.name not in (NAME, GUARD) for one in self.path.iterdir())
                ):
                    raise ValueError(f"{self.path} holds other things than a sweep: choose another --out")
                return {}
        except OSError as error:
            raise ValueError(f"cannot read {self.path}: {error.strerror}: choose another --out") from error
        found = read_json(file)
        trials = found.get("trials") if isinstance(found, Mapping) else None
        if not isinstance(trials, dict):
            raise ValueError(f"{file} is damaged: it has no trials")
        for name, words in trials.items():
            if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
                raise ValueError(f"{file} is damaged: {name} has no command line")
        return trials

    def run_of(self, trial: Trial) -> Path:
        """The folder of a trial's run."""
        return self.runs / trial.name

    def output_of(self, trial: Trial) -> Path:
        """The file with what a trial prints."""
        return self.path / "output" / f"{trial.name}.txt"

    def finished(self, trial: Trial) -> bool:
        """Whether a trial has made its steps and left a model, or its learning broke down."""
        return ended(self.run_of(trial), trial.steps)

    def breakdown_of(self, trial: Trial) -> int | None:
        """The step at which a trial's learning broke down; None where it has not."""
        return breakdown_of(self.run_of(trial))

    def steps_of(self, trial: Trial) -> int:
        """The step of the model that a trial has left; 0 where there is none yet."""
        return model_step(self.run_of(trial))


def _renamed(known: Mapping[str, Sequence[str]], trials: Sequence[Trial]) -> dict[str, Trial]:
    """Those of the trials that are recorded under another name alone, by that name."""
    names = {trial.name for trial in trials}
    others = {_words(arguments): name for name, arguments in known.items() if name not in names}
    new = [trial for trial in trials if trial.name not in known]
    return {others[words]: trial for trial in new if (words := _words(trial.arguments)) in others}


def _is_longer(trial: Trial, before: Sequence[str]) -> bool:
    """Whether a trial that can go on has more steps than in an earlier command, and nothing else is different."""
    was, now = _changed(before, trial.arguments)
    both = re.fullmatch(r"--steps (\d+) --steps (\d+)", f"{was} {now}")
    return trial.resumable and both is not None and int(both[1]) < int(both[2])


def _changed(before: Sequence[str], now: Sequence[str]) -> tuple[str, str]:
    """What is on either command line alone."""
    old, new = _words(before), _words(now)
    gone, come = (" ".join(sorted(words)) for words in (old - new, new - old))
    return gone or "the agent's default", come or "the agent's default"


def _words(arguments: Sequence[str]) -> frozenset[str]:
    """What comes before the flags, and each flag with its values, as one text: their order means nothing."""
    first, *flags = f" {' '.join(arguments)}".split(" --")
    return frozenset([first.strip(), *(f"--{flag.strip()}" for flag in flags)])
