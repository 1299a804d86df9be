"""Calls of commands within the process."""

import sys


def caller(monkeypatch, capsys, main, program):
    """Calls a command with arguments and returns its exit code, output and error output."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", [program, *map(str, arguments)])
        try:
            code = main("A program.")
        except SystemExit as end:
            code = end.code
        return (code, *capsys.readouterr())

    return call
