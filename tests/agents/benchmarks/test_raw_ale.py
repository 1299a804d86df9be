"""agents.benchmarks.raw_ale: frames of the emulator alone."""

import io

import ale_py

from agents.benchmarks import raw_ale


def test_processes_make_the_steps_among_them_and_end():
    emulators = raw_ale.RawALE("pong", 2)
    try:
        assert [emulators(steps) for steps in (5, 1)] == [6, 2]
    finally:
        emulators.close()
    assert [process.returncode for process in emulators._processes] == [0, 0]


def test_a_step_is_four_frames_with_one_action(monkeypatch):
    acted = []

    class Noted(ale_py.ALEInterface):
        def act(self, action):
            acted.append(action.name)
            return super().act(action)

    monkeypatch.setattr(ale_py, "ALEInterface", Noted)
    step = raw_ale.frames("breakout")
    step(0), step(3)
    assert acted == ["NOOP"] * 4 + ["LEFT"] * 4


def test_the_steps_of_a_process_are_numbered_on(monkeypatch, capsys):
    seen = []
    monkeypatch.setattr(raw_ale, "frames", lambda rom: seen.append)
    monkeypatch.setattr("sys.stdin", io.StringIO("2\n3\n"))
    raw_ale.main("pong")
    assert seen == [0, 1, 2, 3, 4]
    assert capsys.readouterr().out == "2\n3\n"
