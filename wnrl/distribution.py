"""The packages that are installed with `wnrl`, and what stands where one of them should be."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from pathlib import Path

PACKAGES = ("agents", "envs")
"""Top-level packages of this distribution beside `wnrl`; each says so by `__distribution__`."""

_OURS = re.compile(r"^__distribution__ = \"wnrl\"$", re.MULTILINE)


def check_packages(*packages: str) -> None:
    """Check that `import` finds our packages by these names, not another distribution's. Imports none of them.

    Args:
        packages: names in `PACKAGES`; all by default.

    Raises:
        ImportError: one is shadowed or missing; one line with the file that was found, and what to do.
    """
    for name in packages or PACKAGES:
        spec = importlib.util.find_spec(name)
        if spec is None:
            raise ImportError(f"the package {name!r} is missing: install wnrl again", name=name)
        if not _is_ours(spec):
            found = spec.origin or ", ".join(spec.submodule_search_locations or [])
            raise ImportError(f"{name!r} is {found} here{_owner(name)}, not wnrl's package: {ADVICE}", name=name)


@contextmanager
def checked_packages() -> Iterator[None]:
    """A context for a script's first imports of ours: what `check_packages` raises is one line and exit code 2."""
    try:
        check_packages()
    except ImportError as error:
        print(f"{Path(sys.argv[0]).name}: error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    yield


ADVICE = "install wnrl in an environment of its own, and start where no folder or file has that name"


def _is_ours(spec: ModuleSpec) -> bool:
    """Whether a package says that it is ours; one without source code, as in a frozen program, is believed."""
    source = getattr(spec.loader, "get_source", lambda name: "")(spec.name)  # a folder alone has no loader
    return source is None or bool(_OURS.search(source))


def _owner(name: str) -> str:
    """The other distribution that installs a package of this name, in words; empty if none says so."""
    from importlib import metadata  # slow to import, and seldom needed

    others = sorted({*metadata.packages_distributions().get(name, ())} - {"wnrl"})
    return f", of {', '.join(others)}" if others else ""
