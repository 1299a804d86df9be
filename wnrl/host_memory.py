"""How much memory of the host this process may still take, by the machine, its control groups and its limits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import psutil  # type: ignore[import-untyped]

__all__ = ["address_space_left", "cgroups_left", "free_host_memory"]


class _Files(NamedTuple):
    """Names of a control group's files, and of the line in its `memory.stat` that can be dropped."""

    limit: str
    usage: str
    droppable: tuple[str, ...]


_V1 = _Files("memory.limit_in_bytes", "memory.usage_in_bytes", ("total_inactive_file", "inactive_file"))
_V2 = _Files("memory.max", "memory.current", ("inactive_file",))


def free_host_memory() -> int:
    """Bytes that this process can still allocate on the host: the least that any of its limits leaves."""
    left = [int(psutil.virtual_memory().available), cgroups_left(), address_space_left()]
    return max(0, min(number for number in left if number is not None))


def cgroups_left(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> int | None:
    """Bytes that the control groups of this process leave it, those of containers and of jobs; None without a limit.

    Files that are cached and were not read for a while (``inactive_file``) count as free: the kernel drops them first.

    Args:
        root: where control groups are mounted.
        own: names those of this process, a line for each hierarchy.
    """
    left = [number for path, files in _groups(root, own) if (number := _left(path, files)) is not None]
    return min(left, default=None)


def address_space_left() -> int | None:
    """Bytes that RLIMIT_AS (``ulimit -v``) leaves this process; None without that limit."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return None if limit == resource.RLIM_INFINITY else limit - int(psutil.Process().memory_info().vms)


def _groups(root: Path, own: Path) -> Iterator[tuple[Path, _Files]]:
    """The folders of this process's groups and of the groups round them, of both versions.

    A container sees its own group as the root, though its name may be that of the host: then the named folder does not
    exist.
    """
    try:
        lines = own.read_text().splitlines()
    except OSError:  # another system than Linux
        return
    for line in lines:
        number, controllers, name = line.split(":", 2)
        if number == "0" and not controllers:
            mounts, files = [root, root / "unified"], _V2
        elif "memory" in controllers.split(","):
            mounts, files = [root / "memory"], _V1
        else:
            continue
        group = PurePosixPath(*(part for part in name.split("/") if part not in ("", "..")))
        for mount in mounts:
            for folder in (group, *group.parents):
                yield mount / folder, files


def _left(path: Path, files: _Files) -> int | None:
    """What one group leaves; None where it does not exist or has no limit."""
    try:
        limit = (path / files.limit).read_text().strip()
        if limit == "max":
            return None
        return int(limit) - int((path / files.usage).read_text()) + _droppable(path, files)
    except (OSError, ValueError):
        return None


def _droppable(path: Path, files: _Files) -> int:
    try:
        lines = (line.split() for line in (path / "memory.stat").read_text().splitlines())
        sizes = {line[0]: int(line[1]) for line in lines if len(line) == 2 and line[0] in files.droppable}
    except (OSError, ValueError):
        return 0
    return next((sizes[name] for name in files.droppable if name in sizes), 0)
