"""Files that a user has put into a folder: found and verified, never downloaded."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple


class Source(NamedTuple):
    """What a data set consists of, and where it comes from, for messages."""

    name: str
    files: str
    address: str


def missing(source: Source, folder: Path) -> ValueError:
    """The error for files that are not there: which, where from, where to put them."""
    return ValueError(
        f"{source.name} is not in {folder}: get {source.files} from {source.address} into that folder, or name another "
        "one by --data-dir (nothing is downloaded)"
    )


def damaged(path: Path, what: str, source: Source) -> ValueError:
    """The error for a file that is not what it should be."""
    return ValueError(f"{path} is truncated, damaged or another file ({what}): get it again from {source.address}")


def check_md5(path: Path, expected: str, source: Source) -> None:
    """Compare a file's checksum with the published one.

    Raises:
        ValueError: it differs, or the file cannot be read.
    """
    digest = hashlib.md5(usedforsecurity=False)
    try:
        with path.open("rb") as file:
            while part := file.read(2**20):
                digest.update(part)
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from error
    if digest.hexdigest() != expected:
        raise damaged(path, f"its MD5 is {digest.hexdigest()}, published is {expected}", source)
