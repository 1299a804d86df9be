import pytest

from agents.training.protocols import NullProgress, Progress
from agents.training.safe_progress import SafeProgress
from envs import EpisodeStatistics


class Broken(NullProgress):
    """A display whose every method fails."""

    def __init__(self, error):
        self.error, self.calls = error, 0

    def __getattribute__(self, name):
        if name in ("start", "learned", "update", "evaluating", "report", "message", "close"):
            return self._fail
        return super().__getattribute__(name)

    def _fail(self, *arguments):
        self.calls += 1
        raise self.error


def events(shown: Progress):
    shown.start(0, 10)
    shown.learned(3)
    shown.update(4, EpisodeStatistics(1))
    shown.evaluating(1, 2)
    shown.report(5, {"a": 1.0})
    shown.message("text")
    shown.close()


@pytest.mark.parametrize(
    "error", [BrokenPipeError(), OSError(28, "No space"), ValueError("I/O operation on closed file.")]
)
def test_a_display_that_is_gone_is_not_asked_again(error):
    display = Broken(error)
    shown = SafeProgress(lambda: display)
    events(shown)
    assert display.calls == 1


def test_another_display_in_its_place_is_used():
    said, displays = [], [Broken(BrokenPipeError())]
    shown = SafeProgress(lambda: displays[-1])
    shown.message("lost")

    class Works(NullProgress):
        def message(self, text):
            said.append(text)

    displays.append(Works())
    shown.message("shown")
    assert said == ["shown"]


def test_everything_is_passed_on():
    got = []

    class Display:
        def __getattr__(self, name):
            return lambda *arguments: got.append((name, *arguments))

    events(SafeProgress(Display))
    names = [name for name, *_ in got]
    assert names == ["start", "learned", "update", "evaluating", "report", "message", "close"]
    assert got[0] == ("start", 0, 10)
    assert got[3:5] == [("evaluating", 1, 2), ("report", 5, {"a": 1.0})]


def test_an_error_of_the_display_itself_is_no_lost_terminal():
    with pytest.raises(ValueError, match="own"):
        SafeProgress(lambda: Broken(ValueError("an error of its own"))).message("text")


def test_a_display_need_not_show_evaluations():
    class Old:
        def message(self, text):
            said.append(text)

    said = []
    shown = SafeProgress(Old)
    shown.evaluating(1, 2)
    shown.message("text")
    assert said == ["text"]
