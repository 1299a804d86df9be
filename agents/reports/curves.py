"""Runs that differ in their seeds alone, in groups: the curves of a report."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches
from typing import NamedTuple

from agents.reports.normalizer_styles import STYLES
from agents.reports.run import Run

_KEPT = "run_dir resume config trust wandb log_interval checkpoint_interval track wandb_project_name wandb_entity"
_KEPT += " capture_video save_model upload_model hf_entity"
_WATCHED = "eval_interval eval_episodes eval_steps eval_wait"
_COMPUTED = "device compile overlap graphs emulator_threads env_groups vectorization cuda torch_deterministic"
_LENGTH = "steps total_timesteps num_iterations num_updates"  # curves take what they share
_NAMED = "seed game env norm algo exp_name env_id"
FREE = frozenset(f"{_KEPT} {_WATCHED} {_COMPUTED} {_LENGTH} {_NAMED}".split())
"""Settings that runs in one curve may differ in."""
OF_NOTE = frozenset(f"{_WATCHED} {_LENGTH} device".split())
"""Those of them that a comparison shows."""


_SHOWN = 60
"""Letters of a long value."""


class Method(NamedTuple):
    """What is compared over environments."""

    agent: str
    norm: str
    by: tuple[tuple[str, str], ...]
    """Further settings and their values."""

    @property
    def variant(self) -> str:
        """All but the normalizer, in words."""
        return ", ".join([self.agent, *(f"{name} {value}" for name, value in self.by)])

    def __str__(self) -> str:
        return ", ".join([f"{self.agent} {self.norm}", *(f"{name} {value}" for name, value in self.by)])


class Curve(NamedTuple):
    """Runs of one method in one environment."""

    env: str
    method: Method
    runs: tuple[Run, ...]

    def __str__(self) -> str:
        return f"{self.method} on {self.env}"


def group(runs: Sequence[Run], by: Sequence[str] = (), across: Sequence[str] = ()) -> list[Curve]:
    """The curves of runs: those of one agent, environment and normalizer, whose settings are equal but for the seed.

    Args:
        runs: at least one.
        by: settings each of whose values has a curve of its own, however a number is written.
        across: settings that may differ in a curve.

    Raises:
        ValueError: no run has such a setting; runs in one curve differ in another one, or two have one seed.
    """
    known = {name for run in runs for name in (*run.settings, *run.made_with)} | {"seed"}
    by = list(dict.fromkeys(known_name(name, known) for name in by))
    across = [known_name(name, known) for name in across]
    groups: dict[tuple[str, Method], list[Run]] = {}
    texts = {name: _one_text(name, runs) for name in by}
    for run in runs:
        method = Method(run.agent, run.norm, tuple((name, texts[name][run.value(name)]) for name in by))
        groups.setdefault((run.env, method), []).append(run)
    curves = [Curve(env, method, tuple(found)) for (env, method), found in groups.items()]
    for curve in curves:
        _check_settings(curve, {*by, *across})
        _check_seeds(curve, across)
    return sorted(curves, key=lambda curve: (curve.env, curve.method.variant, _rank(curve.method.norm)))


def _one_text(name: str, runs: Sequence[Run]) -> dict[str, str]:
    """Each text of a setting's value with the first one of the same number: 0.001 for 1e-3. Versions are no numbers."""
    first: dict[float | str, str] = {}
    found = {}
    for run in runs:
        value = run.value(name)
        number = None if name in run.made_with else number_in(value)
        found[value] = first.setdefault(value if number is None else number, value)
    return found


def number_in(text: str) -> float | None:
    """The finite number that a text is; None where it is none."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def differing(runs: Sequence[Run]) -> dict[str, list[str]]:
    """The settings that are not the same in all runs, each with its value in each run."""
    names = dict.fromkeys(name for run in runs for name in run.settings)
    values = {name: [run.value(name) for run in runs] for name in names}
    return {name: found for name, found in values.items() if len(set(found)) > 1}


def known_name(name: str, known: Collection[str]) -> str:
    """The setting that a name means, in which dashes may stand for underscores.

    Raises:
        ValueError: there is none.
    """
    for spelling in (name, name.replace("-", "_")):
        if spelling in known:
            return spelling
    near = get_close_matches(name.replace("-", "_"), known, 1)
    meant = f"did you mean {near[0]}?" if near else "the page of a report on them lists all"
    raise ValueError(f"these runs have no setting {name!r}: {meant}")


def _check_settings(curve: Curve, allowed: Collection[str]) -> None:
    wrong = {name: v for name, v in differing(curve.runs).items() if name not in FREE and name not in allowed}
    if not wrong:
        return
    told = [_told(name, values, curve.runs) for name, values in list(wrong.items())[:4]]
    more = f"; and in {len(wrong) - len(told)} more" if len(wrong) > len(told) else ""
    names = " ".join(wrong)
    raise ValueError(
        f"the runs of {curve} differ in {'; '.join(told)}{more}: "
        f"--by {_separating(wrong) or names} draws a curve for each, --across {names} takes them for one"
    )


def _separating(settings: Mapping[str, Sequence[str]]) -> str | None:
    """The first of these settings by whose values alone runs are told apart as by all together; None if none does."""
    together = len(set(zip(*settings.values(), strict=True)))
    return next((name for name, values in settings.items() if len(set(values)) == together), None)


def _told(name: str, values: Sequence[str], runs: Sequence[Run]) -> str:
    parts = []
    common = Counter(values).most_common(3)
    for (value, count), short in zip(common, shortened([value for value, _ in common]), strict=True):
        example = runs[values.index(value)].name
        parts.append(f"{short} in {count}, {example}{' for example' if count > 1 else ''}")
    return f"{name} ({'; '.join(parts)})"


def shortened(values: Sequence[str]) -> list[str]:
    """Different texts, each cut to 60 letters, where it differs from the others if its beginning does not."""
    found = []
    for value in values:
        others = [other for other in values if other != value] if len(value) > _SHOWN else []
        same = max((_letters_in_common(value, other) for other in others), default=0)
        start = 0 if same < _SHOWN else same - _SHOWN // 3
        end = start + _SHOWN
        found.append("…" * (start > 0) + value[start:end] + "…" * (len(value) > end))
    return found


def _letters_in_common(one: str, other: str) -> int:
    """How long the beginnings of two texts are that are equal."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(one), len(other)))


def _check_seeds(curve: Curve, across: Sequence[str]) -> None:
    """Raise ValueError where two runs are the same one; of one seed they are no independent samples."""
    if "seed" in across:
        return
    seen: dict[tuple[str, ...], Run] = {}
    for run in curve.runs:
        if run.seed is None:
            continue
        key = (str(run.seed), *(run.value(name) for name in across))
        if key in seen:
            raise ValueError(
                f"two runs of {curve} have seed {run.seed}, {seen[key].name} and {run.name}: "
                "leave one out, or count both with --across seed"
            )
        seen[key] = run


def _rank(norm: str) -> tuple[int, str]:
    """`none` comes first, then `weight`, then the others as the table of their colours has them."""
    return (_ORDER.get(norm, len(_ORDER)), norm)


_ORDER = {norm: place for place, norm in enumerate(STYLES)}
