"""What methods are compared with: one normalizer, or one value of a setting by which curves are told apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from agents.reports.curves import Method, number_in

NONE = "none"


class Baseline(NamedTuple):
    """A normalizer, or a setting's value."""

    value: str
    setting: str | None = None
    """None: the value is a normalizer."""

    def of(self, method: Method) -> Method:
        """The method with which this one is compared: the same but for the baseline's normalizer or value."""
        if self.setting is None:
            return method._replace(norm=self.value)
        return method._replace(by=tuple((name, self.value if name == self.setting else v) for name, v in method.by))

    def __str__(self) -> str:
        return self.value if self.setting is None else f"{self.setting} {self.value}"


def baseline_of(methods: Sequence[Method], wanted: str | None) -> Baseline:
    """The baseline that a text names: a normalizer, or `SETTING=VALUE`; None takes `none`, which need not be there.

    Raises:
        ValueError: no method has it.
    """
    norms = list(dict.fromkeys(method.norm for method in methods))
    if wanted is None or wanted in norms:
        return Baseline(wanted or NONE)
    name, is_setting, value = wanted.partition("=")
    if not is_setting:
        raise ValueError(f"no run has the normalizer {wanted}: --baseline takes {', '.join(norms)}, or SETTING=VALUE")
    setting = next((each for each, _ in methods[0].by if each in (name, name.replace("-", "_"))), None)
    if setting is None:
        raise ValueError(f"--baseline {wanted} needs --by {name}, which draws a curve for each of its values")
    values = list(dict.fromkeys(dict(method.by)[setting] for method in methods))
    found = next((each for each in values if _same(each, value)), None)
    if found is None:
        raise ValueError(f"no run has {setting} {value}: --baseline takes {setting}={f', {setting}='.join(values)}")
    return Baseline(found, setting)


def _same(one: str, other: str) -> bool:
    """Whether two texts are one value: 1e-3 is 0.001."""
    number = number_in(one)
    return one == other or (number is not None and number == number_in(other))
