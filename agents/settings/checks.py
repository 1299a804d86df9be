"""Checks of single settings: each names the setting and its value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from math import isfinite


def check_at_least(settings: object, least: float, *names: str) -> None:
    """Raise ValueError where one of these fields is below `least`."""
    for name in names:
        if getattr(settings, name) < least:
            rule = "not be negative" if least == 0 else f"be at least {least:g}"
            raise ValueError(f"{name} must {rule}, got {getattr(settings, name)}")


def check_at_most(settings: object, most: float, *names: str) -> None:
    """Raise ValueError where one of these fields is above `most`."""
    for name in names:
        if getattr(settings, name) > most:
            raise ValueError(f"{name} must be at most {most:g}, got {getattr(settings, name)}")


def check_seed(settings: object) -> None:
    """Raise ValueError where `seed` is negative, or is of more than 64 bits, which a folder's name would not hold."""
    check_at_least(settings, 0, "seed")
    if (seed := vars(settings)["seed"]) >= 2**64:
        raise ValueError(f"seed must be below 2**64, got {seed}")


def check_finite(values: Mapping[str, object]) -> None:
    """Raise ValueError where one of these values by name is infinite or no number."""
    for name, value in values.items():
        if isinstance(value, float) and not isfinite(value):
            raise ValueError(f"{name} must be a finite number, got {value}")


def check_above_zero(settings: object, *names: str) -> None:
    """Raise ValueError where one of these fields is 0 or below."""
    for name in names:
        if getattr(settings, name) <= 0:
            raise ValueError(f"{name} must be above 0, got {getattr(settings, name)}")


def check_shares(settings: object, *names: str) -> None:
    """Raise ValueError where one of these fields lies outside of [0, 1]."""
    for name in names:
        if not 0 <= getattr(settings, name) <= 1:
            raise ValueError(f"{name} must lie between 0 and 1, got {getattr(settings, name)}")


def check_used(settings: object, used: bool, condition: str, *names: str) -> None:
    """Raise ValueError where one of these fields differs from its default although nothing would use it."""
    defaults = {field.name: field.default for field in fields(settings)}  # type: ignore[arg-type]
    for name in names:
        value = getattr(settings, name)
        if not used and value != defaults[name]:
            raise ValueError(f"{name} {value} has no effect without {condition}: leave it out")
