"""agents.commands.booleans: flags that are on, off or left to the program."""

from dataclasses import dataclass

import pytest

from agents.commands.booleans import with_booleans


@dataclass
class Flags:
    """A flag of each kind."""

    try_it: bool | None = None
    plain: bool = False
    name: str = ""


@pytest.mark.parametrize(
    ("given", "written"),
    [
        (["--try-it"], ["--try-it", "True"]),
        (["--no-try-it"], ["--try-it", "False"]),
        (["--try_it", "--name", "x"], ["--try_it", "True", "--name", "x"]),
        (["--try-it", "False"], ["--try-it", "False"]),
        (["--try-it", "None", "--plain"], ["--try-it", "None", "--plain"]),
        (["--try-it=True"], ["--try-it=True"]),
        (["--no-plain", "--name", "try_it"], ["--no-plain", "--name", "try_it"]),
        ([], []),
    ],
)
def test_a_bare_flag_gets_its_value(given, written):
    assert with_booleans(given, Flags) == written


def test_what_is_no_dataclass_has_no_such_flags():
    assert with_booleans(["--try-it"], int) == ["--try-it"]
